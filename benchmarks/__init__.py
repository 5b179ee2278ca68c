"""What sdfast costs beside its peers and beside what the machine can do: `python -m pytest benchmarks`.

One file an operation. Each checks the answer before it times it, and only ratios within one run count: candidates are
timed in turn, and each ratio is taken within one round. Two tables at the end say how it went; they are kept in
`benchmarks/results`, beside pytest-benchmark's own JSON. `SDFAST_BENCH=quick` takes fewer rounds.
"""
