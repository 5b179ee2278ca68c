"""Frames that objects and backgrounds may be cut from, without a video."""

import torch
from torch import Tensor
from torch.nn import functional


def smooth_textures(number: int, seed: int) -> Tensor:
    """Return frames (number, 3, 90, 112) uint8 whose colours change slowly, so that what lies near looks alike."""
    coarse = torch.rand(number, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    return (255 * functional.interpolate(coarse, (90, 112), mode="bicubic").clamp(0, 1)).to(torch.uint8)
