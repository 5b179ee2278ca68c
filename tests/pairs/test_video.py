"""Video files: what is found, which frames come back, and what is said of files that are no good."""

import struct
import sys

import numpy as np
import pytest

import sdfast.pairs.video
from sdfast.pairs.finding import demo_videos, find_videos
from sdfast.pairs.video import VideoError, frame_count, index_frames, read_clip, sample_clip
from tests.support.videos import numbered_frames, read_numbers, write_video

CONTAINERS = [
    ("a.mp4", "libx264"),
    ("a.mkv", "libx264"),
    ("a.ts", "libx264"),
    ("a.h264", "libx264"),
    ("a.avi", "mpeg4"),
    ("b.avi", "libx264"),
    ("a.mpg", "mpeg2video"),
    ("a.webm", "libvpx-vp9"),
]


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
def test_frames_are_exact_in_every_container(tmp_path, name, codec):
    path = write_video(tmp_path / name, numbered_frames(60), codec)
    assert frame_count(path) == 60
    for indices in ([0], [59], [11, 12, 13], [25, 30, 35, 40], [47]):
        assert read_numbers(read_clip(path, indices)) == indices


def test_frames_after_a_seek_equal_those_decoded_from_the_start(video):
    everything = read_clip(video, range(100))
    for i in range(100):
        assert np.array_equal(read_clip(video, [i])[0], everything[i]), i


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mp4", "libx265"), ("a.mkv", "libx264")])
def test_frames_that_no_other_refers_to_are_left_out_of_decoding(tmp_path, name, codec, monkeypatch):
    path = write_video(tmp_path / name, numbered_frames(60), codec)
    everything, decoded = read_clip(path, range(60)), []
    frames = sdfast.pairs.video._frames
    monkeypatch.setattr(
        "sdfast.pairs.video._frames", lambda *args: (decoded.append(0) or frame for frame in frames(*args))
    )
    for chosen in ([59], [0], [20, 21, 22, 40], range(3, 60, 7)):
        decoded.clear()
        assert np.array_equal(read_clip(path, chosen), everything[list(chosen)])
    assert 8 < len(decoded) < 50


def test_seeks_to_the_nearest_keyframe(video):
    index = index_frames(video)
    assert index.start_for(0) is None and len(index.keyframes) >= 8
    assert index.pts[30] >= index.start_for(30) > index.pts[30 - 12]


def test_falls_back_to_the_start_when_a_seek_goes_too_far(video, monkeypatch):
    monkeypatch.setattr("sdfast.pairs.video.FrameIndex.start_for", lambda self, frame: int(self.keyframes[-1]))
    assert read_numbers(read_clip(video, [3, 50])) == [3, 50]


def test_any_order_and_repeats(video):
    assert read_numbers(read_clip(video, [70, 3, 3, 41])) == [70, 3, 3, 41]


def test_size_is_height_and_width(video):
    clip = read_clip(video, [5, 90], size=(24, 80))
    assert clip.shape == (2, 24, 80, 3) and clip.dtype == np.uint8
    assert read_numbers(clip) == [5, 90]
    assert read_clip(video, [5]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize(("turns", "matrix"), [(-1, (0, 1, -1, 0)), (1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1))])
def test_a_video_that_was_held_sideways_stands_upright(video, tmp_path, turns, matrix):
    """Cameras store what the sensor saw and how they were held: a, b, c, d of the matrix in the track's header."""
    content, lying = bytearray(video.read_bytes()), read_clip(video, [5, 70])
    start = content.index(b"tkhd") + 4 + 40
    for place, value in zip((0, 1, 3, 4), matrix, strict=True):
        struct.pack_into(">i", content, start + 4 * place, value << 16)
    held = tmp_path / "held.mp4"
    held.write_bytes(content)
    assert np.array_equal(read_clip(held, [5, 70]), np.rot90(lying, turns, axes=(1, 2)))
    sized = read_clip(held, [5], size=(80, 24))
    coded = read_clip(video, [5], size=(24, 80) if turns % 2 else (80, 24))
    assert sized.shape == (1, 80, 24, 3) and np.array_equal(sized, np.rot90(coded, turns, axes=(1, 2)))


def test_a_title_that_is_not_unicode_is_no_reason_to_fail(video, tmp_path):
    import av

    title = b"a title of the eighties"
    titled = tmp_path / "titled.mp4"
    with av.open(str(video)) as source, av.open(str(titled), "w") as target:
        target.metadata["title"] = title.decode()
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    titled.write_bytes(titled.read_bytes().replace(title, bytes(range(0xE9, 0x100))))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(titled))
    assert read_numbers(read_clip(titled, [5, 70])) == [5, 70]


@pytest.mark.parametrize("indices", [[], [100], [-1, 3]])
def test_frame_numbers_outside_of_the_video(video, indices):
    with pytest.raises(ValueError, match=r"indices: expected frame numbers in \[0, 100\)"):
        read_clip(video, indices)


def test_edit_lists_hide_frames(tmp_path):
    """A file cut without re-encoding keeps packets that are never shown; they have no number."""
    av = pytest.importorskip("av")
    whole, cut = write_video(tmp_path / "whole.mp4", numbered_frames(60)), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        shift = 6 * 512
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    count = frame_count(cut)
    numbers = read_numbers(read_clip(cut, range(count)))
    assert numbers == list(range(60 - count, 60))


