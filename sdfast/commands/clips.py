"""What commands that show videos have in common: clips read at a size, videos and pictures written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdfast.foundation import opencv, require, write_atomically
from sdfast.pairs import FrameIndex, read_clip

_SIDE = 320  # pixels of the shorter side in what is written, about
_RATE = 10  # frames a second, slow enough to follow what moves


def unlike_names(videos: Sequence[Path]) -> list[str]:
    """Return the names of files without their suffixes; two of one name are told apart by a number.

    >>> unlike_names([Path("run.mp4"), Path("deeper/run.mkv"), Path("jump.mp4")])
    ['run', 'run-2', 'jump']
    """
    stems = [video.stem for video in videos]
    again = [stems[:i].count(stem) for i, stem in enumerate(stems)]
    return [f"{stem}-{k + 1}" if k else stem for stem, k in zip(stems, again, strict=True)]


def keep_apart(targets: Sequence[Path], videos: Sequence[Path]) -> None:
    """Raise ValueError where a file to be written is one of the videos."""
    taken = {video.resolve() for video in videos}
    for target in targets:
        if target.resolve() in taken:
            raise ValueError(f"--out: expected a place other than that of the videos, {target} is one of them")


def read_frames(video: Path, numbers: np.ndarray, side: int, index: FrameIndex) -> np.ndarray:
    """Return frames of a video, uint8 (T, H, W, 3), their shorter side of so many pixels."""
    height, width = read_clip(video, numbers[:1], index=index).shape[1:3]
    scale = side / min(height, width)
    return read_clip(video, numbers, (round(height * scale), round(width * scale)), index)


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
