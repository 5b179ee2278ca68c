"""What frames can be read from by number: files, folders of frames, parts of either, and rows of a data set.

This is the one place that knows what a video is; pairs take whatever opens and reads.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdfast.foundation import StrPath
from sdfast.pairs.frames import frames_in
from sdfast.pairs.opened import Array, Cut, Decoded, Decoder, Frames, Images
from sdfast.pairs.video import InMemory, VideoError, index_frames

# Where a row keeps its video, the first of these that it has.
COLUMNS = ("video", "frames", "bytes", "path", "file")


class Video(ABC):
    """A video that can be opened. Videos of one `origin` are not independent of each other."""

    label: str | None = None
    origin: str
    light = True  # whether it takes little memory while it is open

    @abstractmethod
    def open(self) -> Frames:
        """Return the frames; VideoError says what is wrong with the video."""

    @abstractmethod
    def identity(self) -> list[Any]:
        """Return, as JSON values, what tells it from others of its name; it need not be readable."""

    def __str__(self) -> str:
        return self.origin

    def __fspath__(self) -> str:
        return self.origin


class VideoFile(Video):
    """A video in a file.

    >>> VideoFile("no/such/file.mp4").open()
    Traceback (most recent call last):
    sdfast.pairs.video.VideoError: no/such/file.mp4: cannot be read: No such file or directory
    """

    def __init__(self, path: StrPath, label: str | None = None):
        self.origin, self.label = os.fspath(path), label

    def open(self) -> Frames:
        """Index the frames without decoding any."""
        return Decoded(self.origin, index_frames(self.origin))

    def identity(self) -> list[Any]:
        """Return the size in bytes; None for a file that is gone, to be skipped in its turn."""
        return [os.path.getsize(self.origin) if os.path.exists(self.origin) else None]


class FrameFolder(Video):
    """A folder of images that are the frames of one video, in natural order.

    Args:
        path: the folder.
        names: those of the images; None for all its numbered ones.
        label: the class of the video, if it is known.
    """

    def __init__(self, path: StrPath, names: Sequence[str] | None = None, label: str | None = None):
        self.origin, self.names, self.label = os.fspath(path), names, label

    def open(self) -> Images:
        """List the frames."""
        return Images(self.origin, frames_in(self.origin) if self.names is None else self.names)

    def identity(self) -> list[Any]:
        """Return the number of frames, and a digest of their names and sizes."""
        try:
            names = self.open().names
            sizes = [(name, os.path.getsize(os.path.join(self.origin, name))) for name in names]
        except (VideoError, OSError):
            return [None]
        return [len(sizes), _digest(repr(sizes).encode())]


class Part(Video):
    """Frames `start` to `end` - 1 of another video; without an end, all from `start` on."""

    def __init__(self, video: Video, start: int = 0, end: int | None = None):
        self.video, self.start, self.end = video, start, end
        self.origin, self.label, self.light = video.origin, video.label, video.light

    def open(self) -> Frames:
        """Open the whole, and check that the part lies in it."""
        return _part(self.origin, self.video.open(), self.start, self.end)

    def identity(self) -> list[Any]:
        """Return that of the whole, and the frame numbers."""
        return [*self.video.identity(), self.start, self.end]


class Row(Video):
    """A row of a data set, such as one of Hugging Face: a mapping with a video in one of its columns.

    The video is a path, of a file or of a folder of frames, a mapping with `path` or `bytes`, the bytes of a file, a
    decoder of torchcodec, or frames: uint8 (T, H, W, 3) or (T, 3, H, W), or a sequence of images. The columns `start`,
    `end` (frame numbers) and `label` are read where there are any.
    """

    light = False

    def __init__(self, rows: Sequence[Mapping[str, Any]], number: int):
        self.rows, self.number = rows, number
        self.origin = f"row {number}"

    def open(self) -> Frames:
        """Fetch the row and open the video in it."""
        row = self._row()
        return _part(self.origin, open_value(self._value(row), self.origin), row.get("start"), row.get("end"))

    def identity(self) -> list[Any]:
        """Return what the data set says of itself, or what tells the video in the row."""
        if known := getattr(self.rows, "_fingerprint", None):
            return [str(known), self.number]
        row = self._row()
        return [*_identity_of(self._value(row)), row.get("start"), row.get("end")]

    @property
    def label(self) -> str | None:  # type: ignore[override]  # other videos can be told theirs
        """Return the class, by its name where the data set knows names."""
        label = self._row().get("label")
        if label is None:
            return None
        features: Mapping[str, Any] = getattr(self.rows, "features", None) or {}
        return str(getattr(features.get("label"), "int2str", str)(label))

    def _row(self) -> Mapping[str, Any]:
        return self.rows[self.number]

    def _value(self, row: Mapping[str, Any]) -> Any:
        for column in COLUMNS:
            if row.get(column) is not None:
                return row[column]
        raise VideoError(f"{self.origin}: expected a video in one of {', '.join(COLUMNS)}, got {', '.join(row)}")


def open_value(value: Any, name: str) -> Frames:
    """Open what a data set has for a video; see `Row`.

    Raises:
        VideoError: it is damaged, or nothing that has frames.

    >>> open_value(np.zeros((8, 24, 32, 3), np.uint8), "a clip").read([0, 7], (12, 16)).shape
    (2, 12, 16, 3)
    """
    if isinstance(value, Mapping):
        value = value["path"] if value.get("bytes") is None else value["bytes"]
    if isinstance(value, (bytes, bytearray)):
        file = InMemory(name, bytes(value))
        return Decoded(file, index_frames(file))
    if isinstance(value, (str, os.PathLike)):
        return at_path(value).open()
    if hasattr(value, "get_frames_at"):
        return Decoder(value, name)
    if not hasattr(value, "__getitem__") or not hasattr(value, "__len__"):
        raise VideoError(f"{name}: expected a path, bytes, frames or a decoder, got {type(value).__name__}")
    return Array(value, name)


def at_path(path: StrPath, label: str | None = None) -> Video:
    """Return the video in a file or in a folder of frames."""
    return FrameFolder(path, label=label) if os.path.isdir(path) else VideoFile(path, label)


def _part(name: str, frames: Frames, start: int | None, end: int | None) -> Frames:
    if start is None and end is None:
        return frames
    for what, number in (("start", start), ("end", end)):
        if number is not None and not isinstance(number, int | np.integer):
            raise VideoError(f"{name}: {what}: expected the number of a frame, got {number!r}")
    start, stop = start or 0, frames.count if end is None else end
    if not 0 <= start < stop <= frames.count:
        raise VideoError(f"{name}: expected frames {start} to {stop} of a video of {frames.count}")
    return Cut(frames, start, stop - start)


def _identity_of(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = value["path"] if value.get("bytes") is None else value["bytes"]
    if isinstance(value, (str, os.PathLike)):
        return [os.path.basename(value), *at_path(value).identity()]
    if isinstance(value, (bytes, bytearray)):
        return [len(value), _digest(value)]
    frames = open_value(value, "row")
    ends = frames.read(np.array([0, frames.count - 1]), None) if frames.count else np.zeros(0)
    return [frames.count, _digest(ends.tobytes())]


def _digest(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
