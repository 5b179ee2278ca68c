"""Pairs of clips that share exactly one factor: the motion (dynamic) or the appearance (static).

Which clip, which styles, which permutation and which number of its source an item has depends on nothing but the seed,
its index and the videos, so workers, shards and resumed runs see the same pairs.
"""

import copy
import hashlib
import json
import multiprocessing
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sdfast.foundation import StrPath, check_integer, check_lengths
from sdfast.pairs.indexed import IndexedPairs, Transform
from sdfast.pairs.probe import ProbeSet
from sdfast.pairs.probe_writing import write_probe
from sdfast.pairs.video import VideoError


def permute_frames(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the frames of a clip (T, ...) in a random order that is never their own.

    Raises:
        ValueError: the clip has a single frame.

    >>> permute_frames(np.arange(2), np.random.default_rng(0))
    array([1, 0])
    """
    if len(clip) < 2:
        raise ValueError(f"clip: expected at least 2 frames to permute, got {len(clip)}")
    identity = np.arange(len(clip))
    order = identity
    while np.array_equal(order, identity):
        order = rng.permutation(len(clip))
    return clip[order]


class PairDataset(IndexedPairs):
    """What all datasets of pairs have in common; a subclass says how one source gives a pair.

    Item i is `(clip_a, clip_b, factor, source)` with factor i % 2; items 2k and 2k + 1 come from the same source. A
    source that cannot be used is skipped with one warning, and the next one takes its place.

    `source` is the number of the source that the item was really cut from: its position in the order drawn from the
    seed. Numbers are used from 0 on, so that a few pairs have the smallest ones; a skipped source leaves a gap.
    Closing the gaps would take opening every source before the first item, and a source may do for one clip and not
    for another; groups of sources that were made from the numbers (number modulo groups) fill as evenly. Sources of one
    origin, such as parts of one file, are not independent and all have the number of the first.
    """

    def __init__(
        self,
        sources: Sequence[Any],
        num_pairs: int,
        clip_frames: int,
        frame_size: tuple[int, int],
        seed: int,
        transform: Transform | None,
        stride: int | None,
        distinct: bool,
    ):
        check_integer("num_pairs", num_pairs, 1)
        check_integer("clip_frames", clip_frames, 2)
        check_integer("seed", seed, 0)
        check_lengths("frame_size", frame_size, "(height, width)")
        if stride is not None:
            check_integer("stride", stride, 1)
        self.sources = list(sources)
        self.num_pairs, self.clip_frames, self.seed = int(num_pairs), int(clip_frames), int(seed)
        self.frame_size = (int(frame_size[0]), int(frame_size[1]))
        self.transform, self.stride, self.distinct = transform, stride, bool(distinct)
        self._order = np.random.default_rng(self.seed).permutation(len(self.sources))
        first: dict[str, int] = {}
        origins = self._origins()
        self._numbers = [first.setdefault(origins[source], place) for place, source in enumerate(self._order)]
        # In memory that the processes of a loader share, so that only one of them warns of a source.
        self._warned = torch.zeros(len(self.sources), dtype=torch.bool).share_memory_()
        self._warning = multiprocessing.Lock()
        self._reset()

    def _clips_and_source(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], int]:
        """Return those of the first source from the pair's own on that can be used."""
        for attempt in range(len(self.sources)):
            place = (index // 2 + attempt) % len(self.sources)
            source = int(self._order[place])
            try:
                return self._make_pair(index, source), self._numbers[place]
            except VideoError as error:
                with self._warning:
                    first, self._warned[source] = not self._warned[source], True
                if first:
                    warnings.warn(f"skipped a video: {error}", stacklevel=3)
                last = error
        raise VideoError(f"videos: none of {len(self.sources)} can be used; the last: {last}")

    def _make_pair(self, index: int, source: int) -> tuple[np.ndarray, np.ndarray]:
        """Return both clips, uint8 (T, H, W, C); raise VideoError where the source cannot give them."""
        raise NotImplementedError

    def _rng(self, index: int, *more: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, index, *more))

    def _reset(self) -> None:
        """Start with empty caches, as in a new process."""

    def _settings(self) -> dict[str, Any]:
        """Return what decides the pairs besides the sources, as JSON values."""
        keys = ("num_pairs", "clip_frames", "frame_size", "seed", "stride", "distinct")
        return {"class": type(self).__name__, **{key: getattr(self, key) for key in keys}}

    def _origins(self) -> list[str]:
        """Return what every source was taken from."""
        return [str(source) for source in self.sources]

    def _inventory(self) -> list[Any]:
        """Return, as JSON values, what tells every source from others; also of one that is gone."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return 64 hex digits that tell whether two datasets give the same pairs, of sources with the same numbers.

        They cover class, settings, seed, which frames are drawn, and path and size of every video in the order of their
        numbers, but neither the folder that holds them all, so that it may be moved, nor `transform`, which has no
        stable name.
        """
        inventory = self._inventory()
        numbered = [[number, inventory[source]] for number, source in zip(self._numbers, self._order, strict=True)]
        content = json.dumps([self._settings(), numbered], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def materialise(self, folder: StrPath, *, num_workers: int = 0, progress: bool = True) -> ProbeSet:
        """Decode and restyle all pairs once, keep them in a folder, and return them as they are read from there.

        A folder that holds these pairs already is read as it is; where an earlier call was interrupted, this one goes
        on. Processes that are given the same folder at the same time wait for the first. A pair takes 2 T H W C bytes.

        Args:
            folder: made if it is missing.
            num_workers: processes that decode and restyle.
            progress: show a progress bar on stderr.

        Returns:
            The same items, under the same fingerprint; `transform` is applied as they are read.

        Raises:
            ValueError: the folder holds other pairs.
            VideoError: none of the videos can be used.
            OSError: the folder cannot be written, or has no room.
        """
        check_integer("num_workers", num_workers, 0)
        raw = copy.copy(self)
        raw.transform = None
        write_probe(raw, folder, num_workers, progress)
        return ProbeSet(folder, self.transform)

    def __getstate__(self) -> dict[str, Any]:
        fresh = object.__new__(type(self))
        fresh._reset()
        state = {**self.__dict__, **fresh.__dict__}
        del state["_warning"]  # forked processes share it; others take one of their own
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({"_warning": multiprocessing.Lock(), **state})
