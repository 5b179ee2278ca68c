"""Pairs cut from videos, and the co-moments of their groups in NumPy: to test the statistics of sources."""

import numpy as np
import torch

from tests import truth


def clustered_pairs(videos=12, pairs=5, channels=3, rho=0.6, within=0.5, seed=0):
    """Return features a and b (N, C) float64, factors and sources (N,): half of the variance is the video's."""
    rng = np.random.default_rng(seed)
    number = videos * pairs
    source = np.repeat(np.arange(videos), pairs)
    parts = np.sqrt(1 - within) * rng.normal(size=(3, videos, channels))[:, source]
    parts += np.sqrt(within) * rng.normal(size=(3, number, channels))
    common, own_a, own_b = parts
    a, b = (np.sqrt(rho) * common + np.sqrt(1 - rho) * own for own in (own_a, own_b))
    return a, b, np.arange(number) % 2, source


def grouped_truth(a, b, factor, source, groups=64, num_factors=2):
    """Return the co-moments (6, G, F, C) of the groups, from raw samples."""
    moments = np.zeros((6, groups, num_factors, a.shape[1]))
    for g in range(groups):
        mine = source % groups == g
        if mine.any():
            moments[:, g] = truth.comoments(a[mine], b[mine], factor[mine], num_factors)
    return moments


def as_tensors(*arrays):
    """Return NumPy arrays as tensors."""
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
