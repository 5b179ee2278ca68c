"""What `sdfast bench` and the benchmarks share: timing in turn, features, formulas, operations."""

from sdfast.bench.features import draw_pair, dtype_text, largest_error, shape_text
from sdfast.bench.formulas import centred, centred_product, compiled, mutual_information, one_pass, samples
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
    "centred_product",
    "compiled",
    "draw_pair",
    "dtype_text",
    "interleave",
    "largest_error",
    "mutual_information",
    "one_pass",
    "sample",
    "samples",
    "shape_text",
]
