"""Other packages' mutual information and correlation of each channel.

Each takes `(feats_a, feats_b, channel_dim, pool)` and returns `(mi, corr)`, both (C,).
"""

import numpy as np
import torch
from torch import Tensor

from sdfast.bench import mutual_information, samples


class TorchMetrics:
    """torchmetrics' PearsonCorrCoef, one output a channel, on samples as rows."""

    def __init__(self, num_channels: int, device: torch.device | str = "cpu"):
        from torchmetrics.regression import PearsonCorrCoef

        self._metric = PearsonCorrCoef(num_outputs=num_channels).to(device)

    def __call__(self, feats_a: Tensor, feats_b: Tensor, channel_dim: int = 1, pool: bool = True):
        self._metric.reset()
        self._metric.update(*(self._rows(feats, channel_dim, pool) for feats in (feats_a, feats_b)))
        corr = self._metric.compute()
        return mutual_information(corr), corr

    @staticmethod
    def _rows(feats: Tensor, channel_dim: int, pool: bool) -> Tensor:
        feats, dims, _ = samples(feats, channel_dim, pool)
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
