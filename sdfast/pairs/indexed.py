"""Pairs by their numbers: of dynamic and static ones in turn, each clip as the model takes it."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

Transform = Callable[[np.ndarray], Any]  # from uint8 (T, H, W, C) to what the model takes
Pair = tuple[Any, Any, int, int]  # both clips, the factor that they share, and the number of their source


class IndexedPairs(Dataset[Pair]):
    """Give the items (clip_a, clip_b, factor, source) of numbered pairs: even ones are dynamic, odd ones static.

    Attributes:
        num_pairs: how many there are.
        transform: from uint8 (T, H, W, C) to what the model takes, for each clip; None leaves the array.
        sources: what they were cut from.
        styles: what they were restyled by.
        clip_frames: frames of a clip, T.
        frame_size: (H, W) in pixels.
    """

    num_pairs: int
    sources: Sequence[Any]
    styles: Sequence[Any]
    clip_frames: int
    frame_size: tuple[int, int]
    transform: Transform | None

    def __len__(self) -> int:
        return self.num_pairs

    def __getitem__(self, index: int) -> Pair:
        index = operator.index(index)
        if not 0 <= index < self.num_pairs:
            raise IndexError(f"index: expected a pair in [0, {self.num_pairs}), got {index}")
        (clip_a, clip_b), number = self._clips_and_source(index)
        if self.transform is not None:
            clip_a, clip_b = self.transform(clip_a), self.transform(clip_b)
        return clip_a, clip_b, index % 2, number

    def _clips_and_source(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], int]:
        """Return both clips, uint8 (T, H, W, C), and the number of their source."""
        raise NotImplementedError
