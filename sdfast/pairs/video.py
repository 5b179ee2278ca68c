"""Video files: count their frames, decode exactly the frames that a clip needs."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdfast.foundation import StrPath, require
from sdfast.pairs.mp4 import claimed_samples

# The usual clip spans about 64 frames, whatever their number: 8 x 8, 16 x 4, 32 x 2 (frames x stride).
CLIP_SPAN = 64

# More pixels than any frame has (8192 x 8192): decoders make room for the frames that a file says it has.
MAX_PIXELS = 1 << 26

# Samples a byte: old files count what packed sound unpacks to.
_MOST_SAMPLES = 64

# Containers that keep a time of display for every frame. In others (AVI, MPEG streams) times are missing or guessed,
# and guessed differently after a seek: their frames are counted from the start of the file.
_TIMED = frozenset(("mov", "mp4", "matroska", "webm"))

# Decoders that leave out, at any packet, a frame that no other refers to.
_SPARING = frozenset(("h264", "hevc"))


class VideoError(ValueError):
    """A video, or a folder of videos, that cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class InMemory:
    """The content of a video file, and a name for it in messages."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a video are, without their pixels.

    Attributes:
        count: number of frames.
        pts: presentation times in the order of display, (count,) int64 in units of the stream;
            None where the container does not tell them, so that frames can only be counted from the start.
        keyframes: presentation times at which decoding can start, ascending.
    """

    count: int
    pts: np.ndarray | None
    keyframes: np.ndarray

    def start_for(self, frame: int) -> int | None:
        """Return the time to seek to before decoding a frame, or None for the start of the file."""
        if self.pts is None:
            return None
        before = np.searchsorted(self.keyframes, self.pts[frame], side="right") - 1
        return int(self.keyframes[before]) if before > 0 else None


def index_frames(path: StrPath | InMemory) -> FrameIndex:
    """Index the frames of a video from its packets, without decoding any.

    Raises:
        VideoError: the file is missing, empty, unreadable, truncated, or holds no video.
    """
    with _open(path) as (container, stream):
        times, keyframes, present, end, size = [], [], 0, 0.0, _size(path)
        # Without a frame count in the header, the duration of all streams is what tells of a missing rest.
        for packet in container.demux(stream) if stream.frames else container.demux():
            if not packet.size:
                continue
            if packet.is_corrupt:
                raise VideoError(f"{path}: truncated or damaged: a packet of its stream is incomplete")
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index:
                continue
            present += 1
            if present > size:  # frames that share their bytes
                raise VideoError(f"{path}: damaged: expected at most a frame for each of its {size} bytes")
            if packet.is_discard:  # cut away by an edit list: decoded, never shown
                continue
            times.append(packet.pts)
            if packet.is_keyframe:
                keyframes.append(packet.pts)
        promised, duration = stream.frames, (container.duration or 0) / 1e6
        timed = not _TIMED.isdisjoint(container.format.name.split(","))
    if not times:
        raise VideoError(f"{path}: holds no video frames")
    if present < promised:
        raise VideoError(f"{path}: truncated: {present} of {promised} frames are there")
    if not promised and end and end < 0.99 * duration - 0.5:
        raise VideoError(f"{path}: truncated: {end:.1f} of {duration:.1f} seconds are there")
    if not timed or None in times or len(set(times)) < len(times):
        return FrameIndex(len(times), None, np.empty(0, np.int64))
    return FrameIndex(len(times), np.sort(np.array(times, np.int64)), np.sort(np.array(keyframes, np.int64)))


def frame_count(path: StrPath) -> int:
    """Count the frames of a video without decoding them.

    Raises:
        VideoError: the file is missing, empty, unreadable, truncated, or holds no video.

    >>> from sdfast.pairs import demo_videos
    >>> frame_count(demo_videos()[0])
    5301
    """
    return index_frames(path).count


