"""Mutual information from samples that are kept, beside scikit-learn's nearest neighbours and SciPy's normal scores.

One thread each: scikit-learn's estimator has no more.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

import sdfast
from benchmarks.contest import Candidate, Case, Contest, Run, contend
from benchmarks.device import Call, Device
from benchmarks.inputs import FeaturePairs
from benchmarks.plan import Stage
from benchmarks.rivals import frites_copula, scipy_copula, sklearn_information
from benchmarks.targets import NORMAL, SCIKIT_LEARN, SCIPY_SCORES
from sdfast.bench import largest_error
from sdfast.ops import kraskov
from tests import truth
from tests.truth import information

_CORRELATION = 0.75
_NORMAL, _OF_RELU = -0.5 * np.log1p(-(_CORRELATION**2)), 0.281  # nats; the latter is an integral
_TOLERANCE = 1e-9  # nats
_COUNTED = 1000  # samples whose neighbours NumPy can count one by one


def stages(device: Device) -> Iterator[Stage]:
    """Yield each estimator on the CPU."""
    holds = {f"Kraskov, N = {size}": partial(_kraskov, size) for size in (200, 1000, 10_000)}
    for name, hold in {**holds, "Kraskov, ReLU": _kraskov_of_relu, "copula": _copula}.items():
        if device.kind == "cpu":
            yield Stage(name, partial(_on_one_thread, hold))


def _on_one_thread(hold: Callable[[Run], Contest], run: Run) -> Contest:
    torch.set_num_threads(1)  # the next stage has all again
    return hold(run)


def normal_pairs(samples: int, channels: int, relu: bool = False) -> FeaturePairs:
    """Draw normal samples (N, C) float64 of one correlation, or ReLU features of them."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((samples, channels))
    b = _CORRELATION * a + np.sqrt(1 - _CORRELATION**2) * rng.standard_normal(a.shape)
    return FeaturePairs([tuple(torch.from_numpy(np.maximum(x, 0) if relu else x) for x in (a, b))])


def _of_law(pairs: FeaturePairs, known: float) -> Candidate:
    """Return our estimator, judged by what is known of the law: the mean of a few channels is that near to it."""
    return Candidate(pairs.on(kraskov), lambda nats: abs(float(nats.mean()) - known), 0.1)


def _like(calls: list[Call], expected: np.ndarray) -> Candidate:
    return Candidate(calls, lambda found: largest_error(getattr(found, "mi", found), expected), _TOLERANCE)


def _kraskov(size: int, run: Run) -> Contest:
    pairs = normal_pairs(size, 4000 // size + 2)
    ours, expected = _of_law(pairs, _NORMAL), kraskov(*pairs.sets[0]).numpy()
    if size <= _COUNTED:
        expected = information.kraskov(*pairs.as_arrays().sets[0])
        ours = _like(pairs.on(kraskov), expected)
    rivals = {SCIKIT_LEARN: _like(pairs.as_arrays().on(sklearn_information), expected.clip(min=0))}
    return contend(Case(*pairs.names(f"Kraskov, N = {size}", "kraskov"), ours, rivals), run)


def _kraskov_of_relu(run: Run) -> Contest:
    """Thousands of samples that are equal but for their jitter, beside as many that are not."""
    pairs, normal = normal_pairs(10_000, 2, relu=True), normal_pairs(10_000, 2)
    ours, limits = _of_law(pairs, _OF_RELU), {NORMAL: normal.on(kraskov)}
    return contend(Case(*pairs.names("Kraskov, ReLU", "kraskov"), ours, limits=limits), run)


def _copula(run: Run) -> Contest:
    pairs = normal_pairs(1000, 512)
    parts = (np.array_split(x.numpy(), 16, axis=1) for x in pairs.sets[0])  # it counts in (N, N, C)
    scores = (np.hstack([information.normal_scores(part) for part in each]) for each in parts)
    expected = truth.mutual_information(truth.correlation(truth.comoments(*scores))[0])
    ours = _like(pairs.on(partial(sdfast.channel_bias, estimator="copula")), expected)
    others = {SCIPY_SCORES: scipy_copula, "frites": frites_copula}
    rivals = {name: _like(pairs.as_arrays().on(each), expected) for name, each in others.items()}
    return contend(Case(*pairs.names("copula"), ours, rivals), run)
