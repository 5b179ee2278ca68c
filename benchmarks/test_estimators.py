"""Packages of statistics: SciPy's correlation, and scikit-learn's mutual information, which assumes no distribution.

Neither is needed to run the benchmarks; one that is missing is named as such.
"""

from functools import partial

import numpy as np
import pytest
import torch

import sdfast
from benchmarks.contest import Candidate, Lineup, hold
from benchmarks.features import TOLERANCE, draw, estimate
from sdfast.bench import largest_error

ANY_ERROR = 10.0  # nats: an estimator is shown, whatever it estimates


def scipy_pearsonr(a: np.ndarray, b: np.ndarray) -> tuple[None, np.ndarray]:
    """Correlate (N, C) samples column by column; with it comes a p-value."""
    from scipy.stats import pearsonr

    return None, pearsonr(a, b, axis=0).statistic


def sklearn_information(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimate mutual information of each column from nearest neighbours."""
    from sklearn.feature_selection import mutual_info_regression

    columns = zip(a.T, b.T, strict=True)
    return np.array([mutual_info_regression(x[:, None], y, random_state=0)[0] for x, y in columns])


@pytest.mark.thorough
def test_pearsonr(benchmark, scoreboard):
    feats = draw((3000, 512), torch.float32)
    args, truth = (feats.feats_a, feats.feats_b), feats.truth(pool=True)
    arrays = [x.numpy() for x in args]
    # Kept in the precision of the features; in float64 it is as exact as ours, at twice the time and a copy.
    peers = {
        "SciPy pearsonr": estimate(partial(scipy_pearsonr, *arrays), truth),
        "SciPy pearsonr, float64": estimate(partial(scipy_pearsonr, *(x.astype(np.float64) for x in arrays)), truth),
    }
    ours = estimate(partial(sdfast.channel_bias, *args), truth, TOLERANCE[torch.float32])
    contest = hold(benchmark, Lineup(f"SciPy {feats.shape}", feats.shape, ours, peers, settle=feats.read))
    contest.compare(scoreboard)
    contest.check()


@pytest.mark.thorough
def test_mutual_information(benchmark, scoreboard):
    """Against what is known of the normal distribution that the samples were drawn from, in nats."""
    feats = draw((1000, 16), torch.float32)
    drawn_with = np.linspace(-0.9, 0.9, 16)
    truth = -0.5 * np.log1p(-(drawn_with**2))
    ours = Candidate(
        partial(sdfast.channel_bias, feats.feats_a, feats.feats_b), lambda answer: largest_error(answer.mi, truth), 0.1
    )
    peer = Candidate(
        partial(sklearn_information, feats.feats_a.numpy(), feats.feats_b.numpy()),
        lambda answer: largest_error(answer, truth),
        ANY_ERROR,
    )
    peers = {"scikit-learn mutual_info_regression": peer}
    contest = hold(benchmark, Lineup(f"nats, normal samples {feats.shape}", feats.shape, ours, peers))
    contest.compare(scoreboard)
    contest.check()
