"""The correlation of every channel of one set of samples with every channel of another."""

import numpy as np


def pairwise_correlation(a, b) -> np.ndarray:
    """Return (C_a, C_b): np.corrcoef's block of samples a (N, C_a) against b (N, C_b), in float64."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    return np.corrcoef(a, b, rowvar=False)[: a.shape[1], a.shape[1] :]
