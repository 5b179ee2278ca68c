"""What `sdfast bench` and the benchmarks share: timing in turn, features, formulas, operations."""

from sdfast.bench.features import draw_pair, largest_error
from sdfast.bench.formulas import centred, compiled, mutual_information, one_pass, samples
from sdfast.bench.operations import OPERATIONS, Operation
from sdfast.bench.timing import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    SECONDS,
    Rounds,
    Spread,
    interleave,
    sample,
)

__all__ = [
    "MAX_ROUNDS",
    "MIN_ROUNDS",
    "OPERATIONS",
    "SECONDS",
    "Operation",
    "Rounds",
    "Spread",
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
