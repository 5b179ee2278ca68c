"""End to end: the command line on whole models and real files, and what the reports then hold."""

import json
import math

import numpy as np
import pytest
import torch

from sdfast.commands import main
from sdfast.models import load_model
from sdfast.pairs.finding import demo_videos
from sdfast.pairs.video_pairs import VideoPairs
from tests import truth
from tests.support.model_table import MODELS

NUM_PAIRS, HIDDEN = 8, 16
ARCHITECTURES = {"VideoMAEConfig": "encoder.layer", "TimesformerConfig": "encoder.layer", "VivitConfig": "layers"}


@pytest.fixture
def measured(tmp_path, monkeypatch, capsys):
    """Run `sdfast measure` in this process; return its report, less the time it took."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = main(["measure", "--workers", "0", "--json", *map(str, args)])
        out, err = capsys.readouterr()
        assert code == 0, err
        report = json.loads(out)
        assert report["settings"].pop("seconds") > 0
        assert report.pop("sums")["file"] == "report.npz"  # its digest covers the time, too
        return report

    return run


def assert_sound(report, channels, pairs=NUM_PAIRS):
    """Every layer is there with its channels, as many pairs of each factor, and nothing undefined."""
    assert {name: layer["num_channels"] for name, layer in report["layers"].items()} == channels
    for layer in report["layers"].values():
        assert layer["count"] == {"dynamic": pairs // 2, "static": pairs // 2}
        assert layer["undefined"] == 0 and sum(layer["classes"].values()) == layer["num_channels"]
        assert all(math.isfinite(score) and abs(score) <= 1 + 1e-12 for score in layer["layer_score"].values())
        assert sum(layer["percent"].values()) == pytest.approx(100, abs=0.2)
        for factor in ("dynamic", "static"):
            assert all(-1 <= corr <= 1 for corr in layer["channels"][f"corr_{factor}"])


@pytest.fixture(params=ARCHITECTURES)
def architecture(request, tmp_path):
    """Write a config.json, all that `--weights random` needs; return the folder and what blocks are called."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = getattr(transformers, request.param)(**sizes, image_size=32, patch_size=16, num_frames=4)
    config.save_pretrained(tmp_path / request.param)
    return tmp_path / request.param, ARCHITECTURES[request.param]


def test_hugging_face_models(architecture, video_folder, measured):
    folder, blocks = architecture
    job = ["--model", f"hf:{folder}", "--weights", "random", "--videos", video_folder, "--pairs", NUM_PAIRS]
    report = measured(*job)
    assert_sound(report, {f"{blocks}.{i}": HIDDEN for i in range(3)})
    assert measured(*job, "--out", "again") == report
    other = measured(*job, "--out", "other", "--seed", 1)
    assert other["layers"] != report["layers"]


def test_hugging_face_report_is_that_of_the_hidden_states(architecture, video_folder, measured):
    """What the model itself returns as the output of its first block, averaged over tokens, in the NumPy formulas."""
    folder, blocks = architecture
    spec = f"hf:{folder}"
    job = ["--model", spec, "--weights", "random", "--videos", video_folder, "--pairs", NUM_PAIRS, "--seed", 2]
    found = measured(*job, "--layers", f"{blocks}.0")["layers"][f"{blocks}.0"]["channels"]

    model = load_model(spec, "random", seed=2)
    settings = {"clip_frames": model.clip_frames, "frame_size": model.frame_size, "transform": model.prepare}
    pairs = list(VideoPairs(video_folder, num_pairs=NUM_PAIRS, seed=2, **settings))
    with torch.no_grad():
        first, second = (
            model.module(torch.stack([pair[i] for pair in pairs]), output_hidden_states=True).hidden_states[1]
            for i in (0, 1)
        )
    moments = truth.comoments(first.numpy(), second.numpy(), [pair[2] for pair in pairs], channel_dim=-1)
    dynamic, static = truth.correlation(moments)
    np.testing.assert_allclose(found["corr_dynamic"], dynamic, atol=1e-4)
    np.testing.assert_allclose(found["corr_static"], static, atol=1e-4)


