"""What the co-moments of a layer say about it: variance, layer scores, dimensions, intervals."""

from statistics import NormalDist

import torch
from torch import Tensor

from sdfast.functional import correlation
from sdfast.state import merge

FACTORS = ("dynamic", "static")
SHARES = (*FACTORS, "residual")
LABELS = ("joint", *SHARES)


def variance(moments: Tensor) -> Tensor:
    """Return the population variance of each channel, (C,), over the pairs of all factors, both clips together."""
    # A clip's features as if they were a pair with itself: then merging is the formula there already is.
    clips = torch.stack([moments[[0, 1, 1, 3, 3, 3]], moments[[0, 2, 2, 4, 4, 4]]])  # (2, 6, F, C)
    clips = clips.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (2 F, 6, 1, C)
    count, _, _, m2, _, _ = merge(clips)[:, 0]
    return m2 / count


def defined(moments: Tensor) -> Tensor:
    """Tell which channels are free of NaN and Inf in every factor, (C,) bool."""
    return moments.isfinite().all(dim=1).all(dim=0)


def layer_score(moments: Tensor, kind: str = "pearson") -> Tensor:
    """Return the score of each factor over all channels and 1 for the residual, (F + 1,).

    Intraclass is the authors' formula, the sum of the covariances over that of the total variances; Pearson the
    mean of the correlations, weighted by variance. Undefined channels are left out. NaN below two pairs.
    """
    moments = moments[:, :, defined(moments)]
    count, mean_a, mean_b, m2_a, m2_b, c_ab = moments
    if kind == "pearson":
        shared, scale = c_ab.sum(1), (m2_a.sqrt() * m2_b.sqrt()).sum(1)
    else:
        shared = (c_ab / count - (mean_a - mean_b).square() / 4).sum(1)
        scale = variance(moments).sum().expand_as(shared)
    score = torch.where(scale == 0, 0.0, shared / scale)
    enough = (count >= 2).any(1)
    return torch.cat([torch.where(enough, score, torch.nan), score.new_ones(1)])


def shares(scores: Tensor) -> Tensor:
    """Return the softmax of the layer scores: the part of the dimensions that each factor takes."""
    return torch.softmax(scores, dim=0)


def dimensions(scores: Tensor, num_channels: int, kind: str = "pearson") -> Tensor:
    """Divide the channels among the factors and the residual, (F + 1,) int64; all 0 where a score is undefined.

    Intraclass truncates and gives the residual what is left over, as the authors' code does. Pearson rounds by
    largest remainder, which favours none.
    """
    if scores.isnan().any():
        return torch.zeros(len(scores), dtype=torch.int64)
    quota = num_channels * shares(scores)
    dims = quota.floor().long()
    left = num_channels - int(dims.sum())
    if kind == "pearson":
        dims[(quota - dims).argsort(descending=True, stable=True)[:left]] += 1
    else:
        dims[-1] += left
    return dims


def percentages(scores: Tensor, num_channels: int, kind: str = "pearson") -> Tensor:
    """Return the shares in percent, (F + 1,), to one decimal; NaN where a score is undefined.

    Intraclass derives them from the truncated dimensions, as the authors' code does.
    """
    if kind == "pearson":
        return (100 * shares(scores)).round(decimals=1)
    dims = dimensions(scores, num_channels, kind).double()
    return (100 * dims / dims.sum()).round(decimals=1)


def fisher_interval(moments: Tensor, kind: str, level: float) -> Tensor:
    """Return the lower and upper end of the correlations, (2, F, C), by Fisher's z transform."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a probability between 0 and 1, got {level!r}")
    edge = 1 - torch.finfo(torch.float64).eps / 2  # the largest number below 1: z is infinite at 1
    z = correlation(moments, kind).clamp(-edge, edge).atanh()
    # Fisher's variances of z: 1 / (n - 3) for pairs in order, 1 / (n - 3/2) for pairs that may be swapped.
    freedom = moments[0] - (3.0 if kind == "pearson" else 1.5)
    reach = NormalDist().inv_cdf((1 + level) / 2) / freedom.clamp(min=0).sqrt()
    return torch.stack([z - reach, z + reach]).tanh()


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
    if how == "rank":
        below = (known[:, None] > known).sum(1) + ((known[:, None] == known).sum(1) - 1) / 2
        position, last = below, len(known) - 1
    elif how == "minmax":
        position, last = known - known.min(), float(known.max() - known.min())
    else:
        raise ValueError(f"how: expected one of rank, minmax, difference, got {how!r}")
    weight[alive] = (position / last).to(weight.dtype) if last else 0.5
    return weight