def sample_clip(num_frames: int, clip_frames: int, rng: np.random.Generator, stride: int | None = None) -> np.ndarray:
    """Draw a segment of a video and sample it uniformly.

    Args:
        num_frames: number of frames of the video.
        clip_frames: number of frames of the clip.
        rng: draws where the segment starts.
        stride: distance between frames; None for a segment of about 64 frames, as the field samples clips
            (8 x 8, 16 x 4, 32 x 2). Reduced where the video is too short for it.

    Returns:
        Frame numbers, (clip_frames,) int64, ascending.

    Raises:
        ValueError: the video has fewer frames than the clip.

    >>> sample_clip(100, 4, np.random.default_rng(0), stride=8)
    array([64, 72, 80, 88])
    """
    if num_frames < clip_frames:
        raise ValueError(f"num_frames: expected at least clip_frames = {clip_frames}, got {num_frames}")
    stride = stride or max(1, CLIP_SPAN // clip_frames)
    stride = min(stride, (num_frames - 1) // max(1, clip_frames - 1)) or 1
    start = rng.integers(num_frames - (clip_frames - 1) * stride)
    return start + stride * np.arange(clip_frames)


def read_clip(
    path: StrPath | InMemory,
    indices: Sequence[int] | np.ndarray,
    size: tuple[int, int] | None = None,
    index: FrameIndex | None = None,
) -> np.ndarray:
    """Decode chosen frames of a video, starting from the keyframe before the first.

    Args:
        path: the video file, or its content.
        indices: frame numbers in the order of display, from 0; any order, repeats allowed.
        size: (height, width) in pixels to which frames are resized as they are decoded; None keeps theirs.
        index: what `index_frames` says of the file, if it is known already.

    Returns:
        uint8 (T, H, W, 3) RGB, upright where the file says how the camera was held.

    Raises:
        VideoError: the file cannot be read, or a frame of the clip is missing or damaged.
        ValueError: indices is empty, or reaches outside of the video.

    >>> from sdfast.pairs import demo_videos
    >>> read_clip(demo_videos()[0], range(100, 108), size=(27, 48)).shape
    (8, 27, 48, 3)
    """
    index = index or index_frames(path)
    indices = np.asarray(indices)
    if indices.size == 0 or indices.min() < 0 or indices.max() >= index.count:
        raise ValueError(f"indices: expected frame numbers in [0, {index.count}), got {indices.tolist()}")
    wanted, where = np.unique(indices, return_inverse=True)
    start = index.start_for(int(wanted[0]))
    images = _decode(path, index, wanted, size, start)
    if len(images) < len(wanted):  # some demuxers seek too far: begin at the beginning
        images = _decode(path, index, wanted, size, None, sparing=False)
    if len(images) < len(wanted):
        missing = next(int(i) for i in wanted if int(i) not in images)
        raise VideoError(f"{path}: truncated or damaged: frame {missing} of {index.count} cannot be decoded")
    if len(sizes := sorted({image.shape for image in images.values()})) > 1:
        raise VideoError(f"{path}: expected frames of one size, got {sizes[0]} and {sizes[1]}")
    return np.stack([images[int(i)] for i in wanted])[where]


def _decode(
    path: StrPath | InMemory,
    index: FrameIndex,
    wanted: np.ndarray,
    size: tuple[int, int] | None,
    start: int | None,
    sparing: bool = True,
) -> dict[int, np.ndarray]:
    """Return {frame number: image} of those wanted frames that decoding from `start` gives.

    `sparing` leaves out frames that are not wanted and that no other refers to, where the decoder can tell.
    """
    reformatter = require("av.video.reformatter").VideoReformatter()  # keeps its tables between frames
    height, width = size or (None, None)
    remaining = {int(i): int(i) for i in wanted} if index.pts is None else {int(index.pts[i]): int(i) for i in wanted}
    images = {}
    with _open(path) as (container, stream):
        if start is not None:
            container.seek(start, stream=stream)
        sparing = sparing and index.pts is not None and stream.codec_context.name in _SPARING
        for position, frame in enumerate(_frames(container, stream, frozenset(remaining) if sparing else None)):
            number = remaining.pop(position if index.pts is None else frame.pts, None)
            if number is None:
                continue
            if frame.is_corrupt:
                raise VideoError(f"{path}: truncated or damaged: frame {number} of {index.count} is incomplete")
            turns = round(frame.rotation / 90)  # quarter turns until it is upright: cameras are held sideways
            coded = (height, width) if turns % 2 else (width, height)
            image = reformatter.reformat(frame, *coded, format="rgb24", interpolation="AREA").to_ndarray()
            images[number] = np.rot90(image, turns)
            if not remaining:
                break
    return images


def _frames(container: Any, stream: Any, wanted: frozenset[int] | None) -> Iterator[Any]:
    """Decode a stream; where `wanted` is given, other frames only if those of these times refer to them."""
    for packet in container.demux(stream):
        if wanted is not None:
            needed = packet.pts is None or packet.pts in wanted
            stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        yield from packet.decode()


@contextmanager
def _open(path: StrPath | InMemory) -> Iterator[tuple[Any, Any]]:
    """Open a container and its first video stream; whatever FFmpeg says against it is a VideoError."""
    av = require("av")
    try:
        if _size(path) == 0:
            raise VideoError(f"{path}: the file is empty")
        file = io.BytesIO(path.content) if isinstance(path, InMemory) else os.fspath(path)
        if (number := _claimed_samples(path)) > _MOST_SAMPLES * _size(path):
            raise VideoError(f"{path}: damaged: it says that it has {number} samples")
        bound = {"max_pixels": str(MAX_PIXELS)}  # to decoders, those that only look at the file included
        # A title in another encoding is no reason to refuse the frames.
        with av.open(file, metadata_errors="replace", options=bound) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"{path}: cannot be read: there is no decoder for its video stream")
            stream.codec_context.options = bound
            yield container, stream
    except av.error.ArgumentError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}, or frames of over {MAX_PIXELS} pixels") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror or error}") from error


def _size(path: StrPath | InMemory) -> int:
    return len(path.content) if isinstance(path, InMemory) else os.path.getsize(path)


def _claimed_samples(path: StrPath | InMemory) -> int:
    with io.BytesIO(path.content) if isinstance(path, InMemory) else open(path, "rb") as file:
        return claimed_samples(file, _size(path))
