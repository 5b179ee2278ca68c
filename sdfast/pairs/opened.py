"""Videos that are open: however they are kept, they count their frames and read those with given numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sdfast.pairs.frames import read_images, resized
from sdfast.pairs.video import FrameIndex, InMemory, VideoError, read_clip


class Frames(Protocol):
    """A video that is open: it knows how many frames it has, and reads those with given numbers."""

    @property
    def count(self) -> int:
        """Return the number of frames."""

    def read(self, numbers: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        """Return uint8 (T, H, W, 3) RGB, resized to (height, width); VideoError where a frame cannot be read."""


@dataclass(frozen=True)
class Decoded:
    """A video file, or its content, and the index of its frames."""

    file: str | InMemory
    index: FrameIndex

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return self.index.count

    def read(self, numbers: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        return read_clip(self.file, numbers, size, self.index)


@dataclass(frozen=True)
class Images:
    """Frames in files of their own."""

    folder: str
    names: Sequence[str]

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return len(self.names)

    def read(self, numbers: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        return read_images([Path(self.folder, self.names[i]) for i in numbers], size)


@dataclass(frozen=True)
class Cut:
    """Some frames of another video, from `start` on."""

    frames: Frames
    start: int
    count: int

    def read(self, numbers: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        return self.frames.read(np.asarray(numbers) + self.start, size)


@dataclass(frozen=True)
class Array:
    """Frames in memory: an array, or a sequence of images."""

    frames: Sequence[Any]
    name: str

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def read(self, numbers: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        return np.stack([resized(self._image(self.frames[int(i)]), size) for i in numbers])

    def _image(self, image: Any) -> np.ndarray:
        if hasattr(image, "convert"):  # of PIL
            image = image.convert("RGB")
        image = np.asarray(image)
        if image.ndim == 3 and image.shape[0] == 3 != image.shape[2]:
            image = np.moveaxis(image, 0, -1)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise VideoError(f"{self.name}: expected uint8 frames (H, W, 3), got {image.dtype} {image.shape}")
        return np.ascontiguousarray(image)


@dataclass(frozen=True)
class Decoder:
    """A decoder of torchcodec."""

    decoder: Any
    name: str

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return len(self.decoder)

    def read(self, numbers: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
        try:
            frames = self.decoder.get_frames_at(indices=[int(i) for i in numbers]).data
        except (RuntimeError, IndexError) as error:
            raise VideoError(f"{self.name}: cannot be decoded: {' '.join(str(error).split())}") from error
        return Array(frames, self.name).read(np.arange(len(frames)), size)
