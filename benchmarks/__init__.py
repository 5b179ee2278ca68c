"""What sdfast costs beside its peers and beside what the machine can do: `python -m benchmarks`.

One file an operation, one harness for CPU and GPU. A stage draws features and holds a contest: each answer is checked,
then those that are right are timed in turn, and each ratio is taken within one round. A process of its own measures and
writes down at once what it finds; the command watches it, goes on behind what takes it down, and ends with tables.
"""
