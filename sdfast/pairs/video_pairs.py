"""Pairs from video files, restyled as they are read."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sdfast.foundation import StrPath
from sdfast.pairs.dataset import PairDataset, permute_frames
from sdfast.pairs.indexed import Transform
from sdfast.pairs.listing import list_videos
from sdfast.pairs.opened import Frames
from sdfast.pairs.sources import Video
from sdfast.pairs.styles import DEFAULT_STYLES, STYLE_VERSION, apply_style, check_styles
from sdfast.pairs.video import VideoError, sample_clip
from sdfast.statistics import STATIC

# Videos read last; few, because memory must not grow with the number of videos.
_OPEN = 16


class VideoPairs(PairDataset):
    """Make pairs from video files: restyle a clip for the dynamic factor, permute its frames for the static one.

    By default both clips of a dynamic pair draw style and strength independently of each other, from the same
    distribution. Then what a channel knows of the style alone correlates at 0, and its dynamic score holds nothing
    but the shared video. Two different styles out of K, as in the paper, are not independent: such a channel reads
    -1 / (K - 1), and its mutual information forgets the sign. `distinct=True` does it that way, at fixed strengths.

    Args:
        videos: files, folders of videos or of frames, patterns, lists in text files, rows of a data set; see
            `sdfast.pairs.list_videos`.
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

    sources: list[Video]
    styles: tuple[str, ...]
    _open: OrderedDict[int, Frames | VideoError]
    _last: tuple[tuple[int, int], np.ndarray] | None

    def __init__(
        self,
        videos: StrPath | Video | Iterable[StrPath | Video] | Sequence[Mapping[str, Any]],
        num_pairs: int = 200,
        clip_frames: int = 16,
        frame_size: tuple[int, int] = (112, 112),
        styles: Iterable[str] = DEFAULT_STYLES,
        seed: int = 0,
        transform: Transform | None = None,
        *,
        stride: int | None = None,
        distinct: bool = False,
    ):
        self.styles = check_styles(styles)
        if distinct and len(self.styles) < 2:
            raise ValueError(f"styles: expected at least 2 with distinct=True, got {', '.join(self.styles)}")
        sources = list_videos(videos)
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
        if self._last is None or self._last[0] != (number, source):
            video = self._opened(source)
            if video.count < self.clip_frames:
                raise VideoError(
                    f"{self.sources[source]}: shorter than a clip: {video.count} frames, "
                    f"clip_frames = {self.clip_frames}"
                )
            clip = video.read(self._frame_numbers(number, source, video.count), self.frame_size)
            clip.setflags(write=False)
            self._last = (number, source), clip
        return self._last[1]

    def _frame_numbers(self, number: int, source: int, count: int) -> np.ndarray:
        # The last word keeps these draws apart from those of item `number`, also for source 0.
        return sample_clip(count, self.clip_frames, self._rng(number, 1 + source), self.stride)

    def _opened(self, source: int) -> Frames:
        video = self._open.pop(source, None)
        if video is None:
            try:
                video = self.sources[source].open()
            except VideoError as error:  # kept too: a broken file is not read again for every pair
                video = error
        if self.sources[source].light or isinstance(video, VideoError):
            self._open[source] = video
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)
        if isinstance(video, VideoError):
            raise video
        return video

    def _reset(self) -> None:
        super()._reset()
        self._open = OrderedDict()
        self._last = None

    def _origins(self) -> list[str]:
        return [video.origin for video in self.sources]

    def _inventory(self) -> list[Any]:
        """Return path and identity of every video; the paths begin where they part."""
        root = os.path.commonpath([os.path.dirname(os.path.abspath(origin)) for origin in self._origins()])
        return [[os.path.relpath(video.origin, root), *video.identity()] for video in self.sources]

    def _settings(self) -> dict[str, Any]:
        # What a video of many frames would be sampled at: another way to draw is another data set.
        drawn = [self._frame_numbers(number, 0, 10_000).tolist() for number in range(2)]
        return {**super()._settings(), "styles": self.styles, "style_version": STYLE_VERSION, "frames": drawn}
