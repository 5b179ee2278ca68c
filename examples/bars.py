"""What the examples train on: bars that move left or right over a coloured ground, and the label is where to."""

import torch
from torch import Tensor, nn


def make_clips(direction: Tensor, start: Tensor, tint: Tensor) -> Tensor:
    """Return clips (N, 3, 8, 4, 16) from directions of 1 or -1, columns to start at, and colours (N, 3)."""
    place = (start[:, None] + direction[:, None] * torch.arange(8)) % 16
    bars = nn.functional.one_hot(place, 16).float()[:, None, :, None]
    return tint[:, :, None, None, None] + bars.expand(-1, 3, -1, 4, -1)


def make_batch(number: int = 24) -> tuple[Tensor, Tensor]:
    """Return clips and labels; here the colour of the ground tells the direction, too."""
    direction, tint = 2 * torch.randint(2, (number,)) - 1, torch.rand(number, 3)
    tint[:, 0] += (direction == 1) * 0.3
    return make_clips(direction, torch.randint(16, (number,)), tint), (direction == 1).long()


def make_pairs(number: int = 64) -> list[tuple[Tensor, Tensor, int, int]]:
    """Return dynamic pairs, two colours of one motion, and static ones, the frames permuted; 0 and 1 say which."""
    direction, start = 2 * torch.randint(2, (number,)) - 1, torch.randint(16, (number,))
    moving, restyled = (make_clips(direction, start, tint) for tint in torch.rand(2, number, 3))
    still = torch.stack([clip[:, torch.randperm(8)] for clip in moving])
    dynamic = [(a, b, 0, i) for i, (a, b) in enumerate(zip(moving, restyled, strict=True))]
    return dynamic + [(a, b, 1, i) for i, (a, b) in enumerate(zip(moving, still, strict=True))]


def make_model() -> nn.Sequential:
    """Return a small 3-D CNN; its blocks are layers "0" and "2"."""
    block = nn.Sequential(nn.Conv3d(3, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU())
    return nn.Sequential(
        block, nn.Conv3d(16, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 2)
    )
