"""Videos as users have them: folders of frames, patterns, lists, rows of data sets; and what is refused."""

import collections
import pickle
import shutil
from typing import ClassVar

import numpy as np
import pytest
from torch.utils.data import DataLoader

from sdfast.pairs import FrameFolder, Part, VideoError, VideoFile, VideoPairs, list_videos
from sdfast.pairs.frames import frames_in
from sdfast.pairs.styles import STYLES
from tests.support.videos import numbered_frames, read_numbers, write_video

cv2 = pytest.importorskip("cv2")
SMALL = {"num_pairs": 8, "clip_frames": 4, "frame_size": (24, 32), "styles": ["plain"]}
COUNT = 12


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """Add a style under which frames keep their numbers."""
    monkeypatch.setitem(STYLES, "plain", lambda frames, rng=None: frames.copy())


def write_frames(folder, naming="{}.png", count=COUNT, first=1):
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(numbered_frames(count)):
        assert cv2.imwrite(str(folder / naming.format(i + first)), frame[..., ::-1])
    return folder


def numbers_of(video) -> list[int]:
    frames = video.open()
    return read_numbers(frames.read(np.arange(frames.count), (24, 32)))


def names(videos) -> list[str]:
    return [str(video) for video in videos]


@pytest.mark.parametrize("naming", ["{}.png", "{:05d}.jpg", "img_{}.webp", "v2_frame{:03d}_x.JPEG", "t={}ms.bmp"])
def test_frames_of_any_naming_are_in_natural_order(tmp_path, naming):
    (folder,) = list_videos(write_frames(tmp_path / "v", naming))
    assert isinstance(folder, FrameFolder) and numbers_of(folder) == list(range(COUNT))


def test_frames_without_numbers_and_pictures_that_are_no_frames(tmp_path):
    for letter, frame in zip("dcba", numbered_frames(4)[::-1], strict=True):
        (tmp_path / "letters").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "letters" / f"{letter}.png"), frame)
    assert frames_in(tmp_path / "letters") == ["a.png", "b.png", "c.png", "d.png"]
    folder = write_frames(tmp_path / "v")
    for other in ("cover.jpg", ".hidden_13.png", "notes.txt", "1²3.jpg"):
        (folder / other).write_bytes(b"")
    assert numbers_of(FrameFolder(folder)) == list(range(COUNT))


def test_frames_beside_their_flow_are_not_mixed(tmp_path):
    folder = write_frames(write_frames(tmp_path / "v", "flow_x_{}.png"), "img_{}.png")
    with pytest.raises(VideoError, match=r"v: expected the frames of one video, got 12 flow_x_#\.png, 12 img_#\.png"):
        FrameFolder(folder).open()
    (video,) = list_videos(f"{tmp_path}/*/img_*.png")
    assert str(video) == str(folder) and numbers_of(video) == list(range(COUNT))


def test_a_tree_of_classes_with_frames_and_one_with_videos(tmp_path):
    for video in ("jump/a", "jump/b", "run/c"):
        write_frames(tmp_path / "frames" / video)
    assert [name[-6:] for name in names(list_videos(tmp_path / "frames"))] == ["jump/a", "jump/b", "/run/c"]
    write_frames(tmp_path / "videos" / "thumbnails")
    write_video(tmp_path / "videos" / "a.mp4", numbered_frames(20))
    assert names(list_videos(tmp_path / "videos")) == [str(tmp_path / "videos" / "a.mp4")]
    a, b, *_ = VideoPairs(tmp_path / "frames", **SMALL)[0]
    assert np.ptp(np.diff(read_numbers(a))) == 0 and read_numbers(a) == read_numbers(b)


