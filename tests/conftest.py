"""Small videos that tests write themselves, where each frame says its number, and the command line on a toy model."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import sdfast

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


@pytest.fixture
def video(tmp_path) -> Path:
    """A video of 100 numbered frames with a keyframe every 12 and frames between that refer to later ones."""
    return write_video(tmp_path / "numbers.mp4", numbered_frames(100))


@pytest.fixture
def video_folder(tmp_path) -> Path:
    """A folder with three sound videos of 40 frames, one of them a folder deeper."""
    folder = tmp_path / "videos"
    (folder / "deeper").mkdir(parents=True)
    for i, name in enumerate(("a.mp4", "b.mkv", "deeper/c.avi")):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        write_video(folder / name, numbered_frames(40, tint=20 * i), codec)
    return folder


TOY_MODEL = '''
"""A user's own model: exact enough in float64 to compare runs, and able to die on demand."""

import os
import signal

import torch
from torch import nn

from sdfast import VideoModel
from sdfast.models import ClipToTensor


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 6, 3, padding=1, dtype=torch.float64)
        self.head = nn.Linear(6, 4, dtype=torch.float64)
        self.batches = 0

    def forward(self, clips):
        self.batches += 1
        if os.environ.get("TOY_KILL") == str(self.batches):
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("TOY_RAISE") == f"{os.environ.get('RANK', 0)}:{self.batches}":
            raise RuntimeError("the toy broke")
        return self.head(torch.relu(self.stem(clips.double())).movedim(1, -1).flatten(1, 3))


def make():
    return VideoModel("toy", Toy(), ClipToTensor(), 4, (24, 32), ("stem", "head"))


def bare():
    return Toy()
'''


@dataclass(frozen=True)
class Command:
    """Runs `sdfast` in processes of their own, in a folder with a user's model `toy:make`."""

    folder: Path

    def __call__(self, *args: object, launch: Sequence[str] = (), **environment: str) -> subprocess.CompletedProcess:
        source = str(Path(sdfast.__file__).parents[1])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, *launch, "-m", "sdfast", *map(str, args)],
            cwd=self.folder,
            # Runs with one thread and with several may round differently; torchrun sets one.
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def report(self, out: str) -> dict:
        """Return what a run has written, less what it took."""
        report = json.loads((self.folder / out / "report.json").read_text())
        del report["settings"]["seconds"]
        return report


@pytest.fixture
def command(tmp_path) -> Command:
    """The command line, in a folder of its own with the module `toy`."""
    (tmp_path / "toy.py").write_text(TOY_MODEL)
    return Command(tmp_path)