@pytest.mark.parametrize(
    ("frames", "clip", "stride", "step"), [(40, 4, 8, 8), (70, 16, None, 4), (105, 100, None, 1), (40, 16, None, 2)]
)
def test_clips_are_uniform(frames, clip, stride, step):
    rng = np.random.default_rng(0)
    clips = [sample_clip(frames, clip, rng, stride) for _ in range(300)]
    assert all((np.diff(indices) == step).all() for indices in clips)
    starts = {indices[0] for indices in clips}
    assert min(starts) == 0 and max(indices[-1] for indices in clips) == frames - 1


def test_clip_of_the_whole_video():
    assert sample_clip(2, 2, np.random.default_rng(0)).tolist() == [0, 1]
    with pytest.raises(ValueError, match="num_frames: expected at least clip_frames = 3, got 2"):
        sample_clip(2, 3, np.random.default_rng(0))


def test_finds_videos_below_a_folder(video_folder):
    (video_folder / "notes.txt").write_text("no video")
    (video_folder / "._a.mp4").write_text("a hidden companion")
    names = [path.relative_to(video_folder).as_posix() for path in find_videos(video_folder)]
    assert names == ["a.mp4", "b.mkv", "deeper/c.avi"]
    assert find_videos([video_folder / "b.mkv", video_folder / "deeper"]) == [
        video_folder / "b.mkv",
        video_folder / "deeper/c.avi",
    ]


def test_links_are_followed_and_may_lead_in_circles(video_folder, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for name, target in (("train", video_folder), ("again", video_folder), ("circle", linked)):
        (linked / name).symlink_to(target)
    assert [path.name for path in find_videos(linked)] == ["a.mp4", "b.mkv", "c.avi"]


def test_folder_without_videos(tmp_path):
    with pytest.raises(VideoError, match="no video in this folder"):
        find_videos(tmp_path)
    with pytest.raises(VideoError, match="missing: no such file or folder"):
        find_videos(tmp_path / "missing")


def test_empty_and_unreadable_files(tmp_path):
    empty, junk = tmp_path / "empty.mp4", tmp_path / "junk.mp4"
    empty.touch()
    junk.write_bytes(b"this is no video" * 100)
    with pytest.raises(VideoError, match=r"empty\.mp4: the file is empty"):
        frame_count(empty)
    with pytest.raises(VideoError, match=r"junk\.mp4: cannot be read: Invalid data"):
        frame_count(junk)
    with pytest.raises(VideoError, match=r"gone\.mp4: cannot be read: No such file"):
        frame_count(tmp_path / "gone.mp4")


def test_codec_that_nobody_knows(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(20))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(VideoError, match=r"a\.mkv: cannot be read: there is no decoder"):
        frame_count(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_damage_anywhere_is_a_video_error_or_none(tmp_path, name, codec):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / name, rng.integers(0, 255, (20, 48, 64, 3), dtype=np.uint8), codec)
    content, refused = path.read_bytes(), 0
    for number in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        at = rng.integers(0, 2000 if number % 2 else len(content), 12)
        damaged[at] = rng.integers(0, 256, 12)
        path.write_bytes(damaged.tobytes())
        try:
            index = index_frames(path)
            assert read_clip(path, [0, index.count - 1], (24, 32), index).shape == (2, 24, 32, 3)
        except VideoError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused


def test_file_with_sound_only(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="holds no video stream"):
        frame_count(path)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.avi", "mpeg4", {}),
    ],
)
@pytest.mark.parametrize("part", [0.5, 0.7])
def test_truncated_files(tmp_path, name, codec, options, part):
    noise = np.random.default_rng(0).integers(0, 255, (100, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / name, noise, codec, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(VideoError, match=name) as caught:
        frame_count(path)
    assert "truncated" in str(caught.value) or "cannot be read" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_between_two_frames(tmp_path):
    """No frame is damaged then; only the header knows that there were more."""
    av = pytest.importorskip("av")
    path = write_video(tmp_path / "a.mp4", numbered_frames(60), movflags="faststart")
    with av.open(str(path)) as container:
        end = next(packet.pos + packet.size for i, packet in enumerate(container.demux(video=0)) if i == 29)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(VideoError, match=r"a\.mp4: truncated"):
        frame_count(path)


def test_truncated_after_it_was_indexed(tmp_path):
    path = write_video(tmp_path / "a.ts", numbered_frames(60))
    index = index_frames(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"a\.ts: .*frame \d+ of 60"):
        read_clip(path, [2, 58], index=index)


def test_demo_videos_are_there_or_say_how_to_get_them(monkeypatch):
    assert [frame_count(path) for path in demo_videos()] == [5301, 250, 132, 120]
    monkeypatch.setattr("sdfast.pairs.finding._DEMO_FILES", {"no-such-package": ("clip.mp4",)})
    with pytest.raises(VideoError, match=r"clip\.mp4 of no-such-package.*pip install 'sdfast\[demo\]'"):
        demo_videos()


def test_without_pyav(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'sdfast\[video\]'"):
        frame_count(video)
