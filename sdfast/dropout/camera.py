"""How far a camera moves the picture from frame to frame, and pictures moved by as much."""

import torch
from torch import Tensor
from torch.nn import functional

_STEPS = 8  # at each scale but the finest, where less than half a pixel is left to find
_COARSEST = 14  # pixels of the shorter side, below which a picture says little
_REST = 0.01  # how strongly the pan of the scale before is kept where the picture tells nothing, such as along stripes


def find_pans(video: Tensor) -> Tensor:
    """Estimate how far the most of the picture moves from each frame to the next.

    By least squares over the gradients, from coarse pictures to fine ones; what moves otherwise has little weight.

    Args:
        video: (N, C, T, H, W) float.

    Returns:
        (N, T - 1, 2), rows and columns in pixels: what was at p in frame t is at p + pan in frame t + 1.

    Source: Lucas and Kanade, An iterative image registration technique, 1981, in the form of Baker and Matthews,
    Lucas-Kanade 20 years on, 2004, and with the weights of Geman and McClure.

    >>> rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    >>> frames = [torch.sin(0.4 * (rows - 0.5 * t)) + torch.cos(0.3 * (columns + t)) for t in range(3)]
    >>> error = find_pans(torch.stack(frames)[None, None]) - torch.tensor([0.5, -1.0])
    >>> bool(error.abs().max() < 0.1)
    True
    """
    scales = [video.mean(dim=1)]  # (N, T, H, W)
    while min(scales[-1].shape[-2:]) >= 2 * _COARSEST:
        scales.append(functional.avg_pool2d(scales[-1], 2))
    pans = video.new_zeros(len(video) * (video.shape[2] - 1), 2)
    for gray in reversed(scales):
        steps = 3 if gray is scales[0] else _STEPS
        pans = _refine(gray[:, :-1].flatten(0, 1), gray[:, 1:].flatten(0, 1), 2 * pans, steps)
    return pans.view(len(video), -1, 2)


def move(pictures: Tensor, pans: Tensor) -> tuple[Tensor, Tensor]:
    """Read pictures (M, C, H, W) at p + pans (M, 2), linearly between pixels; also say what is inside, (M, 1, H, W)."""
    height, width = pictures.shape[-2:]
    rows, columns = (torch.arange(length, device=pans.device, dtype=pans.dtype) for length in (height, width))
    last = pans.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    places = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
    grid = (2 * places / last - 1) + (2 * pans.flip(1) / last)[:, None, None]  # (M, H, W, 2), columns first
    inside = [
        (place >= 0) & (place <= length - 1)
        for place, length in ((rows + pans[:, :1], height), (columns + pans[:, 1:], width))
    ]
    moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=True)
    return moved, (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _refine(first: Tensor, second: Tensor, guess: Tensor, steps: int) -> Tensor:
    """Return pans (M, 2) near a guess, by which `second` (M, H, W) has moved from `first`."""
    around = functional.pad(first[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    rows = (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]).flatten(1) / 2
    columns = (around[:, 1:-1, 2:] - around[:, 1:-1, :-2]).flatten(1) / 2
    slopes = torch.stack([rows, columns], dim=1)  # (M, 2, H * W)
    products = torch.stack([rows * rows, rows * columns, columns * columns], dim=1)
    pans = guess
    for _ in range(steps):
        moved, inside = move(second[:, None], pans)
        difference = (moved[:, 0] - first).flatten(1)
        usual = difference.abs().mean(dim=1, keepdim=True).clamp_(min=1e-12)
        weight = inside.flatten(1) / (difference / usual).square_().add_(1).square_()
        a, b, c = (products @ weight[..., None]).unbind(1)  # (M, 1) each: the matrix a b, b c
        p, q = (slopes @ (weight * difference)[..., None]).unbind(1)
        rest = _REST * (a + c) + 1e-12
        row, column = (pans - guess).split(1, dim=1)
        a, c, p, q = a + rest, c + rest, p + rest * row, q + rest * column
        step = torch.cat([b * q - c * p, b * p - a * q], dim=1) / (a * c - b * b)
        pans = pans + step.clamp(-1, 1)
    return pans
