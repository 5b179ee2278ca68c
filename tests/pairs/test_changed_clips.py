"""Changed clips: the frames of the clip in another order, or one of them alone, of the videos that pairs are of."""

import os

import numpy as np
import pytest

from sdfast.pairs import SHUFFLED, STILL, ChangedClips, FlowPairs, StylisedFolderPairs, VideoPairs
from tests.support.videos import numbered_frames, read_numbers, write_video

SETTINGS = {"num_pairs": 24, "clip_frames": 6, "frame_size": (48, 64), "seed": 3}


def test_frames_are_those_of_the_clip(video):
    frames, before = [], None
    for i, (clip, changed, change, source) in enumerate(ChangedClips(video, **SETTINGS)):
        numbers, others = read_numbers(clip), read_numbers(changed)
        assert (change, source) == (i % 2, 0) and numbers == sorted(numbers)
        if change == SHUFFLED:
            assert others != numbers and sorted(others) == numbers
        else:
            assert change == STILL and set(others) < set(numbers) and len(set(others)) == 1
            assert np.array_equal(changed[0], changed[-1])
            frames.append(numbers.index(others[0]))
        if i % 2:
            assert np.array_equal(clip, before)
        before = clip
    assert len(set(frames)) > 3, "always the same frame"


def test_they_are_of_the_videos_of_pairs_with_the_same_numbers(video_folder):
    def count(clip):
        return clip.astype(np.float32)

    pairs = VideoPairs(video_folder, transform=count, stride=2, styles=["pencil"], **SETTINGS)
    clips = ChangedClips.of(pairs)
    assert len(clips) == 24 and clips.seed == 3 and clips.stride == 2 and clips.clip_frames == 6
    for i in range(6):
        assert clips[i][0].dtype == np.float32 and clips[i][3] == pairs[i][3] == i // 2
    names = {os.path.basename(clips.video(number)) for number in range(3)}
    assert names == {"a.mp4", "b.mkv", "c.avi"}
    assert clips.fingerprint() != pairs.fingerprint()


def test_a_number_is_that_of_its_video(tmp_path):
    for tint in range(5):
        write_video(tmp_path / f"{tint}.mp4", numbered_frames(20, tint=10 * tint))
    clips = ChangedClips(tmp_path, **{**SETTINGS, "num_pairs": 10})
    for clip, _, _, source in clips:
        red, green = clip[..., 0].mean(), clip[..., 1].mean()
        assert round((red - green) / 10) == int(os.path.basename(clips.video(source))[0])


def test_other_pairs_are_refused(video, tmp_path):
    flow = FlowPairs(video, num_pairs=2, clip_frames=2, frame_size=(24, 32))
    for pairs in (flow, [1, 2], object.__new__(StylisedFolderPairs)):
        with pytest.raises(TypeError, match=r"pairs: expected sdfast\.pairs\.VideoPairs, got"):
            ChangedClips.of(pairs)
