"""The formulas of the paper, two passes, no tricks."""

import numpy as np


def pooled_samples(feats: np.ndarray, channel_dim: int = 1, pool: bool = True) -> np.ndarray:
    """Return the samples of each channel: (N, C) pooled, or (N * positions, C)."""
    feats = np.moveaxis(np.asarray(feats, dtype=np.float64), channel_dim, 1)
    feats = feats.reshape(feats.shape[0], feats.shape[1], -1)
    return feats.mean(axis=2) if pool else feats.transpose(0, 2, 1).reshape(-1, feats.shape[1])


def comoments(feats_a, feats_b, factor=None, num_factors=2, channel_dim=1, pool=True):
    """Return (6, F, C): count, mean_a, mean_b, m2_a, m2_b and c_ab of each factor and channel."""
    a = pooled_samples(feats_a, channel_dim, pool)
    b = pooled_samples(feats_b, channel_dim, pool)
    if factor is None:
        factor, num_factors = np.zeros(len(feats_a), dtype=np.int64), 1
    sample_factor = np.repeat(np.asarray(factor), len(a) // len(feats_a))
    moments = np.zeros((6, num_factors, a.shape[1]))
    for f in range(num_factors):
        x, y = a[sample_factor == f], b[sample_factor == f]
        if len(x) == 0:
            continue
        dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
        moments[:, f] = (
            np.full(x.shape[1], len(x)),
            x.mean(axis=0),
            y.mean(axis=0),
            (dx * dx).sum(axis=0),
            (dy * dy).sum(axis=0),
            (dx * dy).sum(axis=0),
        )
    return moments


def correlation(moments: np.ndarray, kind: str = "pearson") -> np.ndarray:
    """Return the (F, C) correlations: NaN below two samples, 0 where the variance is zero."""
    count, mean_a, mean_b, m2_a, m2_b, c_ab = moments
    with np.errstate(all="ignore"):
        if kind == "pearson":
            covariance, scale = c_ab, np.sqrt(m2_a) * np.sqrt(m2_b)
        else:
            gap = (mean_a - mean_b) ** 2 / 4
            covariance = c_ab / count - gap
            scale = (m2_a + m2_b) / (2 * count) + gap
        corr = np.where(scale == 0, 0.0, np.clip(covariance / scale, -1, 1))
    return np.where(count < 2, np.nan, corr)


def mutual_information(corr: np.ndarray) -> np.ndarray:
    """Return the Gaussian lower bound -log(1 - corr**2) / 2 in nats."""
    with np.errstate(divide="ignore"):
        return -0.5 * np.log1p(-corr * corr)


def layer_score(moments: np.ndarray) -> np.ndarray:
    """Return (F + 1,): the intraclass score of each factor over all channels, and 1 for the residual."""
    count, mean_a, mean_b, m2_a, m2_b, c_ab = moments
    total = 2 * count.sum(axis=0)
    mean = (count * (mean_a + mean_b)).sum(axis=0) / total
    between = count * ((mean_a - mean) ** 2 + (mean_b - mean) ** 2)
    variance = (m2_a + m2_b + between).sum(axis=0) / total
    covariance = c_ab / count - (mean_a - mean_b) ** 2 / 4
    return np.append(covariance.sum(axis=1) / variance.sum(), 1.0)


def factor_dimensions(scores: np.ndarray, num_channels: int) -> np.ndarray:
    """Return (F + 1,) integers that sum to C: a softmax over the scores, truncated as the authors do."""
    share = np.exp(scores - np.max(scores))
    dims = np.floor(num_channels * share / share.sum()).astype(np.int64)
    dims[-1] = num_channels - dims[:-1].sum()
    return dims
