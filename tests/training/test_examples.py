"""The examples as they are: each under 40 lines, and each ends with the monitor's curve."""

import os
import runpy
import subprocess
import sys

import pytest
import torch

from tests.support.paths import ROOT

EXAMPLES = ROOT / "examples"
# What each leaves that has the curve in it, and where in that. Of plain torch:
PLAIN = {
    name: ("checkpoint.pt", "monitor")
    for name in ("training_loop", "gradient_checkpointing", "autocast", "compiled", "ddp")
}
# And by the package that each needs.
OTHERS = {
    "lightning_trainer": ("checkpoint.ckpt", "callbacks", "LightningMonitor('bias/')"),
    "hf_trainer": ("output/checkpoint-50/sdfast_bias.pt",),
    "accelerate_loop": ("checkpoint/custom_checkpoint_0.pkl",),
}
NEEDED = {"lightning_trainer": "lightning", "hf_trainer": "accelerate", "accelerate_loop": "accelerate"}


def test_all_are_short_and_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"bars", *PLAIN, *OTHERS}
    assert all(path.read_text(encoding="utf-8").count("\n") < 40 for path in EXAMPLES.glob("*.py"))


def assert_curve(name, folder):
    path, *keys = {**PLAIN, **OTHERS}[name]
    found = torch.load(folder / path, weights_only=False)
    for key in keys:
        found = found[key]
    assert found["steps"] == 50 and found["curve"]["steps"] == [10, 20, 30, 40, 50]
    assert list(found["curve"]["layers"]) == ["0", "2"]
    for rows in found["curve"]["layers"].values():
        assert rows.shape == (5, 2, 3, 3) and rows.isfinite().all()
        assert len(rows[:, 0, 0, 1].unique()) == 5, "the score changes as the model learns"


def run(folder, *command):
    path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLAIN if name != "ddp"])
def test_of_plain_torch(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    torch.compiler.reset()
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert_curve(name, tmp_path)
    assert capsys.readouterr().out.count("\n") == (6 if name == "training_loop" else 0)


@pytest.mark.slow
def test_on_two_processes(tmp_path):
    run(tmp_path, "-m", "torch.distributed.run", "--nproc-per-node", 2, EXAMPLES / "ddp.py")
    assert_curve("ddp", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_of_trainers(name, tmp_path):
    pytest.importorskip(NEEDED[name])
    pytest.importorskip("tensorboardX")
    run(tmp_path, EXAMPLES / f"{name}.py")
    assert_curve(name, tmp_path)
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    assert b"bias/2/percent/static" in events.read_bytes()
