"""Features whose correlations are known, and how far an answer is from them."""

import numpy as np
import torch
from torch import Tensor


def draw_pair(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    layout: str = "contiguous",
    channel_dim: int = 1,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw features whose true correlations go from -0.9 to 0.9 over the channels.

    Args:
        shape: (N, C, ...), or with the channels at `channel_dim`.
        layout: "contiguous" or "channels_last", of memory; the shape is the same.
        generator: draws them, on its device; by default always the same ones, on the CPU.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    a, b = (torch.randn(shape, generator=generator, device=generator.device) for _ in range(2))
    corr = torch.linspace(-0.9, 0.9, shape[channel_dim], device=generator.device)
    corr = corr.view([-1 if d == channel_dim % len(shape) else 1 for d in range(len(shape))])
    b.mul_((1 - corr * corr).sqrt()).addcmul_(a, corr)
    feats = [x.add_(0.5).to(dtype) for x in (a, b)]
    if layout == "channels_last":
        memory_format = {4: torch.channels_last, 5: torch.channels_last_3d}[len(shape)]
        feats = [x.contiguous(memory_format=memory_format) for x in feats]
    return feats[0], feats[1]


def largest_error(answer: object, truth: object) -> float:
    """Return the largest absolute error; NaN counts as infinitely wrong.

    >>> largest_error([1.0, 2.5], [1.0, 2.0])
    0.5
    """
    distance = np.abs(np.asarray(answer, dtype=np.float64) - np.asarray(truth, dtype=np.float64))
    return float(np.nan_to_num(distance, nan=np.inf).max())


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape without spaces, for tables.

    >>> shape_text((2, 3))
    '(2,3)'
    """
    return str(tuple(shape)).replace(", ", ",")


def dtype_text(dtype: torch.dtype) -> str:
    """Return the name of a dtype, for tables.

    >>> dtype_text(torch.float32)
    'float32'
    """
    return str(dtype).removeprefix("torch.")
