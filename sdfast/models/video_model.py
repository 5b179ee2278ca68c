"""What a measurement needs to know about a model: its input, its layers, its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdfast.models.clips import Clips, stack_clips


@dataclass(frozen=True)
class VideoModel:
    """A module and how it wants its video.

    Args:
        name: how reports call it.
        module: any nn.Module; called with one batch of prepared clips.
        prepare: turns one clip, uint8 (T, H, W, 3) RGB, into one model input without a batch dimension: a tensor, or
            what else `sdfast.measure` takes for a clip.
        clip_frames: T.
        frame_size: (H, W) in pixels.
        layers: names or glob patterns of the submodules that are measured unless others are asked for.
        channel_dim: where their outputs have the channels, as in `sdfast.measure`.
        batch_dim: where they have the clips, likewise.
        forward: runs the module on a batch where it is not simply called with it, likewise.

    >>> model = VideoModel("points", nn.Conv3d(3, 8, 1), ClipToTensor(), clip_frames=4, frame_size=(8, 8))
    >>> model.module(model.prepare(np.zeros((4, 8, 8, 3), np.uint8))[None]).shape
    torch.Size([1, 8, 4, 8, 8])
    """

    name: str
    module: nn.Module
    prepare: Callable[[np.ndarray], Any]
    clip_frames: int
    frame_size: tuple[int, int]
    layers: tuple[str, ...] = ()
    channel_dim: int | Mapping[str, int] | None = None
    batch_dim: int | Mapping[str, int] | None = None
    forward: Callable[[nn.Module, Any], Any] | None = None

    def random_clips(self, number: int, frames: int | None = None, seed: int = 0) -> Clips:
        """Return a batch of prepared clips of random pixels, with the model's own number of frames by default."""
        colours = getattr(self.prepare, "colours", 3)
        size = (number, frames or self.clip_frames, *self.frame_size, colours)
        pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
        return stack_clips([self.prepare(clip) for clip in pixels])


def raw(clip: np.ndarray) -> Tensor:
    """Copy a clip to a tensor as it is; the copy lets reversed and read-only arrays in.

    >>> raw(np.zeros((2, 4, 4, 3), np.uint8)).dtype
    torch.uint8
    """
    return torch.from_numpy(np.array(clip))


@dataclass(frozen=True)
class ClipToTensor:
    """Turn uint8 (T, H, W, 3) into float32 (3, T, H, W): pixels to [0, 1], then (x - mean) / std.

    Args:
        mean, std: one value a colour, in units of the [0, 1] range.
        time_first: return (T, 3, H, W) instead.

    >>> ClipToTensor(mean=(0.5, 0.5, 0.5))(np.full((2, 4, 4, 3), 255, np.uint8)).unique()
    tensor([0.5000])
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    time_first: bool = False

    def __call__(self, clip: np.ndarray) -> Tensor:
        pixels = raw(clip).div(255).sub_(torch.tensor(self.mean)).div_(torch.tensor(self.std))
        return pixels.permute(0, 3, 1, 2) if self.time_first else pixels.permute(3, 0, 1, 2)
