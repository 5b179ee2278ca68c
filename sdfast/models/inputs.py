"""What turns a clip into the inputs of models that take more than one tensor."""

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sdfast.foundation import require
from sdfast.models.video_model import ClipToTensor

Prepare = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True)
class RgbAndFlow:
    """Part the clips of `sdfast.flow.FlowPairs`, uint8 (T, H, W, 6), for a model that is called with frames and flow.

    Args:
        rgb: turns the frames, uint8 (T, H, W, 3), into one input.
        flow: turns the images of the flow into the other.

    >>> frames, flow = RgbAndFlow()(np.zeros((2, 4, 4, 6), np.uint8))
    >>> frames.shape, flow.shape
    (torch.Size([3, 2, 4, 4]), torch.Size([3, 2, 4, 4]))
    """

    colours: ClassVar[int] = 6  # of the clips that it takes
    rgb: Prepare = field(default_factory=ClipToTensor)
    flow: Prepare = field(default_factory=ClipToTensor)

    def __call__(self, clip: np.ndarray) -> tuple[Tensor, Tensor]:
        if clip.shape[-1] != self.colours:
            raise ValueError(
                f"clip: expected frames and flow (T, H, W, 6), as of FlowPairs or --pairs flow, got {clip.shape}"
            )
        return self.rgb(clip[..., :3]), self.flow(clip[..., 3:])


@dataclass(frozen=True)
class Pathways:
    """Return the slow and the fast pathway of a clip as a list of two, as SlowFast of PyTorchVideo takes them.

    Args:
        prepare: turns a clip into (3, T, H, W).
        alpha: the slow pathway has one of so many frames.

    Source: Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019.

    >>> [x.shape[1] for x in Pathways(ClipToTensor(), alpha=4)(np.zeros((32, 8, 8, 3), np.uint8))]
    [8, 32]
    """

    prepare: Prepare = field(default_factory=ClipToTensor)
    alpha: int = 4

    def __call__(self, clip: np.ndarray) -> list[Tensor]:
        fast = self.prepare(clip)
        frames = fast.shape[1]
        if frames < self.alpha:
            raise ValueError(f"clip: expected at least {self.alpha} frames, as alpha says, got {frames}")
        # As the tutorial of PyTorchVideo picks them: the first and the last are among them.
        slow = torch.linspace(0, frames - 1, frames // self.alpha).long()
        return [fast.index_select(1, slow), fast]


@dataclass(frozen=True)
class PackedPatches:
    """Cut a clip into the patches that the vision towers of Qwen-VL take: a row each, those to be merged side by side.

    What is returned has the names of the arguments of the tower, `hidden_states` (patches, 3 * frames * size * size)
    and `grid_thw` (1, 3), and is a BatchFeature, so that the patches of several clips are packed one after the other.

    Args:
        prepare: turns a clip into (3, T, H, W).
        size: pixels of a patch, in height and width.
        frames: frames of a patch; the last frame is repeated where T is no multiple.
        merge: patches, in height and width, that the tower merges at its end.

    Raises:
        ImportError: transformers is missing.
        ValueError: height or width is no multiple of size * merge.
    """

    prepare: Prepare
    size: int
    frames: int
    merge: int

    def __call__(self, clip: np.ndarray) -> UserDict[str, Tensor]:
        pixels = self.prepare(clip)
        height, width = pixels.shape[2:]
        unit = self.size * self.merge
        if height % unit or width % unit:
            raise ValueError(f"clip: expected height and width in multiples of {unit}, got {height} x {width}")
        missing = -pixels.shape[1] % self.frames
        pixels = torch.cat([pixels, pixels[:, -1:].expand(-1, missing, -1, -1)], dim=1)
        pixels = pixels.unflatten(3, (-1, self.merge, self.size)).unflatten(2, (-1, self.merge, self.size))
        pixels = pixels.unflatten(1, (-1, self.frames))  # colour, (t, frame), (row, merge, y), (column, merge, x)
        rows = pixels.permute(1, 3, 6, 4, 7, 0, 2, 5, 8)
        grid = rows.shape[0], height // self.size, width // self.size
        parts = {"hidden_states": rows.reshape(-1, rows[0, 0, 0, 0, 0].numel()), "grid_thw": torch.tensor([grid])}
        patches: UserDict[str, Tensor] = require("transformers").BatchFeature(parts)
        return patches
