"""Pairs from video files, restyled as they are read."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np

from sdfast.pairs.dataset import PairDataset, permute_frames
from sdfast.pairs.styles import DEFAULT_STYLES, STYLE_VERSION, apply_style, check_styles
from sdfast.pairs.video import FrameIndex, VideoError, find_videos, index_frames, read_clip, sample_clip
from sdfast.statistics import STATIC

# Frame indices of the videos read last; small, because memory must not grow with the number of videos.
_INDICES_KEPT = 16


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
        styles: names in `sdfast.pairs.styles.STYLES`.
        seed: a number from 0.
        transform: from uint8 (T, H, W, 3) to what the model takes, for each clip; it must be picklable for
            workers. None leaves the array.
        stride: distance between the frames of a clip; None for clips that span about 64 frames.
        distinct: two different styles for a dynamic pair, as in the paper.

    Item i is `(clip_a, clip_b, factor, source)`: clips are uint8 (T, H, W, 3) RGB, factor i % 2 is DYNAMIC or STATIC,
    source is the number of the video, from 0 on in the order drawn from the seed.

    Raises:
        VideoError: there is no video, or (by an item) none of them can be used.
        ValueError: a setting is out of range, or a style unknown.

    Source: Kowal et al., TPAMI 2024, pairs for action recognition.

    >>> from sdfast.pairs import demo_videos
    >>> pairs = VideoPairs(demo_videos(), num_pairs=4, clip_frames=8, frame_size=(27, 48))
    >>> clip_a, clip_b, factor, source = pairs[1]
    >>> clip_a.shape, factor == STATIC, source
    ((8, 27, 48, 3), True, 0)
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
        return {**super()._settings(), "styles": self.styles, "style_version": STYLE_VERSION}
