"""Mutual information from samples that are kept: scikit-learn's nearest neighbours, and normal scores by SciPy.

One thread each: scikit-learn's estimator has no more. Neither package is needed to run the benchmarks; one that is
missing is named as such.
"""

from functools import partial

import numpy as np
import pytest
import torch

import sdfast
from benchmarks import targets
from benchmarks.contest import Candidate, Lineup, hold
from benchmarks.features import shape_text
from sdfast.bench import largest_error
from sdfast.ops import kraskov

CORRELATION = 0.75
TRUTH, TRUTH_OF_RELU = -0.5 * np.log1p(-(CORRELATION**2)), 0.281  # nats; the latter is an integral
LIKE_OURS = 1e-9  # nats
SCIKIT_LEARN, SCIPY, NORMAL = "scikit-learn", "SciPy rankdata and ndtri", "normal samples"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def samples(shape: tuple[int, int], relu: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a normal pair (N, C) float64, or ReLU features of it."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape)
    b = CORRELATION * a + np.sqrt(1 - CORRELATION**2) * rng.standard_normal(shape)
    return tuple(torch.from_numpy(np.maximum(x, 0) if relu else x) for x in (a, b))


def of_law(a: torch.Tensor, b: torch.Tensor, known: float) -> Candidate:
    """Return our estimator, judged by what is known of the law: the mean of a few channels is that near to it."""
    return Candidate(partial(kraskov, a, b), lambda answer: abs(float(answer.mean()) - known), 0.1)


def sklearn_kraskov(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimate the information of each column; what comes before its max(0, .) is ours."""
    from sklearn.feature_selection import mutual_info_regression

    columns = zip(a.T, b.T, strict=True)
    return np.array([mutual_info_regression(x[:, None], y, n_neighbors=3, random_state=0)[0] for x, y in columns])


def scipy_copula(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimate the information of each column from the correlation of its normal scores."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    scores = (ndtri(rankdata(x, axis=0) / (len(x) + 1)) for x in (a, b))
    a, b = ((x - x.mean(axis=0)) / x.std(axis=0) for x in scores)
    return -0.5 * np.log1p(-((a * b).mean(axis=0) ** 2))


@pytest.mark.parametrize("size", targets.KRASKOV)
def test_kraskov(size, benchmark, scoreboard):
    a, b = samples((size, 4000 // size + 2))
    expected = kraskov(a, b).numpy()
    peer = Candidate(
        partial(sklearn_kraskov, a.numpy(), b.numpy()),
        lambda answer: largest_error(answer, expected.clip(min=0)),
        LIKE_OURS,
    )
    shape = shape_text(a.shape)
    contest = hold(benchmark, Lineup(f"Kraskov {shape}", shape, of_law(a, b, TRUTH), {SCIKIT_LEARN: peer}))
    contest.compare(scoreboard)
    contest.judge(scoreboard, targets.KRASKOV[size], SCIKIT_LEARN)
    contest.check()


def test_kraskov_of_relu(benchmark, scoreboard):
    """Thousands of samples that are equal but for their jitter."""
    shape = (10_000, 2)
    ours, normal = of_law(*samples(shape, relu=True), TRUTH_OF_RELU), of_law(*samples(shape), TRUTH)
    lineup = Lineup(f"Kraskov of ReLU {shape_text(shape)}", shape_text(shape), ours, {NORMAL: normal})
    contest = hold(benchmark, lineup)
    contest.judge(scoreboard, targets.KRASKOV_RELU, NORMAL)
    contest.check()


def test_copula(benchmark, scoreboard):
    a, b = samples((1000, 512))
    expected = scipy_copula(a.numpy(), b.numpy())
    ours = Candidate(
        partial(sdfast.channel_bias, a, b, estimator="copula"),
        lambda answer: largest_error(answer.mi, expected),
        LIKE_OURS,
    )
    peer = Candidate(
        partial(scipy_copula, a.numpy(), b.numpy()), lambda answer: largest_error(answer, expected), LIKE_OURS
    )
    shape = shape_text(a.shape)
    contest = hold(benchmark, Lineup(f"copula {shape}", shape, ours, {SCIPY: peer}))
    contest.compare(scoreboard)
    contest.judge(scoreboard, targets.COPULA, SCIPY)
    contest.check()