def test_patterns(tmp_path, video_folder):
    assert [name[-5:] for name in names(list_videos(f"{video_folder}/**/*.???"))] == ["a.mp4", "b.mkv", "c.avi"]
    write_frames(tmp_path / "one" / "frames")
    assert names(list_videos(f"{tmp_path}/o*")) == [str(tmp_path / "one" / "frames")]
    (video_folder / "notes.txt").write_text("no video")
    write_frames(video_folder, "thumbnail_{}.png", count=2)
    assert [name[-5:] for name in names(list_videos(f"{video_folder}/*"))] == ["c.avi", "a.mp4", "b.mkv"]
    shutil.copy(video_folder / "a.mp4", video_folder / "a.unknown")
    assert [name[-9:] for name in names(list_videos(f"{video_folder}/*.unk*"))] == ["a.unknown"]
    bracketed = write_video(tmp_path / "v[1].mp4", numbered_frames(20))
    assert names(list_videos(bracketed)) == [str(bracketed)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"e\*y: matches folders without a video"):
        list_videos(f"{tmp_path}/e*y")
    with pytest.raises(VideoError, match=r"no\*: matches no file"):
        list_videos(f"{tmp_path}/no*")


LISTS = {
    "plain.txt": "a.mp4\n\n# a remark\nmy video.mp4\n",
    "labels.txt": "a.mp4 3\n'my' 1\n",
    "labels.csv": 'a.mp4 3\n"my video.mp4" 1\n',
    "parts.txt": "a.mp4 5 15 3\n",
    "parts.csv": "label,end,Path,start,split\n3,15,a.mp4,5,train\nrun,,my video.mp4,,val\n",
    "parts.tsv": "video\tstart\na.mp4\t5\nmy video.mp4\t\n",
}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("plain.txt", [("a.mp4", None, 0, 20), ("my video.mp4", None, 0, 20)]),
        ("labels.csv", [("a.mp4", "3", 0, 20), ("my video.mp4", "1", 0, 20)]),
        ("parts.txt", [("a.mp4", "3", 5, 15)]),
        ("parts.csv", [("a.mp4", "3", 5, 15), ("my video.mp4", "run", 0, 20)]),
        ("parts.tsv", [("a.mp4", None, 5, 20), ("my video.mp4", None, 0, 20)]),
    ],
)
def test_lists(tmp_path, name, wanted):
    for video in ("a.mp4", "my video.mp4"):
        write_video(tmp_path / video, numbered_frames(20))
    (tmp_path / name).write_text(LISTS[name])
    videos = list_videos(tmp_path / name)
    assert [(str(v), v.label) for v in videos] == [(str(tmp_path / file), label) for file, label, *_ in wanted]
    for video, (_, _, start, end) in zip(videos, wanted, strict=True):
        assert numbers_of(video) == list(range(start, end))


