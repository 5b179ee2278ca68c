"""Probe sets: pairs decoded and restyled once, kept on disk, and measured again and again at the speed of memory.

A folder holds `clips.npy`, uint8 (N, 2, T, H, W, C), and `probe.json`, which is written last: without it the set is not
complete and nobody reads it.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sdfast.foundation import StrPath, check_integer, check_lengths, map_npy, read_json
from sdfast.pairs.indexed import IndexedPairs, Transform
from sdfast.pairs.video import VideoError

VERSION = 1
CLIPS, ABOUT = "clips.npy", "probe.json"
KEPT = ("num_pairs", "clip_frames", "seed", "frame_size")


class ProbeSet(IndexedPairs):
    """Read pairs that `materialise` has kept in a folder.

    Items, fingerprint and settings are those of the pairs it was made of, whose videos need not be there any more.

    Args:
        folder: what `materialise` was given.
        transform: from uint8 (T, H, W, C) to what the model takes, for each clip; None leaves the array.

    Raises:
        VideoError: there is no complete probe set, or it is damaged.

    >>> import tempfile
    >>> from sdfast.pairs import VideoPairs, demo_videos
    >>> pairs = VideoPairs(demo_videos(), num_pairs=4, clip_frames=4, frame_size=(27, 48))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     probe = pairs.materialise(folder, progress=False)
    ...     len(probe), bool((probe[3][0] == pairs[3][0]).all()), probe.fingerprint() == pairs.fingerprint()
    (4, True, True)
    """

    _fingerprint: str
    _numbers: list[int]
    _sums: list[int]

    def __init__(self, folder: StrPath, transform: Transform | None = None):
        self.folder, self.transform = Path(folder), transform
        try:
            about = read_json(self.folder / ABOUT)
            if (version := about["version"]) == VERSION:
                _check(about)
        except FileNotFoundError as error:
            raise VideoError(f"{folder}: holds no complete probe set: {ABOUT} is missing") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VideoError(f"{folder}: {ABOUT} is damaged: {error!r}") from error
        if version != VERSION:
            raise VideoError(f"{folder}: expected version {VERSION} of a probe set, got {version}")
        settings = about["settings"]
        self.sources, self.styles, self.class_name = about["sources"], about["styles"], about["class"]
        self.num_pairs, self.clip_frames, self.seed = (settings[key] for key in ("num_pairs", "clip_frames", "seed"))
        self.frame_size, self._shape = tuple(settings["frame_size"]), (2, *about["shape"])
        self._fingerprint, self._numbers, self._sums = about["fingerprint"], about["numbers"], about["crc"]
        try:
            clips = map_npy(self.folder / CLIPS)
        except (OSError, ValueError) as error:
            raise VideoError(f"{self.folder / CLIPS}: missing or damaged: {error}") from error
        if clips.shape != (expected := (self.num_pairs, *self._shape)) or clips.dtype != np.uint8:
            raise VideoError(f"{self.folder / CLIPS}: expected uint8 {expected}, got {clips.dtype} {clips.shape}")
        self._offset = clips.offset

    def fingerprint(self) -> str:
        """Return that of the pairs the set was made of."""
        return self._fingerprint

    def check(self) -> None:
        """Read every pair and compare its checksum.

        Raises:
            VideoError: a pair is not what was written.
        """
        for index in range(self.num_pairs):
            if zlib.crc32(self._clips_of(index).data) != self._sums[index]:
                raise VideoError(f"{self.folder / CLIPS}: damaged: pair {index} has another checksum")

    def _clips_and_source(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], int]:
        clip_a, clip_b = self._clips_of(index)
        return (clip_a, clip_b), self._numbers[index]

    def _clips_of(self, index: int) -> np.ndarray:
        """Map both clips of a pair. Whoever writes to them writes to pages of his own, not to the file."""
        offset = self._offset + index * math.prod(self._shape)
        return np.memmap(self.folder / CLIPS, np.uint8, "c", offset, self._shape).view(np.ndarray)


def _check(about: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError unless a probe.json says all that is looked for in it."""
    settings, kinds = about["settings"], {"sources": list, "styles": list, "class": str, "fingerprint": str}
    for name, kind in kinds.items():
        if not isinstance(about[name], kind):
            raise TypeError(f"{name}: expected {kind.__name__}, got {type(about[name]).__name__}")
    for name in ("num_pairs", "clip_frames"):
        check_integer(name, settings[name], 1)
    check_lengths("frame_size", settings["frame_size"], "height, width")
    check_lengths("shape", about["shape"], "T, H, W, C")
    for name in ("numbers", "crc"):
        if len(about[name]) != settings["num_pairs"] or not all(type(x) is int and x >= 0 for x in about[name]):
            raise ValueError(f"{name}: expected {settings['num_pairs']} integers from 0 on")
    check_integer("seed", settings["seed"], 0)
