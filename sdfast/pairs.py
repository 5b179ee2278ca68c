"""Pairs of clips that share exactly one factor: the motion (dynamic) or the appearance (static).

Which clip, which styles and which permutation an item has depends on nothing but the seed and its index, so workers,
shards and resumed runs see the same pairs.
"""

import hashlib
import json
import multiprocessing
import operator
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from sdfast.ops.checks import check_integer, check_lengths
from sdfast.styles import DEFAULT_STYLES, apply_style, check_styles
from sdfast.video import FrameIndex, VideoError, find_videos, index_frames, read_clip, sample_clip

DYNAMIC = 0
STATIC = 1

# Frame indices of the videos read last; small, because memory must not grow with the number of videos.
_INDICES_KEPT = 16


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


class PairDataset(Dataset):
    """What all datasets of pairs have in common; a subclass says how one source gives a pair.

    Item i is `(clip_a, clip_b, factor)` with factor i % 2; items 2k and 2k + 1 come from the same source. A source
    that cannot be used is skipped with one warning, and the next one takes its place.
    """

    def __init__(
        self,
        sources: Sequence,
        num_pairs: int,
        clip_frames: int,
        frame_size: tuple[int, int],
        seed: int,
        transform: Callable | None,
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
        # In memory that the processes of a loader share, so that only one of them warns of a source.
        self._warned = torch.zeros(len(self.sources), dtype=torch.bool).share_memory_()
        self._warning = multiprocessing.Lock()
        self._reset()

    def __len__(self) -> int:
        return self.num_pairs

    def __getitem__(self, index: int) -> tuple:
        index = operator.index(index)
        if not 0 <= index < self.num_pairs:
            raise IndexError(f"index: expected a pair in [0, {self.num_pairs}), got {index}")
        clip_a, clip_b = self._first_usable(index)
        if self.transform is not None:
            clip_a, clip_b = self.transform(clip_a), self.transform(clip_b)
        return clip_a, clip_b, index % 2

    def _first_usable(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        for attempt in range(len(self.sources)):
            source = int(self._order[(index // 2 + attempt) % len(self.sources)])
            try:
                return self._make_pair(index, source)
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

    def _settings(self) -> dict:
        """Return what decides the pairs besides the sources, as JSON values."""
        keys = ("num_pairs", "clip_frames", "frame_size", "seed", "stride", "distinct")
        return {"class": type(self).__name__, **{key: getattr(self, key) for key in keys}}

    def _inventory(self) -> list:
        """Return name and size of every source; None for the size of one that is gone, to be skipped in its turn."""
        return [
            [os.path.basename(source), os.path.getsize(source) if os.path.exists(source) else None]
            for source in self.sources
        ]

    def fingerprint(self) -> str:
        """Return 64 hex digits that tell whether two datasets give the same pairs.

        They cover class, settings, seed, and the name and size of every video, but neither the folder, so that it
        may be moved, nor `transform`, which has no stable name.
        """
        content = json.dumps([self._settings(), self._inventory()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def __getstate__(self) -> dict:
        fresh = object.__new__(type(self))
        fresh._reset()
        state = {**self.__dict__, **fresh.__dict__}
        del state["_warning"]  # forked processes share it; others take one of their own
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update({"_warning": multiprocessing.Lock(), **state})


class VideoPairs(PairDataset):
    """Make pairs from video files: restyle a clip for the dynamic factor, permute its frames for the static one.

    By default both clips of a dynamic pair draw style and strength independently of each other, from the same
    distribution. Then what a channel knows of the style alone correlates at 0, and its dynamic score holds nothing
    but the shared video. Two different styles out of K, as in the paper, are not independent: such a channel reads
    -1 / (K - 1), and its mutual information forgets the sign. `distinct=True` does it that way, at fixed strengths.

    Args:
        videos: a folder, a file, or several of them.
        num_pairs: number of pairs, both factors together.
        clip_frames: frames of a clip, T.
        frame_size: (H, W) in pixels; frames are resized to it, whatever their shape.
        styles: names in `sdfast.styles.STYLES`.
        seed: a number from 0.
        transform: from uint8 (T, H, W, 3) to what the model takes, for each clip; it must be picklable for
            workers. None leaves the array.
        stride: distance between the frames of a clip; None for clips that span about 64 frames.
        distinct: two different styles for a dynamic pair, as in the paper.

    Item i is `(clip_a, clip_b, factor)`: factor i % 2 is DYNAMIC or STATIC, clips are uint8 (T, H, W, 3) RGB.

    Raises:
        VideoError: there is no video, or (by an item) none of them can be used.
        ValueError: a setting is out of range, or a style unknown.

    Source: Kowal et al., TPAMI 2024, pairs for action recognition.

    >>> from sdfast.video import demo_videos
    >>> pairs = VideoPairs(demo_videos(), num_pairs=4, clip_frames=8, frame_size=(27, 48))
    >>> clip_a, clip_b, factor = pairs[1]
    >>> clip_a.shape, factor == STATIC
    ((8, 27, 48, 3), True)
    >>> sorted(frame.sum() for frame in clip_a) == sorted(frame.sum() for frame in clip_b)
    True
    """

    def __init__(
        self,
        videos: str | os.PathLike | Iterable[str | os.PathLike],
        num_pairs: int = 200,
        clip_frames: int = 16,
        frame_size: tuple[int, int] = (112, 112),
        styles: Iterable[str] = DEFAULT_STYLES,
        seed: int = 0,
        transform: Callable | None = None,
        *,
        stride: int | None = None,
        distinct: bool = False,
    ):
        self.styles = check_styles(styles)
        if distinct and len(self.styles) < 2:
            raise ValueError(f"styles: expected at least 2 with distinct=True, got {', '.join(self.styles)}")
        sources = find_videos(videos)
        if not sources:
            raise VideoError("videos: expected at least one, got none")
        super().__init__(sources, num_pairs, clip_frames, frame_size, seed, transform, stride, distinct)

    def _make_pair(self, index: int, source: int) -> tuple[np.ndarray, np.ndarray]:
        clip, rng = self._clip(index // 2, source), self._rng(index)
        if index % 2 == STATIC:
            (styled,) = self._restyle(clip, rng, 1)
            return styled, permute_frames(styled, rng)
        styled, restyled = self._restyle(clip, rng, 2)
        return styled, restyled

    def _restyle(self, clip: np.ndarray, rng: np.random.Generator, times: int) -> list[np.ndarray]:
        if self.distinct:
            chosen = rng.choice(len(self.styles), times, replace=False)
            return [apply_style(self.styles[i], clip) for i in chosen]
        return [apply_style(self.styles[rng.integers(len(self.styles))], clip, rng) for _ in range(times)]

    def _clip(self, number: int, source: int) -> np.ndarray:
        """Return the clip that items 2 * number and 2 * number + 1 share; decoded once when they come in turn."""
        if self._last_key != (number, source):
            path = self.sources[source]
            index = self._frame_index(source)
            if index.count < self.clip_frames:
                raise VideoError(f"{path}: shorter than a clip: {index.count} frames, clip_frames = {self.clip_frames}")
            # The last word keeps these draws apart from those of item `number`, also for source 0.
            frames = sample_clip(index.count, self.clip_frames, self._rng(number, 1 + source), self.stride)
            self._last_clip = read_clip(path, frames, self.frame_size, index)
            self._last_clip.setflags(write=False)
            self._last_key = (number, source)
        return self._last_clip

    def _frame_index(self, source: int) -> FrameIndex:
        index = self._indices.pop(source, None)
        if index is None:
            try:
                index = index_frames(self.sources[source])
            except VideoError as error:  # kept too: a broken file is not read again for every pair
                index = error
        self._indices[source] = index
        while len(self._indices) > _INDICES_KEPT:
            self._indices.popitem(last=False)
        if isinstance(index, VideoError):
            raise index
        return index

    def _reset(self) -> None:
        super()._reset()
        self._indices: OrderedDict[int, FrameIndex | VideoError] = OrderedDict()
        self._last_key: tuple[int, int] | None = None
        self._last_clip: np.ndarray | None = None

    def _settings(self) -> dict:
        return {**super()._settings(), "styles": self.styles}
