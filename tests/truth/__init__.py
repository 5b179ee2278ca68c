"""Ground truth in plain NumPy float64, which the package never calls: tests and benchmarks judge every kernel by it."""

from tests.truth.comoments import (
    comoments,
    correlation,
    factor_dimensions,
    layer_score,
    mutual_information,
    pooled_samples,
)
from tests.truth.pairwise_correlation import pairwise_correlation
from tests.truth.static_dropout import dropped, nearest, philox, static_dropout

__all__ = [
    "comoments",
    "correlation",
    "dropped",
    "factor_dimensions",
    "layer_score",
    "mutual_information",
    "nearest",
    "pairwise_correlation",
    "philox",
    "pooled_samples",
    "static_dropout",
]
