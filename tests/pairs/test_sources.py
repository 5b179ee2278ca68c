"""The number of the video that a pair was cut from: the one really used, the same everywhere, and dense."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sdfast.pairs import FlowPairs, StylisedFolderPairs, VideoPairs
from sdfast.pairs.styles import STYLES
from tests.support.videos import numbered_frames, write_video

VIDEOS, TINT, SEED = 6, 9, 3
SETTINGS = {"num_pairs": 4 * VIDEOS, "clip_frames": 4, "frame_size": (24, 32), "seed": SEED, "stride": 2}


@pytest.fixture(params=[VideoPairs, FlowPairs, StylisedFolderPairs])
def make(request, tmp_path, monkeypatch):
    """Make pairs from six videos that their tint tells apart, under a style that leaves it; some are too short."""
    monkeypatch.setitem(STYLES, "plain", lambda frames, rng=None: frames.copy())

    def pairs(short=(), folder="videos", **settings):
        settings = {**SETTINGS, **settings}
        for video in range(VIDEOS):
            frames = numbered_frames(3 if video in short else 20, tint=TINT * video)
            if request.param is StylisedFolderPairs:
                write_styles(tmp_path / folder, f"video_{video}", frames)
            else:
                (tmp_path / folder).mkdir(exist_ok=True)
                write_video(tmp_path / folder / f"video_{video}.mp4", frames)
                settings["styles"] = ["plain"]
        return request.param(tmp_path / folder, **settings)

    return pairs


def write_styles(folder, video, frames):
    cv2 = pytest.importorskip("cv2")
    for style in ("style_1", "style_2"):
        (folder / style / video).mkdir(parents=True)
        for i, frame in enumerate(frames):
            cv2.imwrite(str(folder / style / video / f"frame_{i + 1}.png"), frame[..., ::-1])


def video_of(clip) -> int:
    """Return which video a clip is from, by its colour."""
    red, green = np.asarray(clip, float)[..., :2].mean((0, 1, 2))
    return round((red - green) / TINT)


def order() -> list[int]:
    """Return the videos in the order drawn from the seed."""
    return np.random.default_rng(SEED).permutation(VIDEOS).tolist()


def test_every_video_has_its_place_in_the_drawn_order_and_both_factors_share_it(make):
    items = list(make())
    assert all(len(item) == 4 and type(item[3]) is int for item in items)
    assert [item[3] for item in items] == [i // 2 % VIDEOS for i in range(4 * VIDEOS)]
    for clip_a, clip_b, _, source in items:
        assert video_of(clip_a) == video_of(clip_b) == order()[source]


def test_a_pair_has_the_number_of_the_video_that_took_the_place_of_a_skipped_one(make):
    short = {order()[1], order()[2], order()[5]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        items = list(make(short))
    assert {item[3] for item in items} == {0, 3, 4}
    assert [item[3] for item in items[: 2 * VIDEOS : 2]] == [0, 3, 3, 3, 4, 0]
    for clip_a, clip_b, _, source in items:
        assert video_of(clip_a) == video_of(clip_b) == order()[source]


def test_numbers_depend_on_seed_index_and_videos_alone(make):
    short = {order()[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = make(short)
        backwards = [pairs[i][3] for i in reversed(range(len(pairs)))][::-1]
        more = make(short, folder="again", num_pairs=6 * VIDEOS)
        assert [more[i][3] for i in range(len(pairs))] == backwards
        loaded = [source for *_, source in DataLoader(pairs, batch_size=5, num_workers=2)]
    assert torch.cat(loaded).tolist() == backwards


def test_the_numbers_are_part_of_the_fingerprint(make):
    pairs = make()
    before = pairs.fingerprint()
    assert pairs.fingerprint() == before
    pairs._order = pairs._order[::-1]  # as if another version of NumPy drew otherwise
    assert pairs.fingerprint() != before
