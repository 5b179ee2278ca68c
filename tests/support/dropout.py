"""What StaticDropout is tried on, and what the NumPy truth makes of it."""

import torch
from torch import Tensor

from tests import truth

SEED = 0x123456789ABCDEF
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def features(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 2).to(dtype)


def grid_mask(shape: tuple[int, ...], kind: str, channel_dim: int = 1, seed: int = 3) -> Tensor:
    """Return a mask for features of a shape: coarser, finer or of their own size, of several types."""
    sizes = [s for d, s in enumerate(shape) if d not in (0, channel_dim % len(shape))]
    generator = torch.Generator().manual_seed(seed)
    if kind == "coarse":
        return torch.rand(shape[0], *[(s + 1) // 2 for s in sizes], generator=generator)
    if kind == "fine":  # a channel dimension, strides of its own, half precision
        wide = torch.rand(shape[0], 1, *[2 * s + 1 for s in sizes], 2, generator=generator).half()
        return wide[..., 0]
    values = torch.rand(shape[0], *sizes, generator=generator) > 0.5
    return values if kind == "bool" else values.to(torch.uint8) if kind == "uint8" else values.double() * 0.75


def true_dropout(
    x: Tensor,
    seed: int,
    p: float,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    granularity: str = "element",
    rescale: bool = False,
    channel_dim: int = 1,
) -> Tensor:
    """Return what static_dropout has to make of x, bit by bit."""
    wide = x if x.dtype == torch.float64 else x.float()  # NumPy has no bfloat16; the product is float32 anyway
    mask, weight = (None if t is None else t.double().numpy() for t in (mask, weight))
    expected = truth.static_dropout(wide.numpy(), seed, p, mask, weight, granularity, rescale, channel_dim)
    return torch.from_numpy(expected).to(x.dtype)
