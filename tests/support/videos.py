"""Small videos that tests write themselves, where each frame says its number."""

from pathlib import Path

import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64


def numbered_frames(count: int, tint: int = 0) -> np.ndarray:
    """Return uint8 (count, 48, 64, 3): eight vertical bars, dark or bright, are the bits of the frame's number."""
    bits = (np.arange(count)[:, None] >> np.arange(8)) & 1
    bars = np.repeat(40 + 160 * bits, WIDTH // 8, axis=1).astype(np.uint8)
    frames = np.broadcast_to(bars[:, None, :, None], (count, HEIGHT, WIDTH, 3)).copy()
    frames[..., 0] += np.uint8(tint)
    return frames


def read_numbers(frames: np.ndarray) -> list[int]:
    """Return the numbers that `numbered_frames` wrote, whatever the size of the frames."""
    columns = frames.astype(float).mean(axis=(1, 3))
    bars = columns.reshape(len(frames), 8, -1)
    middle = bars[..., bars.shape[-1] // 4 : -(bars.shape[-1] // 4) or None].mean(axis=-1)
    return ((middle > 128) @ (1 << np.arange(8))).tolist()


def write_video(path: Path, frames: np.ndarray, codec: str = "libx264", gop: int = 12, **options: str) -> Path:
    """Encode frames (T, H, W, 3) to a file; options are those of its container, such as movflags."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = *frames.shape[1:3], "yuv420p", gop
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_frames(folder: Path, frames: np.ndarray) -> Path:
    """Write frames (T, H, W, 3) to files of their own in a folder, which is made."""
    cv2 = pytest.importorskip("cv2")
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
    return folder
