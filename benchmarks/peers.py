"""The opponents: mutual information and correlation of each channel, as one would write it without this package.

Each takes `(feats_a, feats_b, channel_dim, pool)` and returns `(mi, corr)`, both (C,).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def _samples(feats: Tensor, channel_dim: int, pool: bool) -> tuple[Tensor, tuple[int, ...], list[int]]:
    """Return float32 samples, the dimensions to reduce over, and a shape in which (C,) broadcasts to the samples."""
    feats, channel_dim = feats.float(), channel_dim % feats.ndim
    positions = tuple(d for d in range(1, feats.ndim) if d != channel_dim)
    if pool and positions:
        feats, channel_dim, positions = feats.mean(positions), 1, ()
    layout = [1] * feats.ndim
    layout[channel_dim] = -1
    return feats, (0, *positions), layout


def mutual_information(corr: Tensor) -> Tensor:
    """Return -log(1 - corr^2) / 2 in nats."""
    return -0.5 * torch.log1p(-corr * corr)


def one_pass(feats_a: Tensor, feats_b: Tensor, channel_dim: int = 1, pool: bool = True) -> tuple[Tensor, Tensor]:
    """Five sums in one pass over the features, float32: what a compiler can fuse; wrong where mean >> std."""
    a, dims, _ = _samples(feats_a, channel_dim, pool)
    b, _, _ = _samples(feats_b, channel_dim, pool)
    sum_a, sum_b = a.sum(dims), b.sum(dims)
    count = a.numel() // sum_a.numel()
    m2_a = (a * a).sum(dims) - sum_a * sum_a / count
    m2_b = (b * b).sum(dims) - sum_b * sum_b / count
    c_ab = (a * b).sum(dims) - sum_a * sum_b / count
    corr = c_ab / (m2_a * m2_b).sqrt()
    return mutual_information(corr), corr


def centred(feats_a: Tensor, feats_b: Tensor, channel_dim: int = 1, pool: bool = True) -> tuple[Tensor, Tensor]:
    """Means first, then the sums of centred products, float32: the natural way to write it in eager torch."""
    a, dims, layout = _samples(feats_a, channel_dim, pool)
    b, _, _ = _samples(feats_b, channel_dim, pool)
    da, db = a - a.mean(dims).view(layout), b - b.mean(dims).view(layout)
    corr = (da * db).sum(dims) / ((da * da).sum(dims) * (db * db).sum(dims)).sqrt()
    return mutual_information(corr), corr


def compiled(formula: Callable) -> Callable:
    """Compile a formula for the one shape that it will see."""
    return torch.compile(formula, fullgraph=True, dynamic=False)


class TorchMetrics:
    """torchmetrics' PearsonCorrCoef, one output a channel, on samples as rows."""

    def __init__(self, num_channels: int):
        from torchmetrics.regression import PearsonCorrCoef

        self._metric = PearsonCorrCoef(num_outputs=num_channels)

    def __call__(self, feats_a: Tensor, feats_b: Tensor, channel_dim: int = 1, pool: bool = True):
        self._metric.reset()
        self._metric.update(*(self._rows(feats, channel_dim, pool) for feats in (feats_a, feats_b)))
        corr = self._metric.compute()
        return mutual_information(corr), corr

    @staticmethod
    def _rows(feats: Tensor, channel_dim: int, pool: bool) -> Tensor:
        feats, dims, _ = _samples(feats, channel_dim, pool)
        return feats if len(dims) == 1 else feats.movedim(channel_dim, -1).flatten(0, -2)


def authors_numpy(feats_a: np.ndarray, feats_b: np.ndarray, channel_dim: int = 1, pool: bool = True):
    """The published estimator, intraclass: the pooled features of every clip are kept, then come whole-array sums.

    Both clips of a pair are centred on their common mean. It knows no other way than to pool.
    """
    if not pool:
        raise ValueError("pool: expected True, got False")
    positions = tuple(d - 1 for d in range(1, feats_a.ndim) if d != channel_dim % feats_a.ndim)
    kept_a, kept_b = [], []
    for a, b in zip(feats_a, feats_b, strict=True):
        kept_a.append(a.mean(axis=positions) if positions else a)
        kept_b.append(b.mean(axis=positions) if positions else b)
    a, b = np.stack(kept_a), np.stack(kept_b)
    mean = (a.mean(axis=0) + b.mean(axis=0)) / 2
    a, b = a - mean, b - mean
    corr = (a * b).mean(axis=0) / (((a * a).mean(axis=0) + (b * b).mean(axis=0)) / 2)
    return -0.5 * np.log1p(-corr * corr), corr
