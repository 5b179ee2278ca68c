"""The command line, in processes of its own or in that of the test, on a toy model that a user might have written."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import sdfast
from sdfast.commands import main

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


class Classifier(Toy):
    """Always says the second of two classes."""

    def forward(self, clips):
        return super().forward(clips).mean(1)[:, :2] * 0 + torch.arange(2)


def classifier():
    return VideoModel("classifier", Classifier(), ClipToTensor(), 4, (24, 32), ("stem", "head"))


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
        """Return what a run has written, less what it took: of the sums, whose digest covers that, their bytes."""
        report = json.loads((self.folder / out / "report.json").read_text())
        del report["settings"]["seconds"]
        with np.load(self.folder / out / "report.npz") as arrays:
            report["sums"] = {name: arrays[name].tobytes() for name in arrays.files if name != "report"}
        return report


def run(capsys, *args: object) -> tuple[int, str, str]:
    """Run `sdfast` in this process; return exit code, stdout and stderr."""
    try:
        code = main([str(arg) for arg in args])
    except SystemExit as stopped:
        code = stopped.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_one_line(err: str, *parts: str) -> None:
    """Assert that the last line is the error and the only one; a progress bar may stand before it."""
    line = err.splitlines()[-1]
    assert line.startswith("sdfast: error: ") and err.count("sdfast: error:") == 1 and "Traceback" not in err
    for part in parts:
        assert part in line
