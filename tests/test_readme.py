"""Every command and example of the README is run as it stands there."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.videos import write_video

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines() if line.strip()]
SDFAST = [command for command in COMMANDS if not command.startswith("make ")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Make a working directory with a folder of small videos, and the files that the README shows."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        scene = np.repeat(rng.integers(0, 256, (12, 160, 3), dtype=np.uint8), 8, axis=0)
        frames = np.stack([np.roll(scene, 3 * t, axis=number % 2) for t in range(32)])
        write_video(folder / "videos" / f"clip_{number}.mp4", frames, "mpeg4")
    for code in PYTHON:
        if shown := re.match(r"# (\w+\.py)\n", code):
            (folder / shown[1]).write_text(code, encoding="utf-8")
    return folder


def test_the_readme_has_what_it_promises():
    assert len(PYTHON) >= 5 and len(SDFAST) >= 5
    assert {"make demo", "make test"} <= set(COMMANDS)
    assert any(command.startswith("torchrun ") for command in COMMANDS)
    assert any("--resume" in command for command in COMMANDS)
    assert "10.1109/TPAMI.2024.3462291" in README


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_targets_exist(command):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert command.removeprefix("make ") in targets


def test_linked_files_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link).is_file()]


@pytest.mark.slow
def test_python_examples_run_in_order(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    namespace = {"__name__": "readme"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for code in PYTHON:
            exec(compile(code, "README.md", "exec"), namespace)
    assert len(printed.getvalue().splitlines()) >= 8
    # What the comments beside the examples say.
    assert namespace["bias"].corr.shape == (2, 64) and namespace["bias"].count.tolist() == [100, 100]
    assert namespace["matrix"].shape == (32, 48)
    assert np.allclose(namespace["matrix"][:8, :8].diagonal(), 1)
    assert list(namespace["reports"]) == list(namespace["model"].layers)
    assert (workplace / "channels.csv").is_file()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=() if command == "sdfast info" else pytest.mark.slow, id=command.replace(" ", "_"))
        for command in SDFAST
    ],
)
def test_commands_run(command, workplace):
    program, *arguments = shlex.split(command)
    modules = {"sdfast": "sdfast", "torchrun": "torch.distributed.run"}
    # As the installed command, from the environment that runs the tests.
    done = subprocess.run(
        [sys.executable, "-m", modules[program], *arguments],
        cwd=workplace,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if "--out" in arguments:
        out = workplace / arguments[arguments.index("--out") + 1]
        written = {path.name for path in out.iterdir()}
        assert {"report.json", "channels.csv", "layers.png", "channels.png", "depth.png"} <= written
