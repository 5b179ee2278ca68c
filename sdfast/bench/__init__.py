"""What `sdfast bench` and the benchmarks share: timing in turn, features, formulas, operations."""

from sdfast.bench.features import draw_pair, largest_error
from sdfast.bench.formulas import centred, compiled, mutual_information, one_pass, samples
from sdfast.bench.operations import OPERATIONS, Operation
from sdfast.bench.timing import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    QUICK,
    SECONDS,
    Rounds,
    Spread,
    calls_a_sample,
    interleave,
    sample,
)

__all__ = [
    "MAX_ROUNDS",
    "MIN_ROUNDS",
    "OPERATIONS",
    "QUICK",
    "SECONDS",
    "Operation",
    "Rounds",
    "Spread",
    "calls_a_sample",
    "centred",
    "compiled",
    "draw_pair",
    "interleave",
    "largest_error",
    "mutual_information",
    "one_pass",
    "sample",
    "samples",
]
