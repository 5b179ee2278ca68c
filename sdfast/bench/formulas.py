"""Mutual information and correlation of each channel as one would write them in torch without this package.

Each takes `(feats_a, feats_b, channel_dim, pool)` and returns `(mi, corr)`, both (C,).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def samples(feats: Tensor, channel_dim: int, pool: bool) -> tuple[Tensor, tuple[int, ...], list[int]]:
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
    a, dims, _ = samples(feats_a, channel_dim, pool)
    b, _, _ = samples(feats_b, channel_dim, pool)
    sum_a, sum_b = a.sum(dims), b.sum(dims)
    count = a.numel() // sum_a.numel()
    m2_a = (a * a).sum(dims) - sum_a * sum_a / count
    m2_b = (b * b).sum(dims) - sum_b * sum_b / count
    c_ab = (a * b).sum(dims) - sum_a * sum_b / count
    corr = c_ab / (m2_a * m2_b).sqrt()
    return mutual_information(corr), corr


def centred(feats_a: Tensor, feats_b: Tensor, channel_dim: int = 1, pool: bool = True) -> tuple[Tensor, Tensor]:
    """Means first, then the sums of centred products, float32: the natural way to write it in eager torch."""
    a, dims, layout = samples(feats_a, channel_dim, pool)
    b, _, _ = samples(feats_b, channel_dim, pool)
    da, db = a - a.mean(dims).view(layout), b - b.mean(dims).view(layout)
    corr = (da * db).sum(dims) / ((da * da).sum(dims) * (db * db).sum(dims)).sqrt()
    return mutual_information(corr), corr


def centred_product(feats_a: Tensor, feats_b: Tensor) -> Tensor:
    """Correlate all channels with all: centre and scale both samples (N, C), then multiply."""
    a, b = (x - x.mean(0) for x in (feats_a, feats_b))
    corr: Tensor = (a / a.norm(dim=0)).T @ (b / b.norm(dim=0))
    return corr


def compiled(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a formula for the one shape that it will see."""
    return torch.compile(formula, fullgraph=True, dynamic=False)
