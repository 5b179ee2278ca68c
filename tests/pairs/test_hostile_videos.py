"""Videos that are damaged, or made to harm: read or refused in one line, in little memory."""

import io
import os
import signal
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sdfast.pairs.video import MAX_PIXELS, InMemory, VideoError, index_frames, read_clip
from tests.damaged_videos import check, sound_videos
from tests.support.limits import bounded
from tests.support.videos import numbered_frames, write_video


def test_damaged_videos_are_read_or_refused_in_little_memory():
    found, faults = check(200, seed=0)
    assert not faults
    assert min(found["read"], found["refused"]) > 50 and found.total() == 200


def test_the_check_of_damaged_videos_tells_of_crashes_and_of_other_errors(monkeypatch):
    def read(number):
        if number == 2:
            raise ZeroDivisionError("two")
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return "read"

    monkeypatch.setattr("tests.damaged_videos.damaged", lambda number, _: number)
    monkeypatch.setattr("tests.damaged_videos.read", read)
    found, faults = check(6, seed=0)
    assert faults == ["video 2: ZeroDivisionError: two", "video 4: the process ended with -9"]
    assert found == {"read": 4}


def pictures(width: int, height: int, rows: int, container: str) -> bytes:
    """Return a video of three black PNGs, each of a size that its container does not know."""
    av = pytest.importorskip("av")
    packed = zlib.compressobj(9)
    body = b"".join([*(packed.compress(bytes(1 + 3 * width)) for _ in range(rows)), packed.flush()])
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", body), (b"IEND", b""))
    chunks = [struct.pack(">I", len(x)) + kind + x + struct.pack(">I", zlib.crc32(kind + x)) for kind, x in parts]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as target:
        stream = target.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
        for number in range(3):
            packet = av.Packet(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            target.mux(packet)
    return file.getvalue()


def refuse(content: bytes, size=(24, 32)) -> None:
    file = InMemory("hostile", content)
    index = index_frames(file)
    read_clip(file, [0, index.count - 1], size, index)


def test_pictures_of_usual_size_are_read():
    clip = read_clip(InMemory("pictures", pictures(40, 30, 30, "mov")), [0, 2])
    assert clip.shape == (2, 30, 40, 3) and not clip.any()


def peak_of(content: bytes) -> tuple[str, float]:
    """Return why a video is refused, and how many megabytes more than before were taken at most."""
    before = status("VmSize")
    try:
        refuse(content)
    except VideoError as error:
        return str(error), (status("VmPeak") - before) / 1024
    raise AssertionError("it was read")


def status(name: str) -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(name))


@pytest.mark.parametrize("container", ["mov", "avi"])
@pytest.mark.parametrize("side", [12_000, 100_000])
def test_frames_of_any_size_are_refused_before_there_is_room_for_them(container, side):
    message, megabytes = bounded(peak_of, pictures(side, side, 10, container), megabytes=4000)
    assert message.startswith("hostile: ") and "\n" not in message
    assert side > 12_000 or f"or frames of over {MAX_PIXELS} pixels" in message
    assert megabytes < 100 < 3 * 12_000**2 >> 20


@pytest.mark.parametrize("large", [False, True], ids=["32 bits", "64 bits"])
@pytest.mark.parametrize("kind", [0, 1])
def test_room_is_made_for_no_more_samples_than_the_file_may_hold(kind, large):
    content = sound_videos()[kind]
    at = content.index(b"stsz") + 8
    content = content[:at] + struct.pack(">II", 1, 10_000_000) + content[at + 8 :]
    if large:  # boxes may say their size in 64 bits
        at = content.index(b"moov") - 4
        size = struct.unpack_from(">I", content, at)[0]
        content = content[:at] + struct.pack(">I4sQ", 1, b"moov", size + 8) + content[at + 8 :]
    message, megabytes = bounded(peak_of, content, megabytes=4000)
    assert message == "hostile: damaged: it says that it has 10000000 samples" and megabytes < 10


@pytest.mark.parametrize("each", [10_000_000, 500_000])
def test_room_is_made_for_no_more_samples_of_fragments(tmp_path, each):
    frames = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", frames, gop=4, movflags="frag_keyframe+empty_moov")
    assert len(read_clip(path, [0, 39])) == 2
    content, at = path.read_bytes(), -1
    while (at := content.find(b"trun", at + 1)) >= 0:
        content = content[: at + 8] + struct.pack(">I", each) + content[at + 12 :]
    message, megabytes = bounded(peak_of, content, megabytes=4000)
    assert message.startswith("hostile: damaged: it says that it has ") and megabytes < 10


def write_avi_of(width: int, height: int) -> bytes:
    """Return raw frames in an AVI whose header says another size than theirs."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as target:
        stream = target.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in numbered_frames(3):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode())
    content = bytearray(file.getvalue())
    at = content.index(b"strf") + 12
    struct.pack_into("<ii", content, at, width, height)
    return bytes(content)


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 48), (-64, 48), (8192, 8193)])
def test_sizes_that_no_frame_has_are_refused(width, height):
    assert MAX_PIXELS < 8192 * 8193
    with pytest.raises(VideoError, match="hostile: ") as caught:
        bounded(refuse, write_avi_of(width, height))
    assert "\n" not in str(caught.value)


def test_streams_without_frames_are_refused():
    av = pytest.importorskip("av")
    for container in ("mp4", "matroska", "avi"):
        file = io.BytesIO()
        with av.open(file, "w", format=container) as target:
            stream = target.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            target.start_encoding()
        with pytest.raises(VideoError, match="hostile: ") as caught:
            bounded(refuse, file.getvalue())
        assert "\n" not in str(caught.value)


def test_frames_of_several_sizes_are_a_video_error(tmp_path):
    """A stream may change its size; frames of one clip have one."""
    one = write_video(tmp_path / "a.h264", numbered_frames(12)).read_bytes()
    two = write_video(tmp_path / "b.h264", numbered_frames(12)[:, :32, :32]).read_bytes()
    (tmp_path / "c.h264").write_bytes(one + two)
    assert read_clip(tmp_path / "c.h264", [0, 23], (24, 32)).shape == (2, 24, 32, 3)
    with pytest.raises(VideoError, match=r"c\.h264: expected frames of one size, got \(32, 32, 3\) and \(48, 64, 3\)"):
        read_clip(tmp_path / "c.h264", [0, 23])
