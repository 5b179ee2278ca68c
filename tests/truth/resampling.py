"""What resampling groups says, from raw samples (N, C): sample n is of group n modulo K."""

import numpy as np


def weighted_correlations(a, b, weights) -> np.ndarray:
    """Return the correlations (B, C) where the samples of group k count as often as weights (B, K) say."""
    weights = np.asarray(weights, dtype=np.float64)
    weights = weights[:, np.arange(len(a)) % weights.shape[1]]
    weights = weights / weights.sum(axis=1, keepdims=True)
    a, b = (x - x.mean(axis=0) for x in (np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)))
    mean_a, mean_b, aa, bb, ab = (weights @ each for each in (a, b, a * a, b * b, a * b))
    return (ab - mean_a * mean_b) / np.sqrt((aa - mean_a**2) * (bb - mean_b**2))


def sign_flip_p(a, b, signs) -> np.ndarray:
    """Return two-sided p values under signs (B, K), each channel's own and by the largest of all, (2, C)."""
    a, b = (x - x.mean(axis=0) for x in (np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)))
    sums = np.stack([(a * b)[group :: signs.shape[1]].sum(axis=0) for group in range(signs.shape[1])])
    sums /= np.linalg.norm(sums, axis=0)
    seen, flipped = np.abs(sums.sum(axis=0)), np.abs(signs @ sums)
    as_much = np.stack([flipped >= seen, flipped.max(axis=1, keepdims=True) >= seen])
    return (1 + as_much.sum(axis=1)) / (1 + len(signs))
