"""Pictures of stripes, for backgrounds that look like no scene."""

import math

import torch
from torch import Generator, Tensor

from sdfast.foundation import check_integer, check_lengths
from sdfast.pairs.compositing import cast


def stripes(
    number: int,
    size: tuple[int, int],
    *,
    channels: int = 3,
    dtype: torch.dtype = torch.uint8,
    span: tuple[float, float] = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Draw backgrounds that look like no scene: stripes along sine curves, of a colour and its complement.

    Args:
        number: of pictures.
        size: height and width in pixels.
        channels: of each.
        dtype: uint8 for values from 0 to 255, or a float for values in span.
        span: least and greatest value of floats.
        generator: draws direction, width, curve and colour of each; default torch's own.

    Returns:
        (N, C, H, W), on the device of the generator.

    Raises:
        ValueError: number, size or channels are not positive.

    Source: Li et al., ICCV 2023 (SCUBA's sinusoidal stripes); lengths are ours, in shares of the shorter side.

    >>> pictures = stripes(2, (24, 32))
    >>> pictures.shape, [len(picture.flatten(1).unique(dim=1).T) for picture in pictures]
    (torch.Size([2, 3, 24, 32]), [2, 2])
    """
    check_integer("number", number, 1)
    check_integer("channels", channels, 1)
    check_lengths("size", size, "(height, width)")
    device = generator.device if generator else None
    direction, width, distance, wave, swing, phase, shift = torch.rand(
        7, number, 1, 1, generator=generator, device=device
    ).unbind(0)  # (N, 1, 1) each
    shorter = min(size)
    width = ((0.03 + 0.05 * width) * shorter).clamp(min=1.0)
    distance = (3 + 2 * distance) * width
    rows = torch.arange(size[0], device=device, dtype=torch.float32)[:, None]
    columns = torch.arange(size[1], device=device, dtype=torch.float32)
    cos, sin = torch.cos(math.tau * direction), torch.sin(math.tau * direction)
    along, across = cos * columns + sin * rows, cos * rows - sin * columns  # (N, H, W)
    curve = (0.04 + 0.3 * swing) * shorter * torch.sin(math.tau * (along / ((0.5 + 3.5 * wave) * shorter) + phase))
    on = (across - curve + shift * distance).remainder(distance) < 2 * width
    colour = torch.rand(number, channels, 1, 1, generator=generator, device=device)
    pictures = torch.where(on.unsqueeze(1), 1 - colour, colour)
    low, high = (0.0, 255.0) if dtype == torch.uint8 else span
    return cast(low + (high - low) * pictures, dtype)
