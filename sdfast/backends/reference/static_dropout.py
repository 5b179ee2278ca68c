"""StaticDropout in plain torch, on any device: the same bits as every kernel.

Words of 32 bits are kept in int64: torch multiplies no unsigned integers.
"""

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
CHANNEL, REGION = 1, 2


def static_dropout(
    x: Tensor,
    out: Tensor,
    seed: Tensor,
    p: float,
    mask: Tensor | None,
    channel_weight: Tensor | None,
    granularity: int,
    rescale: bool,
    channel_dim: int,
) -> None:
    """Write x with each element dropped at probability p * mask * channel_weight to `out`, which may be x."""
    feats = x.movedim(channel_dim, 1)  # (N, C, *positions)
    sizes = feats.shape[2:]
    weight = torch.ones((), device=x.device) if channel_weight is None else channel_weight.float()
    scale = torch.tensor(p, dtype=torch.float32, device=x.device) * weight * 65536
    threshold = scale.view(-1, *[1] * len(sizes))  # (C, 1, ...)
    if mask is not None:
        mask = mask.squeeze(1) if mask.ndim > 1 + len(sizes) else mask
        threshold = threshold * nearest(mask, sizes).unsqueeze(1).float()
    threshold = threshold.round()  # half to even
    gone = draws(seed, feats.shape, granularity) < threshold
    kept = feats
    if rescale:
        factor = 65536 / (65536 - threshold)
        kept = feats * factor.double() if x.dtype == torch.float64 else feats.float() * factor
    out.movedim(channel_dim, 1).copy_(torch.where(gone, 0, kept))


def nearest(mask: Tensor, sizes: torch.Size) -> Tensor:
    """Sample a mask (N, *grid) at the nearest position of features, (N, *sizes)."""
    for dim, size in enumerate(sizes, start=1):
        if mask.shape[dim] != size:
            index = (2 * torch.arange(size, device=mask.device) + 1) * mask.shape[dim] // (2 * size)
            mask = mask.index_select(dim, index)
    return mask


def draws(seed: Tensor, shape: torch.Size, granularity: int) -> Tensor:
    """Return the 16-bit draws of features (N, C, *positions), int64, in a shape that broadcasts with them."""
    ones = [1] * (len(shape) - 2)
    if granularity == REGION:
        return _rows(seed, 1, shape[0]).view(-1, 1, *ones)
    if granularity == CHANNEL:
        return _rows(seed, 1, shape[0] * shape[1]).view(*shape[:2], *ones)
    if shape[2:].numel() == 1:  # the channels take the place of the positions
        return _rows(seed, shape[0], shape[1]).view(*shape[:2], *ones)
    return _rows(seed, shape[0] * shape[1], shape[2:].numel()).view(shape)


def _rows(seed: Tensor, rows: int, length: int) -> Tensor:
    """Return (rows, length) draws; a row starts at a counter of its own, and eight draws share one."""
    counters = -(-length // 8)
    words = philox(seed, torch.arange(rows * counters, device=seed.device))
    halves = torch.stack([words & 0xFFFF, words >> 16], dim=-1)  # (rows * counters, 4, 2)
    return halves.view(rows, 8 * counters)[:, :length]


def philox(seed: Tensor, offset: Tensor) -> Tensor:
    """Return the four words of Philox4x32-10 of each counter, (len(offset), 4) int64 below 2^32."""
    c0, c1 = offset & LOW, (offset >> 32) & LOW
    c2 = c3 = torch.zeros_like(offset)
    k0, k1 = seed & LOW, (seed >> 32) & LOW
    for _ in range(10):
        # The product wraps to a negative number; its bits are those of the unsigned one.
        product0, product1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            ((product1 >> 32) & LOW) ^ c1 ^ k0,
            product1 & LOW,
            ((product0 >> 32) & LOW) ^ c3 ^ k1,
            product0 & LOW,
        )
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return torch.stack([c0, c1, c2, c3], dim=-1)
