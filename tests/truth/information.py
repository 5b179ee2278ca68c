"""Ground truth of what is estimated from samples: ranks and neighbours counted one by one, O(N^2), no tricks."""

from statistics import NormalDist

import numpy as np

from tests.truth.static_dropout import philox

EULER = 0.5772156649015329


def normal_scores(samples: np.ndarray) -> np.ndarray:
    """Return the normal quantile of rank / (N + 1) for samples (N, C); equal ones share the mean of their ranks."""
    below = (samples[None] < samples[:, None]).sum(axis=1)
    equal = (samples[None] == samples[:, None]).sum(axis=1)
    ranks = below + (equal + 1) / 2
    scores = np.vectorize(NormalDist().inv_cdf)(np.where(equal == 0, 1, ranks) / (len(samples) + 1))
    return np.where(np.isfinite(samples).all(axis=0), scores, np.nan)


def digamma(n: np.ndarray) -> np.ndarray:
    """Return psi(n) of positive integers: the harmonic number before n, less Euler's constant."""
    return np.append(0, np.cumsum(1 / np.arange(1, n.max() + 1)))[n - 1] - EULER


def jittered(samples: np.ndarray, seed: int, word: int) -> np.ndarray:
    """Return samples (N, C) from their least on in standard deviations, with a jitter that is 1e-10 wide."""
    size, channels = samples.shape
    words = philox(seed, np.arange(channels * size).reshape(channels, size).T)[..., word].astype(np.float64)
    samples = samples - samples.min(axis=0)
    return samples / samples.std(axis=0) + (words + 0.5 - 2.0**31) * (1e-10 * 2.0**-32)


def kraskov(a: np.ndarray, b: np.ndarray, neighbors: int = 3, seed: int = 0) -> np.ndarray:
    """Return Kraskov's first estimate (C,) of the information in nats of paired samples (N, C)."""
    alive = (np.ptp(a, axis=0) > 0) & (np.ptp(b, axis=0) > 0)
    with np.errstate(all="ignore"):
        planes = zip(jittered(a, seed, 0).T, jittered(b, seed, 1).T, strict=True)
    found = [kraskov_of_points(x, y, neighbors) if ok else 0.0 for ok, (x, y) in zip(alive, planes, strict=True)]
    return np.array(found)


def kraskov_of_points(x: np.ndarray, y: np.ndarray, neighbors: int) -> float:
    """Return Kraskov's first estimate for points of the plane, (N,) and (N,), as they are."""
    size = len(x)
    gap_x, gap_y = np.abs(x[:, None] - x), np.abs(y[:, None] - y)
    distance = np.maximum(gap_x, gap_y)
    np.fill_diagonal(distance, np.inf)
    radius = np.sort(distance, axis=1)[:, neighbors - 1, None]
    n_x, n_y = ((gap < radius).sum(axis=1) for gap in (gap_x, gap_y))  # with the point itself: n + 1
    known = digamma(np.array([size]))[0] + digamma(np.array([neighbors]))[0]
    return known - np.mean(digamma(n_x) + digamma(n_y))
