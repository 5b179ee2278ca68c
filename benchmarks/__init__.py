"""What sdfast costs beside its peers and beside what the machine can do: `python -m benchmarks`.

One file an operation. Each checks the answer before it times it, and only ratios within one run count: candidates are
timed in turn, and each ratio is taken within one round. Tables at the end say how it went, and the exit status whether
every reach is met; all is kept in `benchmarks/results`, beside pytest-benchmark's own JSON. `--quick` takes fewer
rounds of what has a target, `--page` writes RESULTS.md, `--compare REV` times this tree against another revision.
"""