TASKS = ("V-JEPA 2", "Qwen2.5-VL, its vision tower", "DINOv2", "Mask2Former", "SlowFast, small", "two streams, small")


@pytest.mark.parametrize("title", TASKS)
def test_one_command_for_every_kind_of_input(title, tmp_path, video_folder, measured):
    (case,) = (model for model in MODELS if model.title == title)
    pairs = ["flow", "4"] if title.startswith("two streams") else ["4"]
    spec = case.named(tmp_path / "model")
    job = ["--model", spec, "--weights", "random", "--videos", video_folder, "--pairs", *pairs, "--batch-size", "1"]
    report = measured(*job, "--layers", *case.layers)
    channels = {name: found.shape[found.channel_dim] for name, found in case.layers.items()}
    assert report["settings"]["flow"] == (len(pairs) == 2)
    report["layers"] = {name: report["layers"][name] for name in channels}
    assert_sound(report, channels, pairs=4)


def test_a_two_stream_network_is_told_of_the_flow(video_folder, measured, capsys):
    job = ["--model", "tests.support.nets:two_stream", "--videos", str(video_folder), "--workers", "0"]
    assert main(["measure", *job, "--pairs", "4"]) == 2
    assert (
        "expected frames and flow (T, H, W, 6), as of FlowPairs or --pairs flow, got (4, 16, 24, 3)"
        in capsys.readouterr().err
    )
    for wrong in (["flow", "flow"], ["flow", "4", "4"], ["0"], ["few"], ["flow", "0"]):
        with pytest.raises(SystemExit):
            main(["measure", *job, "--pairs", *wrong])
        assert "argument --pairs: expected " in capsys.readouterr().err


def test_transnetv2_on_its_own_video(measured):
    job = ["--videos", demo_videos()[0], "--pairs", 4, "--batch-size", 2]
    report = measured(*job)
    assert report["settings"]["model"] == "transnetv2" and report["settings"]["videos"] == ["test.mp4"]
    assert_sound(report, {"SDDCNN.0": 64, "SDDCNN.1": 128, "SDDCNN.2": 256}, pairs=4)
    assert measured(*job, "--out", "again") == report


OWN_PACKAGE = '''
"""Nets of a laboratory."""

from torch import nn

import sdfast


class ChannelsLast(nn.Module):
    """Returns (N, T, H, W, C)."""

    def forward(self, x):
        return x.movedim(1, -1)


def frames_last():
    net = nn.Sequential(nn.Conv3d(3, 7, 3), nn.Tanh(), ChannelsLast())
    return sdfast.VideoModel(
        "laboratory", net, sdfast.models.ClipToTensor(), 6, (20, 28), layers=("1", "2"), channel_dim={"2": -1}
    )


def bare():
    return nn.Sequential(nn.Conv3d(3, 5, (3, 9, 9), stride=(2, 8, 8)), nn.ReLU())
'''


def test_a_model_in_a_package_of_ones_own(command, video_folder):
    (command.folder / "lab" / "nets").mkdir(parents=True)
    (command.folder / "lab" / "__init__.py").touch()
    (command.folder / "lab" / "nets" / "__init__.py").write_text(OWN_PACKAGE)
    job = ["measure", "--videos", video_folder, "--pairs", NUM_PAIRS, "--workers", 1]
    for out in ("one", "again"):
        done = command(*job, "--model", "lab.nets:frames_last", "--out", out)
        assert done.returncode == 0, done.stderr
    assert_sound(command.report("one"), {"1": 7, "2": 7})
    assert command.report("one") == command.report("again")
    # The same numbers, only laid out otherwise.
    first, last = (command.report("one")["layers"][name]["channels"] for name in "12")
    np.testing.assert_allclose(first["corr_static"], last["corr_static"], rtol=0, atol=1e-9)

    done = command(*job, "--model", "lab.nets:bare", "--layers", "*", "--out", "bare")
    assert done.returncode == 0, done.stderr
    assert_sound(command.report("bare"), {"0": 5, "1": 5})
