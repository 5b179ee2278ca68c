"""What commands that show videos have in common: clips read at a size, videos and pictures written."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from sdfast.foundation import opencv, progress_bar, require, write_atomically
from sdfast.pairs import Frames, Video, VideoError

_SIDE = 320  # pixels of the shorter side in what is written, about
VIDEOS_HELP = "video files, folders of videos or of frames, patterns, lists in text files (default: the demo's clips)"
_RATE = 10  # frames a second, slow enough to follow what moves

Clip = TypeVar("Clip")


def unlike_names(videos: Sequence[Video]) -> list[str]:
    """Return the names of files without their suffixes, and of folders; two of one name are told apart by a number.

    >>> from sdfast.pairs import VideoFile
    >>> unlike_names([VideoFile(name) for name in ("run.mp4", "deeper/run.mkv", "run-2.mp4", "jump.mp4")])
    ['run', 'run-2', 'run-2-2', 'jump']
    """
    names: list[str] = []
    for origin in (Path(video.origin) for video in videos):
        name = stem = origin.name if origin.is_dir() else origin.stem
        number = 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def keep_apart(targets: Sequence[Path], videos: Sequence[Video]) -> None:
    """Raise ValueError where a file to be written is one of the videos, or would lie among the frames of one."""
    taken = {Path(video.origin).resolve() for video in videos}
    for target in targets:
        for path in (target, target.parent):
            if path.resolve() in taken:
                raise ValueError(f"--out: expected a place other than that of the videos, {path} is one of them")


def usable(
    videos: Mapping[str, Video], read: Callable[[str, Video], Clip], progress: bool
) -> Iterator[tuple[int, str, Clip]]:
    """Yield number, name and what is read of each video, with a warning for each that cannot be used.

    Raises:
        VideoError: none can be used.
    """
    used, last = 0, None
    with progress_bar(len(videos), "videos", progress) as bar:
        for number, (name, video) in enumerate(videos.items()):
            try:
                clip = read(name, video)
            except VideoError as error:
                last = error
                if len(videos) > 1:  # of a single one the error says it
                    warnings.warn(f"skipped a video: {error}", stacklevel=2)
            else:
                used += 1
                yield number, name, clip
            bar.update()
    if not used:
        raise VideoError(f"videos: none of {len(videos)} can be used; the last: {last}")


def read_frames(frames: Frames, numbers: np.ndarray, side: int) -> np.ndarray:
    """Return frames of a video, uint8 (T, H, W, 3), their shorter side of so many pixels."""
    height, width = frames.read(numbers[:1], None).shape[1:3]
    scale = side / min(height, width)
    return frames.read(numbers, (round(height * scale), round(width * scale)))


def evenly(number: int, chosen: int) -> np.ndarray:
    """Return so many of the numbers from 0 on, evenly apart, first and last among them, or all if there are fewer.

    >>> evenly(10, 4)
    array([0, 3, 6, 9])
    """
    return np.linspace(0, number - 1, min(chosen, number)).round().astype(int)


def enlarge(frames: np.ndarray) -> np.ndarray:
    """Enlarge frames (T, H, W, ...) by a whole number, to sides that are even, as videos have them."""
    scale = 2 * max(1, round(_SIDE / min(frames.shape[1:3]) / 2))
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write frames, uint8 (T, H, W, 3) with sides that are even, as an H.264 video."""
    write_atomically(path, lambda part: _encode(part, frames))


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8 (H, W, 3), as a PNG."""
    with opencv() as cv2:
        _, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_atomically(path, lambda part: part.write_bytes(png.tobytes()))


def _encode(path: Path, frames: np.ndarray) -> None:
    av = require("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "20"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