def test_paths_of_a_list_are_relative_to_it_or_to_here(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    write_frames(tmp_path / "frames" / "v")
    (tmp_path / "lists" / "train.txt").write_text("frames/v 0\n../frames/v 1\n")
    monkeypatch.chdir(tmp_path)
    assert [len(numbers_of(video)) for video in list_videos("lists/train.txt")] == [COUNT, COUNT]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "a.mp4 20 3\n", "first line, got 3 columns"),
        ("a.txt", "\n", "lists no video"),
        ("a.csv", "path,label\na.mp4,1,2\n", r"expected 2 columns in every line \(path, label\), got \['a.mp4'"),
        ("a.csv", "path,time_start\na.mp4,1.5\n", "column time_start: expected start and end, which are frame numbers"),
        ("a.csv", "path,start\na.mp4,1.5\n", r"start: expected the number of a frame, got 1\.5"),
        ("a.csv", "path,start\na.mp4," + 5000 * "1", "start: expected the number of a frame, got 1111"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read as a list of videos"),
        ("a.csv", "path,label\na.mp4,\0", "cannot be read as a list of videos: it has bytes of zero"),
        ("a.csv", "path,label\na.mp4," + 200_000 * "b", "cannot be read as a list of videos: field larger"),
    ],
)
def test_lists_that_are_unclear(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(VideoError, match=rf"{name}: .*{says}"):
        list_videos(tmp_path / name)


@pytest.mark.parametrize(("start", "end"), [(15, 30), (7, 7), (20, None)])
def test_a_part_that_is_not_in_its_video_is_damaged(tmp_path, start, end):
    part = Part(VideoFile(write_video(tmp_path / "a.mp4", numbered_frames(20))), start, end)
    with pytest.raises(VideoError, match=rf"a\.mp4: expected frames {start} to {end or 20} of a video of 20"):
        part.open()


def test_missing_ones_among_several_are_skipped_with_a_word(tmp_path):
    sound = write_video(tmp_path / "a.mp4", numbered_frames(20))
    (tmp_path / "list.txt").write_text("a.mp4\ngone.mp4\n")
    for videos in ([sound, tmp_path / "gone.mp4"], tmp_path / "list.txt"):
        pairs = VideoPairs(videos, **SMALL)
        with pytest.warns(UserWarning, match=r"skipped a video: .*gone\.mp4: cannot be read: No such file") as caught:
            items = list(pairs)
        assert len(items) == 8 and len(caught) == 1 and len({item[3] for item in items}) == 1
        assert pairs.fingerprint()
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file or folder"):
        VideoPairs([tmp_path / "gone.mp4"], **SMALL)


def test_a_missing_frame_is_a_damaged_video(tmp_path):
    folder = write_frames(tmp_path / "v")
    frames = FrameFolder(folder).open()
    (folder / "3.png").unlink()
    with pytest.raises(VideoError, match=r"3\.png: missing or not an image"):
        frames.read(np.arange(5), (24, 32))


class Decoder:
    """What torchcodec returns, as far as it is used."""

    def __init__(self, frames):
        self.frames = frames

    def __len__(self):
        return len(self.frames)

    def get_frames_at(self, indices):
        import torch

        data = torch.from_numpy(self.frames[indices]).permute(0, 3, 1, 2)
        return type("FrameBatch", (), {"data": data})


class Rows(collections.UserList):
    """Rows of a data set, as Hugging Face has them."""

    column_names = ("video", "label")
    _fingerprint = "0123abcd"
    features: ClassVar = {"label": type("ClassLabel", (), {"int2str": staticmethod(["run", "jump"].__getitem__)})}


def values(tmp_path):
    """Return the same video in all the ways in which a row may hold one."""
    from PIL import Image

    path, frames = write_video(tmp_path / "a.mp4", numbered_frames(20)), numbered_frames(20)
    return {
        "path": str(path),
        "folder": write_frames(tmp_path / "frames", count=20),
        "bytes": path.read_bytes(),
        "mapping": {"path": None, "bytes": path.read_bytes()},
        "mapped path": {"path": str(path), "bytes": None},
        "array": frames,
        "channels first": np.ascontiguousarray(frames.transpose(0, 3, 1, 2)),
        "pictures": [Image.fromarray(frame) for frame in frames],
        "decoder": Decoder(frames),
    }


def test_rows_hold_a_video_in_many_ways(tmp_path):
    rows = [{"video": value, "label": 1} for value in values(tmp_path).values()]
    for videos in (rows, [row["video"] for row in rows], Rows(rows)):
        for video in list_videos(videos):
            assert numbers_of(video) == list(range(20)), video
            assert video.identity() == video.identity()
    assert {video.label for video in list_videos(Rows(rows))} == {"jump"}
    assert [video.label for video in list_videos([{"label": 0}, {"label": None}, {}])] == ["0", None, None]
    identities = [str(video.identity()) for video in list_videos(rows)]
    assert len(set(identities)) == 4  # of the file, of its content, of the folder and of the frames


def test_rows_may_be_parts_and_may_be_damaged(tmp_path):
    frames = numbered_frames(20)
    rows = [
        {"frames": frames, "start": 5, "end": 15},
        {"frames": None, "label": 1},
        {"frames": frames.astype(np.float32)},
        {"frames": 3},
        {"frames": b"junk" * 100},
        {"frames": frames, "start": 0.5, "end": 1.5},
    ]
    videos = list_videos(rows)
    assert numbers_of(videos[0]) == list(range(5, 15))
    for video, says in zip(
        videos[1:],
        [
            "row 1: expected a video in one of",
            "row 2: expected uint8 frames",
            "row 3: expected a path",
            "row 4: cannot",
            r"row 5: start: expected the number of a frame, got 0\.5",
        ],
        strict=True,
    ):
        with pytest.raises(VideoError, match=says):
            numbers_of(video)
    for wrong, says in (
        ({"train": rows, "test": rows}, "expected rows or paths, got a mapping of train, test"),
        (Rows([{"image": 1}]), None),
        (np.arange(3), "expected paths or rows that are mappings, got ndarray"),
    ):
        if says is None:
            wrong.column_names, says = (
                ("image",),
                "one of video, frames, bytes, path, file, got image",
            )
        with pytest.raises(ValueError, match=says):
            list_videos(wrong)


def test_pairs_of_rows_in_other_processes(tmp_path):
    rows = [{"video": value} for value in values(tmp_path).values()]
    pairs = VideoPairs(rows, **{**SMALL, "num_pairs": 18})
    alone = [pairs[i] for i in range(18)]
    assert not pairs._open or all(isinstance(video, Exception) for video in pairs._open.values())
    copy = pickle.loads(pickle.dumps(pairs))
    assert copy.fingerprint() == pairs.fingerprint()
    for one, other in zip(alone, DataLoader(copy, batch_size=None, num_workers=2), strict=True):
        assert np.array_equal(one[0], other[0]) and one[3] == other[3]


def test_with_the_package_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    paths = [str(write_video(tmp_path / f"{i}.mp4", numbered_frames(20, tint=10 * i))) for i in range(3)]
    label = datasets.ClassLabel(names=["run", "jump"])

    def rows(kind, paths):
        features = datasets.Features({"video": kind, "label": label})
        columns = {"video": paths, "label": [0, 1, 0]}
        table = datasets.table.InMemoryTable.from_pydict(columns, schema=features.arrow_schema)
        return datasets.Dataset(table, datasets.DatasetInfo(features=features), fingerprint=f"{paths}")

    pairs = VideoPairs(rows(datasets.Value("string"), paths), **SMALL)
    assert [video.label for video in pairs.sources] == ["run", "jump", "run"] and len(list(pairs)) == 8
    files = [{"bytes": None, "path": path} for path in paths]
    undecoded = VideoPairs(rows(datasets.Video(decode=False), files), **SMALL)  # to decode, it asks for torchcodec
    assert np.array_equal(undecoded[3][0], pairs[3][0])
    other = VideoPairs(rows(datasets.Video(decode=False), files[::-1]), **SMALL)
    assert undecoded.fingerprint() == undecoded.fingerprint() != other.fingerprint()


def test_the_fingerprint_knows_paths_and_frame_numbers(tmp_path):
    for folder in ("x", "y"):
        write_frames(tmp_path / "first" / folder / "v")
        write_frames(tmp_path / "first" / folder / "w", first=100)
    first = VideoPairs(tmp_path / "first", **SMALL).fingerprint()
    shutil.copytree(tmp_path / "first", tmp_path / "moved")
    moved = VideoPairs(tmp_path / "moved", **SMALL)
    assert moved.fingerprint() == first
    (tmp_path / "moved" / "y" / "w").rename(tmp_path / "moved" / "y" / "z")
    assert VideoPairs(tmp_path / "moved", **SMALL).fingerprint() != first, "another path"
    (video,) = list_videos(tmp_path / "first" / "x" / "v")
    prints = {VideoPairs(Part(video, *part), **SMALL).fingerprint() for part in ((0, 12), (1, 12), (0, 11), (0, None))}
    assert len(prints) == 4
    for name in ("1.png", "2.png"):  # the same pictures, and sizes in all, in another order
        (tmp_path / "first" / "x" / "v" / name).rename(tmp_path / "first" / "x" / "v" / f"_{name}")
    (tmp_path / "first" / "x" / "v" / "_1.png").rename(tmp_path / "first" / "x" / "v" / "2.png")
    (tmp_path / "first" / "x" / "v" / "_2.png").rename(tmp_path / "first" / "x" / "v" / "1.png")
    swapped = VideoPairs(video, **SMALL).fingerprint()
    assert swapped != VideoPairs(tmp_path / "moved" / "x" / "v", **SMALL).fingerprint()


def test_parts_of_one_file_are_one_source(tmp_path):
    one, other = (VideoFile(write_video(tmp_path / f"{i}.mp4", numbered_frames(40))) for i in range(2))
    pairs = VideoPairs([Part(one, 0, 20), Part(one, 20, 40), other], **{**SMALL, "num_pairs": 12})
    sources = {}
    for clip, _, factor, source in pairs:
        if factor == 0:
            sources.setdefault(source, set()).add(min(read_numbers(clip)) < 20)
    assert len(sources) == 2
