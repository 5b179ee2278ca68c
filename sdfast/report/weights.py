"""Which channels StaticDropout is to drop."""

import torch
from torch import Tensor


def static_weight(corr: Tensor, alive: Tensor, how: str = "rank") -> Tensor:
    """Return how much more static than dynamic each channel is, (C,) in [0, 1]; 0 where a channel is not alive.

    Args:
        corr: (2, C), dynamic and static correlations.
        alive: (C,) bool, channels that can be compared.
        how: "rank", "minmax" or "difference", see `BiasReport.static_weight`.
    """
    dynamic, static = torch.where(alive, corr, 0.0)
    gap = static - dynamic
    weight = torch.zeros_like(gap)
    if how == "difference":
        return torch.where(alive, gap.clamp(0, 1), weight)
    known = gap[alive]
    if len(known) == 0:
        return weight
    last: float
    if how == "rank":
        below = (known[:, None] > known).sum(1) + ((known[:, None] == known).sum(1) - 1) / 2
        position, last = below, len(known) - 1
    elif how == "minmax":
        position, last = known - known.min(), float(known.max() - known.min())
    else:
        raise ValueError(f"how: expected one of rank, minmax, difference, got {how!r}")
    weight[alive] = (position / last).to(weight.dtype) if last else 0.5
    return weight
