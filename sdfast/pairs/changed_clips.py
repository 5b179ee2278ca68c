"""Clips beside what is left of them: without the order of their frames, or with a single one of them."""

import numpy as np

from sdfast.pairs.dataset import permute_frames
from sdfast.pairs.flow_pairs import FlowPairs
from sdfast.pairs.sources import Video
from sdfast.pairs.video_pairs import VideoPairs

STILL, SHUFFLED = 0, 1


class ChangedClips(VideoPairs):
    """Pair clips, not restyled, with one of their frames repeated, and with their frames in random order.

    Arguments are those of `VideoPairs`. Item i is `(clip, changed, change, source)`: change i % 2 is STILL, the clip
    beside one of its frames, drawn at random and repeated, or SHUFFLED. Items 2k and 2k + 1 have the same clip.

    >>> from sdfast.pairs import demo_videos
    >>> clips = ChangedClips(demo_videos(), num_pairs=2, clip_frames=8, frame_size=(27, 48))
    >>> clip, still, change, _ = clips[0]
    >>> change == STILL, len(np.unique(still, axis=0)), bool((clip == clips[1][0]).all())
    (True, 1, True)
    """

    @classmethod
    def of(cls, pairs: VideoPairs) -> "ChangedClips":
        """Return the clips that pairs are made of, as many.

        Raises:
            TypeError: these are no `VideoPairs`, or are `FlowPairs`, whose clips are more than frames.
        """
        if not isinstance(pairs, VideoPairs) or isinstance(pairs, FlowPairs):
            raise TypeError(f"pairs: expected sdfast.pairs.VideoPairs, got {type(pairs).__name__}")
        settings = ("num_pairs", "clip_frames", "frame_size", "seed", "transform", "stride")
        return cls(pairs.sources, **{name: getattr(pairs, name) for name in settings})

    def video(self, source: int) -> Video:
        """Return the video that has a number."""
        return self.sources[int(self._order[source])]

    def _make_pair(self, index: int, source: int) -> tuple[np.ndarray, np.ndarray]:
        clip, rng = self._clip(index // 2, source), self._rng(index)
        if index % 2 == SHUFFLED:
            return clip, permute_frames(clip, rng)
        return clip, np.repeat(clip[[rng.integers(len(clip))]], len(clip), axis=0)
