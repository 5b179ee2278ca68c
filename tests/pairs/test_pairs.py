"""Pairs: what they share, that they depend on seed and index alone, and what becomes of bad videos."""

import gc
import pickle
import shutil
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import sdfast.pairs
from sdfast.pairs import DYNAMIC, STATIC, VideoPairs, permute_frames
from sdfast.pairs.flow_pairs import FlowPairs
from sdfast.pairs.folder_pairs import StylisedFolderPairs
from sdfast.pairs.styles import STYLES
from sdfast.pairs.video import VideoError
from tests.support.videos import numbered_frames, read_numbers, write_video

SMALL = {"num_pairs": 12, "clip_frames": 8, "frame_size": (24, 32)}


def plain(frames, rng=None):
    return frames.copy()


def tinted(frames, rng=None):
    return frames // 2 + np.uint8(60 if rng is None else rng.integers(0, 120))


@pytest.fixture
def plain_styles(monkeypatch):
    """Add two styles under which frames keep their numbers."""
    monkeypatch.setitem(STYLES, "plain", plain)
    monkeypatch.setitem(STYLES, "tinted", tinted)


@pytest.fixture
def stylised_folder(tmp_path):
    """Write three styles of two videos, 20 frames each, as numbered PNG files."""
    cv2 = pytest.importorskip("cv2")
    for style in (1, 2, 10):
        for video in ("v_a", "class/v_b"):
            folder = tmp_path / "data" / f"style_{style}" / video
            folder.mkdir(parents=True)
            for i, frame in enumerate(numbered_frames(20, tint=3 * style)):
                cv2.imwrite(str(folder / f"frame_{i + 1}.png"), frame[..., ::-1])
    return tmp_path / "data"


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def dataset(kind, video_folder, stylised_folder, **settings):
    folder = stylised_folder if kind is StylisedFolderPairs else video_folder
    return kind(folder, **{**SMALL, **settings})


