"""Kraskov's estimator in plain torch, on any device: all distances of all points."""

import torch
from torch import Tensor

from sdfast.backends.reference.static_dropout import philox

JITTER = 1e-10  # standard deviations from the least to the most
BLOCK = 2**22  # distances at a time


def kraskov(a: Tensor, b: Tensor, neighbors: int, seed: int) -> Tensor:
    """Return the information (C,) in nats of paired samples (N, C) float64."""
    size, channels = a.shape
    counter = torch.arange(channels * size, device=a.device)
    jitter = (philox(torch.tensor(seed, device=a.device), counter)[:, :2].double() - (2**31 - 0.5)) * (JITTER / 2**32)
    jitter = jitter.view(channels, size, 2)
    x, y = a.T - a.amin(dim=0)[:, None], b.T - b.amin(dim=0)[:, None]
    deviations = torch.stack([x.std(dim=1, correction=0), y.std(dim=1, correction=0)])
    x, y = x / deviations[0, :, None] + jitter[..., 0], y / deviations[1, :, None] + jitter[..., 1]
    known = torch.tensor([size, neighbors], dtype=torch.float64, device=a.device).digamma().sum()
    found = torch.stack([known - _mean_digammas(*pair, neighbors) for pair in zip(x, y, strict=True)])
    found = torch.where((deviations == 0).any(dim=0), 0.0, found)
    return torch.where(deviations.isfinite().all(dim=0), found, torch.nan)


def _mean_digammas(x: Tensor, y: Tensor, neighbors: int) -> Tensor:
    """Return the mean of digamma(n_x + 1) + digamma(n_y + 1) over the points."""
    total = x.new_zeros(())
    for own_x, own_y in zip(*(z.split(max(1, BLOCK // len(z))) for z in (x, y)), strict=True):
        gap_x, gap_y = (own_x[:, None] - x).abs(), (own_y[:, None] - y).abs()
        # A point is the nearest to itself, and within its own distance: hence one more.
        distance = torch.maximum(gap_x, gap_y).kthvalue(neighbors + 1, dim=1, keepdim=True).values
        for gap in (gap_x, gap_y):
            total += (gap < distance).sum(dim=1).clamp(min=1).double().digamma().sum()
    return total / len(x)
