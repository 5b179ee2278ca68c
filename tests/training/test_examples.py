"""The examples as they are, in processes of their own."""

import os
import subprocess
import sys

import pytest
import torch

from tests.support.paths import ROOT


@pytest.mark.slow
def test_the_plain_loop_gives_a_curve(tmp_path):
    example = ROOT / "examples" / "training_loop.py"
    assert example.read_text(encoding="utf-8").count("\n") < 40
    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 5 and done.stderr == ""
    curve = torch.load(tmp_path / "training_loop.pt", weights_only=True)["monitor"]["curve"]
    assert curve["steps"] == [10, 20, 30, 40, 50]
    assert all(rows.shape == (5, 2, 3, 3) and rows.isfinite().all() for rows in curve["layers"].values())