@pytest.mark.parametrize("kind", [VideoPairs, FlowPairs, StylisedFolderPairs])
class TestEveryDataset:
    def test_items_are_a_function_of_seed_and_index(self, kind, video_folder, stylised_folder):
        forwards, backwards, other = (dataset(kind, video_folder, stylised_folder, seed=s) for s in (3, 3, 4))
        assert len(forwards) == 12
        first = [forwards[i] for i in range(12)]
        second = [backwards[i] for i in reversed(range(12))][::-1]
        assert all(same(a, b) for a, b in zip(first, second, strict=True))
        assert not all(same(first[i], other[i]) for i in range(12))

    def test_more_pairs_begin_with_the_same_pairs(self, kind, video_folder, stylised_folder):
        few, many = (dataset(kind, video_folder, stylised_folder, num_pairs=n) for n in (4, 40))
        assert all(same(few[i], many[i]) for i in range(4))

    def test_workers_agree(self, kind, video_folder, stylised_folder):
        pairs = dataset(kind, video_folder, stylised_folder)
        pairs[0]  # caches of this process reach the workers by the fork
        alone = list(DataLoader(pairs, batch_size=3, num_workers=0))
        shared = list(DataLoader(pairs, batch_size=3, num_workers=2))
        assert all(torch.equal(a, b) for x, y in zip(alone, shared, strict=True) for a, b in zip(x, y, strict=True))

    def test_factors_alternate_and_transform_gets_both_clips(self, kind, video_folder, stylised_folder):
        pairs = dataset(kind, video_folder, stylised_folder, transform=torch.from_numpy)
        clip_a, clip_b, factor, _ = pairs[0]
        assert isinstance(clip_a, torch.Tensor) and clip_a.shape == clip_b.shape and clip_a.dtype == torch.uint8
        assert clip_a.shape == (8, 24, 32, 6 if kind is FlowPairs else 3)
        assert factor == DYNAMIC and [pairs[i][2] for i in range(4)] == [0, 1, 0, 1]

    def test_pickles_without_caches(self, kind, video_folder, stylised_folder):
        pairs = dataset(kind, video_folder, stylised_folder)
        fresh = len(pickle.dumps(pairs))
        for i in range(12):
            pairs[i]
        assert len(pickle.dumps(pairs)) == fresh
        copy = pickle.loads(pickle.dumps(pairs))
        assert copy.fingerprint() == pairs.fingerprint() and same(copy[5], pairs[5])

    def test_fingerprint(self, kind, video_folder, stylised_folder, tmp_path):
        first = dataset(kind, video_folder, stylised_folder).fingerprint()
        assert first == dataset(kind, video_folder, stylised_folder).fingerprint() and len(first) == 64
        for change in ({"seed": 1}, {"clip_frames": 9}, {"frame_size": (32, 24)}, {"distinct": True}, {"stride": 2}):
            assert dataset(kind, video_folder, stylised_folder, **change).fingerprint() != first, change
        moved = [
            shutil.copytree(folder, tmp_path / "moved" / folder.name) for folder in (video_folder, stylised_folder)
        ]
        assert dataset(kind, *moved).fingerprint() == first
        (next(moved[kind is StylisedFolderPairs].rglob("*.[pm][nk][gv]"))).write_bytes(b"other content")
        assert dataset(kind, *moved).fingerprint() != first

    def test_index_out_of_range(self, kind, video_folder, stylised_folder):
        pairs = dataset(kind, video_folder, stylised_folder, num_pairs=3)
        assert len(list(pairs)) == 3
        for index in (3, -1):
            with pytest.raises(IndexError, match=r"index: expected a pair in \[0, 3\)"):
                pairs[index]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("num_pairs", 0),
            ("clip_frames", 1),
            ("seed", -1),
            ("frame_size", (0, 8)),
            ("stride", 0),
            ("seed", 1.5),
            ("frame_size", 112),
            ("frame_size", (8, 8, 3)),
        ],
    )
    def test_settings_out_of_range(self, kind, video_folder, stylised_folder, name, value):
        with pytest.raises(ValueError, match=rf"{name}: expected (an integer|a positive integer|\(height, width\))"):
            dataset(kind, video_folder, stylised_folder, **{name: value})


@pytest.mark.parametrize("length", [2, 3, 8])
def test_permutation_is_never_the_identity(length):
    rng = np.random.default_rng(0)
    orders = {tuple(permute_frames(np.arange(length), rng)) for _ in range(200)}
    assert tuple(range(length)) not in orders
    assert all(sorted(order) == list(range(length)) for order in orders)
    assert len(orders) == {2: 1, 3: 5}.get(length, len(orders))
    with pytest.raises(ValueError, match="clip: expected at least 2 frames"):
        permute_frames(np.arange(1), rng)


def test_frames_that_are_all_equal_end_too(tmp_path):
    write_video(tmp_path / "still.mp4", np.full((30, 48, 64, 3), 90, np.uint8))
    clip_a, clip_b, *_ = VideoPairs(tmp_path, num_pairs=2, clip_frames=2, frame_size=(24, 32))[1]
    assert np.array_equal(clip_a, clip_b)


def test_static_pairs_hold_the_same_frames_in_another_order(video_folder, plain_styles):
    pairs = VideoPairs(video_folder, **{**SMALL, "clip_frames": 2}, styles=["plain", "tinted"])
    for i in range(1, 12, 2):
        clip_a, clip_b, factor, _ = pairs[i]
        assert factor == STATIC and np.array_equal(clip_a, clip_b[::-1]) and not np.array_equal(clip_a, clip_b)


def test_dynamic_pairs_hold_the_same_frames_in_the_same_order(video_folder, plain_styles):
    pairs = VideoPairs(video_folder, **SMALL, styles=["plain", "tinted"], distinct=True)
    for i in range(0, 12, 2):
        clip_a, clip_b, factor, _ = pairs[i]
        darker, brighter = sorted((clip_a, clip_b), key=np.ptp, reverse=True)
        assert factor == DYNAMIC and np.array_equal(tinted(darker), brighter)
        assert np.ptp(np.diff(read_numbers(darker))) == 0


