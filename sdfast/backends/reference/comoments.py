"""Co-moments in plain torch, on any device."""

import torch
from torch import Tensor


def samples(feats: Tensor, channel_dim: int, pool: bool) -> Tensor:
    """Return the samples of each channel, (N, S, C): S is 1 when pooled, else the positions."""
    feats = feats.movedim(channel_dim, 1).flatten(2).double() if feats.ndim > 2 else feats.double().unsqueeze(-1)
    feats = feats.transpose(1, 2)
    return feats.mean(dim=1, keepdim=True) if pool else feats


def comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    """Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab."""
    a, b = samples(feats_a, channel_dim, pool), samples(feats_b, channel_dim, pool)
    rows = []
    for f in range(num_factors):
        # A mask instead of an index: shapes do not depend on data, so no host sync.
        member = torch.ones(len(a), device=a.device, dtype=torch.bool) if factor is None else factor == f
        member = member[:, None, None]
        count = (member.sum() * a.shape[1]).double()
        mean_a, mean_b = (torch.where(member, x, 0).sum((0, 1)) / count.clamp(min=1) for x in (a, b))
        da, db = (torch.where(member, x - mean, 0) for x, mean in ((a, mean_a), (b, mean_b)))
        second = ((da * da).sum((0, 1)), (db * db).sum((0, 1)), (da * db).sum((0, 1)))
        rows.append(torch.stack([count.expand_as(mean_a), mean_a, mean_b, *second]))
    return torch.stack(rows, dim=1)
