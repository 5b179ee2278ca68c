"""Real textures: frames of the demo's clips, those of the test from other videos than those of the training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sdfast.pairs import demo_videos, index_frames, read_clip

SIZE = (90, 112)  # height and width of a texture
TRAINING = "test.mp4"  # a film of many scenes; the other videos are the test's
BARS = 24  # pixels that are black at its left and its right, where it is 160 wide
EVERY = 12  # frames of it lie so far apart
TEST_FRAMES = 32  # of each video of the test
LEAST_CONTRAST = 0.04  # standard deviation; frames of less are faded out


@dataclass(frozen=True, eq=False)  # a cache knows them by identity
class Textures:
    """Frames (F, 3, H, W) uint8 that objects and backgrounds are cut from, for the training and for the test."""

    train: Tensor
    test: Tensor


def load() -> Textures:
    """Read the textures.

    Raises:
        sdfast.pairs.VideoError: the packages with the videos are not installed.
    """
    films, others = ([path for path in demo_videos() if (path.name == TRAINING) is film] for film in (True, False))
    height, width = SIZE
    film = [_frames(path, (height, width + 2 * BARS), EVERY)[..., BARS:-BARS] for path in films]
    test = [_frames(path, SIZE, max(1, index_frames(path).count // TEST_FRAMES)) for path in others]
    return Textures(torch.cat(film), torch.cat(test))


def _frames(path: Path, size: tuple[int, int], every: int) -> Tensor:
    frames = read_clip(path, np.arange(0, index_frames(path).count, every), size)
    contrast = frames.std((1, 2, 3)) / 255
    return torch.from_numpy(frames[contrast > LEAST_CONTRAST]).permute(0, 3, 1, 2).contiguous()