def test_both_factors_share_a_clip_that_is_decoded_once(video_folder, plain_styles, monkeypatch):
    pairs = VideoPairs(video_folder, **SMALL, styles=["plain", "tinted"])
    decoded = []
    read_clip = sdfast.pairs.opened.read_clip
    monkeypatch.setattr("sdfast.pairs.opened.read_clip", lambda *args: decoded.append(args) or read_clip(*args))
    for i in range(12):
        pairs[i]
    assert len(decoded) == 6
    assert len({str(path) for path, *_ in decoded}) == 3


def test_every_video_is_used_equally_often_by_both_factors(video_folder):
    pairs = VideoPairs(video_folder, num_pairs=18, clip_frames=4, frame_size=(24, 32))
    used = []
    pairs._restyle = lambda clip, rng, times: used.append(pairs._last[0][1]) or [clip] * times
    for i in range(18):
        pairs[i]
    assert sorted(used[::2]) == sorted(used[1::2]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def style_correlation(pairs) -> float:
    """Correlate, over dynamic pairs, a channel that knows nothing but the style."""
    looks = []
    pairs._clip = lambda number, source: np.full((2, 2, 2, 3), 100, np.uint8)
    for i in range(0, len(pairs), 2):
        looks.append([clip.mean() for clip in pairs[i][:2]])
    return np.corrcoef(np.transpose(looks))[0, 1]


def test_knowledge_of_style_alone_does_not_read_as_dynamic(video_folder, monkeypatch):
    for level in range(4):
        monkeypatch.setitem(
            STYLES, f"level{level}", lambda frames, rng=None, level=level: frames + np.uint8(30 * level)
        )
    settings = {"num_pairs": 4000, "clip_frames": 2, "frame_size": (2, 2), "styles": [f"level{i}" for i in range(4)]}
    # 2,000 pairs: the standard error is 0.022.
    assert abs(style_correlation(VideoPairs(video_folder, **settings))) < 0.09
    assert style_correlation(VideoPairs(video_folder, **settings, distinct=True)) == pytest.approx(-1 / 3, abs=0.09)


def test_default_draws_strengths_and_distinct_does_not(video_folder):
    few = {**SMALL, "num_pairs": 8, "styles": ["colormap"]}
    pairs = VideoPairs(video_folder, **few)
    assert not any(np.array_equal(*pairs[i][:2]) for i in range(0, 8, 2))
    with pytest.raises(ValueError, match="styles: expected at least 2 with distinct=True, got colormap"):
        VideoPairs(video_folder, **few, distinct=True)


def test_unknown_style_and_folder_without_videos(tmp_path, video_folder):
    with pytest.raises(ValueError, match="did you mean pencil"):
        VideoPairs(video_folder, styles=["pencill"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="empty: no video in this folder"):
        VideoPairs(tmp_path / "empty")
    with pytest.raises(VideoError, match="videos: expected at least one, got none"):
        VideoPairs([])


def test_bad_videos_are_skipped_with_one_warning_each(video_folder):
    sound = sorted(path.name for path in video_folder.rglob("*.*"))
    (video_folder / "empty.mp4").touch()
    (video_folder / "junk.mp4").write_bytes(b"nothing" * 50)
    content = (video_folder / "b.mkv").read_bytes()
    (video_folder / "half.mkv").write_bytes(content[: len(content) // 2])
    (video_folder / "dead.mp4").symlink_to("no/such/file.mp4")
    write_video(video_folder / "short.mp4", numbered_frames(5))
    pairs = VideoPairs(video_folder, **{**SMALL, "num_pairs": 40})
    assert pairs.fingerprint(), "which the state of every run holds"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        items = [pairs[i] for i in range(40)]
    said = [str(warning.message) for warning in caught]
    assert len(said) == 5 and len(sound) == 3
    for name in (
        "empty.mp4: the file is empty",
        "junk.mp4: cannot",
        "dead.mp4: cannot",
        "half.mkv: truncated",
        "short.mp4: shorter than a",
    ):
        assert sum(name in message for message in said) == 1, (name, said)
    again = VideoPairs(video_folder, **{**SMALL, "num_pairs": 40})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert all(same(items[i], again[i]) for i in (33, 7, 20, 0))


def test_no_usable_video_is_an_error_also_from_workers(tmp_path):
    (tmp_path / "a.mp4").touch()
    write_video(tmp_path / "short.mp4", numbered_frames(5))
    pairs = VideoPairs(tmp_path, **SMALL)
    with pytest.warns(UserWarning, match="skipped a video"), pytest.raises(VideoError, match="none of 2 can be used"):
        pairs[0]
    with pytest.raises(VideoError, match="none of 2 can be used"):
        list(DataLoader(pairs, num_workers=1))


def test_memory_does_not_grow_with_pairs_or_videos(tmp_path):
    first = write_video(tmp_path / "000.mp4", numbered_frames(40))
    for i in range(1, 60):
        shutil.copy(first, tmp_path / f"{i:03d}.mp4")
    pairs = VideoPairs(tmp_path, num_pairs=240, clip_frames=4, frame_size=(24, 32), styles=["colormap"])
    tracemalloc.start()
    try:
        held = []
        for last in (80, 240):
            for i in range(last - 80, last):
                pairs[i]
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 20_000
    assert len(pairs._open) <= 16


def test_flow_pairs_change_one_part_each(tmp_path, plain_styles):
    texture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    write_video(tmp_path / "moving.mp4", np.stack([np.roll(texture, t, axis=1) for t in range(40)]))
    pairs = FlowPairs(tmp_path, **SMALL, styles=["plain", "tinted"], distinct=True)
    for i in range(4):
        clip_a, clip_b, factor, _ = pairs[i]
        same_frames, same_flow = (
            np.array_equal(clip_a[..., part], clip_b[..., part]) for part in (np.s_[:3], np.s_[3:])
        )
        assert (same_frames, same_flow) == ((True, False) if factor == STATIC else (False, True))


def test_stylised_folder_reads_the_same_frames_of_two_styles(stylised_folder):
    pairs = StylisedFolderPairs(stylised_folder, **SMALL, distinct=True)
    assert [style.name for style in pairs.styles] == ["style_1", "style_2", "style_10"]
    assert pairs.sources == ["class/v_b", "v_a"]
    for i in range(12):
        clip_a, clip_b, factor, _ = pairs[i]
        a, b = read_numbers(clip_a), read_numbers(clip_b)
        assert np.ptp(np.diff(a)) == 0 and np.diff(a)[0] == 2  # uniform, and frame_10 comes after frame_9
        if factor == DYNAMIC:
            assert a == b and not np.array_equal(clip_a, clip_b)
        else:
            assert sorted(a) == sorted(b) and a != b


def test_stylised_folder_with_faults(stylised_folder, tmp_path):
    broken = stylised_folder / "style_2" / "v_a" / "frame_9.png"
    broken.write_bytes(b"no image")
    pairs = StylisedFolderPairs(stylised_folder, **{**SMALL, "clip_frames": 20})
    with pytest.warns(UserWarning, match=r"frame_9\.png: missing or not an image") as caught:
        items = [pairs[i] for i in range(12)]
    assert len(items) == 12 and len(caught) == 1
    with pytest.raises(VideoError, match="expected at least 2 folders"):
        StylisedFolderPairs(tmp_path / "nothing")
    (tmp_path / "bare" / "style_1").mkdir(parents=True)
    (tmp_path / "bare" / "style_2").mkdir()
    with pytest.raises(VideoError, match="no video has frames in all of 2"):
        StylisedFolderPairs(tmp_path / "bare")
    with pytest.warns(UserWarning), pytest.raises(VideoError, match="shorter than a clip: 20 frames, clip_frames = 21"):
        StylisedFolderPairs(stylised_folder, clip_frames=21)[0]
