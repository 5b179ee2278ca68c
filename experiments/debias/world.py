"""What the experiment needs of a world of clips: all that differs between `--world shapes` and another."""

import importlib
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Generator, Tensor

from sdfast.masks import from_labels

CAMERAS = ("still", "moving")
# The module:class of each, called with the camera.
WORLDS = {"shapes": "experiments.debias.data:Shapes", "real": "experiments.debias.real:Real"}


@dataclass(frozen=True)
class Clips:
    """N clips, with what is known of them.

    Attributes:
        video: (N, C, T, H, W) float32.
        label: (N,) int64, what is to be told, from 0 to classes - 1.
        shortcut: (N,) int64, which label the appearance speaks for.
        shape: (N, T, H, W) bool, where that is of which the label speaks.
    """

    video: Tensor
    label: Tensor
    shortcut: Tensor
    shape: Tensor

    @property
    def mask(self) -> Tensor:
        """The static mask (N, T, H, W): 1 off the shape."""
        return from_labels(self.shape, dynamic=[True])


class Pairs(NamedTuple):
    """N pairs of clips (N, C, T, H, W) that share one factor (N,) int64 each, and the label of the first clip (N,)."""

    video_a: Tensor
    video_b: Tensor
    factor: Tensor  # 0: the motion, in two appearances; 1: the appearance, the frames of b being those of a permuted
    label: Tensor


class World(Protocol):
    """Where clips come from; whatever is random in them is drawn by the generator. Hashable, as a frozen dataclass is.

    Attributes:
        camera: "still" or "moving".
        classes: how many labels there are.
        size: (C, T, H, W) of a clip.
    """

    camera: str
    classes: int
    size: tuple[int, int, int, int]

    def train_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips as the training has them, in which the shortcut mostly is the label."""

    def shifted_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips in which the shortcut never is the label."""

    def plain_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips in which the shortcut knows nothing of the label, to pre-train with."""

    def draw_pairs(self, number: int, generator: Generator) -> Pairs:
        """Draw pairs, alternately of either factor, in which the shortcut knows nothing of the label."""

    def backgrounds(self, number: int, generator: Generator) -> Tensor:
        """Draw still pictures (N, C, H, W) that no shortcut is in, to stand behind what moves in SCUBA."""


def make_world(name: str, camera: str = "still") -> World:
    """Return the world of that name.

    Raises:
        ValueError: there is none, or no such camera.

    >>> make_world("shapes", "moving").size
    (1, 8, 24, 24)
    """
    for what, value, known in (("world", name, WORLDS), ("camera", camera, CAMERAS)):
        if value not in known:
            raise ValueError(f"{what}: expected one of {', '.join(known)}, got {value!r}")
    module, _, maker = WORLDS[name].partition(":")
    return getattr(importlib.import_module(module), maker)(camera)
