"""Pairs of features, and the layouts in memory that they come in."""

import torch
from torch import Tensor


def feature_pair(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return feats_a and feats_b, correlated and off zero, and labels from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    a = (torch.randn(shape, generator=generator) * 2 + 3).to(dtype)
    b = (0.5 * a.float() + torch.randn(shape, generator=generator)).to(dtype)
    return a, b, torch.randint(0, 2, shape[:1], generator=generator)


def large_mean(dtype: torch.dtype, outlier_first: bool) -> tuple[Tensor, Tensor]:
    """Return features (4096, 8) of mean/std = 1e4, as float32 activations after a large bias have it."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(4096, 8, generator=generator)
    b = 0.6 * a + 0.8 * torch.randn(4096, 8, generator=generator)
    a, b = (a + 1e4).to(dtype), (b - 1e4).to(dtype)
    if outlier_first:
        a[0], b[0] = -3e4, 5e4
    return a, b


def contiguous(x: Tensor) -> Tensor:
    return x


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def transposed(x: Tensor) -> Tensor:
    return x.permute(*reversed(range(x.ndim))).contiguous().permute(*reversed(range(x.ndim)))


def strided(x: Tensor) -> Tensor:
    # The gaps hold NaN: reading one shows.
    wide = x.new_full([2 * s for s in x.shape], torch.nan)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view.copy_(x)
    return view


LAYOUTS = [contiguous, channels_last, transposed, strided]
