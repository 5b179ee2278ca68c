"""Pairs from clips that were restyled before: the folder layout of the authors' code."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from sdfast.foundation import StrPath
from sdfast.pairs.dataset import PairDataset, permute_frames
from sdfast.pairs.finding import walk
from sdfast.pairs.frames import images_in, is_image, natural, read_images
from sdfast.pairs.indexed import Transform
from sdfast.pairs.video import VideoError, sample_clip
from sdfast.statistics import STATIC


class StylisedFolderPairs(PairDataset):
    """Read pairs from `style_1/VIDEO/frame_00001.jpg`, `style_2/VIDEO/frame_00001.jpg`, and so on.

    By default both clips of a dynamic pair draw their style independently, so the same style may come twice; what a
    channel knows of the style alone then correlates at 0. `distinct=True` draws two different styles, as in the
    paper, where such a channel reads -1 / (K - 1).

    Args:
        folder: holds one folder a style, `style_*`, each with one folder a video (at any depth), each with frames
            (.jpg, .png, .webp, ...) of the same names in every style.
        num_pairs: number of pairs, both factors together.
        clip_frames: frames of a clip, T.
        frame_size: (H, W) in pixels.
        seed: a number from 0.
        transform: from uint8 (T, H, W, 3) to what the model takes; None leaves the array.
        stride: distance between the frames of a clip; None for clips that span about 64 frames.
        distinct: two different styles for a dynamic pair.

    Item i is `(clip_a, clip_b, factor, source)`: clips are uint8 (T, H, W, 3) RGB, factor i % 2 is DYNAMIC or STATIC,
    source is the number of the video, from 0 on in the order drawn from the seed.

    Raises:
        VideoError: fewer than 2 style folders, no video in all of them, or (by an item) none that can be used.
        ValueError: a setting is out of range.

    Source: Kowal et al., TPAMI 2024, and the layout of its stylised data.

    >>> StylisedFolderPairs("no/such/folder")
    Traceback (most recent call last):
    sdfast.pairs.video.VideoError: no/such/folder: expected at least 2 folders style_*, got 0
    """

    styles: list[Path]

    def __init__(
        self,
        folder: StrPath,
        num_pairs: int = 200,
        clip_frames: int = 16,
        frame_size: tuple[int, int] = (112, 112),
        seed: int = 0,
        transform: Transform | None = None,
        *,
        stride: int | None = None,
        distinct: bool = False,
    ):
        self.styles = sorted((path for path in Path(folder).glob("style_*") if path.is_dir()), key=natural)
        if len(self.styles) < 2:
            raise VideoError(f"{folder}: expected at least 2 folders style_*, got {len(self.styles)}")
        videos = set.intersection(*(_videos_in(style) for style in self.styles))
        if not videos:
            raise VideoError(f"{folder}: no video has frames in all of {len(self.styles)} style folders")
        super().__init__(sorted(videos), num_pairs, clip_frames, frame_size, seed, transform, stride, distinct)

    def _make_pair(self, index: int, source: int) -> tuple[np.ndarray, np.ndarray]:
        rng, video = self._rng(index), self.sources[source]
        names = _frames_in(self.styles[0] / video)
        if len(names) < self.clip_frames:
            raise VideoError(f"{video}: shorter than a clip: {len(names)} frames, clip_frames = {self.clip_frames}")
        frames = sample_clip(len(names), self.clip_frames, self._rng(index // 2, 1 + source), self.stride)
        names = [names[i] for i in frames]
        if index % 2 == STATIC:
            clip = self._read(self.styles[rng.integers(len(self.styles))] / video, names)
            return clip, permute_frames(clip, rng)
        chosen = rng.choice(len(self.styles), 2, replace=not self.distinct)
        clip_a, clip_b = (self._read(self.styles[i] / video, names) for i in chosen)
        return clip_a, clip_b

    def _read(self, folder: Path, names: list[str]) -> np.ndarray:
        return read_images([folder / name for name in names], self.frame_size)

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "styles": [style.name for style in self.styles]}

    def _inventory(self) -> list[Any]:
        return [
            [video, [sum((style / video / name).stat().st_size for name in _frames_in(style / video))
                     for style in self.styles]]
            for video in self.sources
        ]  # fmt: skip


def _frames_in(folder: Path) -> list[str]:
    return images_in(os.listdir(folder)) if folder.is_dir() else []


def _videos_in(style: Path) -> set[str]:
    return {Path(folder).relative_to(style).as_posix() for folder, names in walk(style) if any(map(is_image, names))}
