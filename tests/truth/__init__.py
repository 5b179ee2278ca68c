"""Ground truth in plain NumPy float64, which the package never calls: tests and benchmarks judge every kernel by it."""

from tests.truth.comoments import (
    comoments,
    correlation,
    factor_dimensions,
    layer_score,
    mutual_information,
    pooled_samples,
)
from tests.truth.information import kraskov, normal_scores
from tests.truth.jackknife import ends, jackknife
from tests.truth.pairwise_correlation import pairwise_correlation
from tests.truth.resampling import sign_flip_p, weighted_correlations
from tests.truth.static_dropout import dropped, nearest, philox, static_dropout

__all__ = [
    "comoments",
    "correlation",
    "dropped",
    "ends",
    "factor_dimensions",
    "jackknife",
    "kraskov",
    "layer_score",
    "mutual_information",
    "nearest",
    "normal_scores",
    "pairwise_correlation",
    "philox",
    "pooled_samples",
    "sign_flip_p",
    "static_dropout",
    "weighted_correlations",
]
