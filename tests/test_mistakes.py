"""Mistakes of a new user, each with its message: it names the argument, what it was, and what it should have been."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.pairs import VideoPairs
from sdfast.report import save_reports
from sdfast.training import BiasMonitor, ablate, ablation_losses, run_with_permuted
from tests.support.command import assert_one_line, run
from tests.support.measuring import make_pairs
from tests.support.videos import numbered_frames, write_video

FEATS, FACTOR = torch.randn(6, 4), torch.arange(6) % 2
NOWHERE = "path: expected a folder of results or the report.json in it, got nowhere: no such file"
CLIPS = [(a, b) for a, b, _ in make_pairs(6)]


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU())


def measure(pairs=None, layers="0", of=None, **settings):
    pairs = make_pairs(8) if pairs is None else pairs
    return sdfast.measure(of or model(), pairs, layers, **{"progress": False, **settings})


def twice():
    net = model()
    sdfast.insert_static_dropout(net, "1")
    sdfast.insert_static_dropout(net, "1")


def within(context):
    with context:
        pass


# What one did, the call, and the message.
MISTAKES = {
    "features of two layers": (
        lambda: sdfast.channel_bias(FEATS, FEATS[:, :3]),
        "ValueError: feats_b: expected shape (6, 4) like feats_a, got (6, 3)",
    ),
    "features of two dtypes": (
        lambda: sdfast.channel_bias(FEATS, FEATS.double()),
        "TypeError: feats_b: expected dtype torch.float32 like feats_a, got torch.float64",
    ),
    "integers for features": (
        lambda: sdfast.channel_bias(FEATS.long(), FEATS.long()),
        "TypeError: feats_a: expected float64, float32, float16 or bfloat16 features, got torch.int64",
    ),
    "a list for features": (
        lambda: sdfast.channel_bias(FEATS.tolist(), FEATS.tolist()),
        "TypeError: feats_a: expected a torch.Tensor, got list",
    ),
    "one channel without its dimension": (
        lambda: sdfast.channel_bias(FEATS[:, 0], FEATS[:, 0]),
        "ValueError: feats_a: expected shape (N, C) or (N, C, ...), got (6,)",
    ),
    "labels that begin at 1": (
        lambda: sdfast.channel_bias(FEATS, FEATS, FACTOR + 1),
        "ValueError: factor: expected labels from 0 to 1, got 2",
    ),
    "fractions for labels": (
        lambda: sdfast.channel_bias(FEATS, FEATS, FACTOR / 2),
        "TypeError: factor: expected integers or bool, got torch.float32",
    ),
    "labels of other pairs": (
        lambda: sdfast.channel_bias(FEATS, FEATS, FACTOR[:4]),
        "ValueError: factor: expected shape (6,), one label a pair, got (4,)",
    ),
    "the batch for the channels": (
        lambda: sdfast.channel_bias(FEATS, FEATS, channel_dim=0),
        "ValueError: channel_dim: expected a dimension of feats_a other than the batch dimension 0, got 0",
    ),
    "a misspelt estimator": (
        lambda: sdfast.channel_bias(FEATS, FEATS, estimator="kraskow"),
        "ValueError: estimator: expected one of gaussian, copula, kraskov, got 'kraskow'",
    ),
    "other samples": (
        lambda: sdfast.pairwise_correlation(FEATS, FEATS[:3]),
        "ValueError: feats_b: expected 6 samples like feats_a, got 3",
    ),
    "a class for a model": (
        lambda: sdfast.measure(nn.ReLU, make_pairs(), "0"),
        "TypeError: model: expected a torch.nn.Module, got type",
    ),
    "a layer for its name": (
        lambda: measure(layers=[nn.ReLU()]),
        "TypeError: layers: expected names or glob patterns, got ReLU",
    ),
    "a misspelt layer": (
        lambda: measure(layers="head", of=nn.ModuleDict({"heads": nn.ReLU(), "stem": nn.ReLU()})),
        "ValueError: layers: 'head' matches no layer of ModuleDict; near names: heads",
    ),
    "pairs without a factor": (
        lambda: measure(CLIPS),
        "TypeError: pairs: expected items (clip_a, clip_b, factor[, source]), got tuple of length 2",
    ),
    "a number for pairs": (
        lambda: measure(7),
        "TypeError: pairs: expected a dataset or an iterable of batches, got int",
    ),
    "no pairs": (lambda: measure([]), "ValueError: pairs: expected at least one pair, got none"),
    "clips of two lengths": (
        lambda: measure([(a, b[:, :2], 0) for a, b in CLIPS]),
        "ValueError: pairs: clips_b: expected shape (6, 3, 4, 6, 6) like clips_a, got (6, 3, 2, 6, 6)",
    ),
    "factors in words": (
        lambda: measure([(a, b, "static") for a, b in CLIPS]),
        "TypeError: pairs: factor: expected an integer label, got 'static'",
    ),
    "a threshold in percent": (
        lambda: measure(threshold=50),
        "ValueError: threshold: expected a correlation from -1 to 1, got 50",
    ),
    "a misspelt kind": (
        lambda: measure(kind="spearman"),
        "ValueError: kind: expected one of pearson, intraclass, got 'spearman'",
    ),
    "a device that there is not": (
        lambda: measure(device="gpu"),
        "ValueError: device: expected one there is, such as cpu or cuda, got 'gpu'",
    ),
    "a number as text": (
        lambda: measure(batch_size="8"),
        "ValueError: batch_size: expected a positive integer, got '8'",
    ),
    "percent for a fraction": (
        lambda: measure(until=1),
        "ValueError: until: expected a half-width between 0 and 1, such as 0.01 for ±1 %, got 1",
    ),
    "a metric of other channels": (
        lambda: sdfast.BiasMetric(3).update(FEATS, FEATS, FACTOR),
        "ValueError: feats_a: expected 3 channels along dimension 1, got (6, 4)",
    ),
    "a number that no report has": (
        lambda: sdfast.BiasMetric(3, value="static"),
        "ValueError: value: expected None or one of channels/joint, ",
    ),
    "p in percent": (
        lambda: sdfast.StaticDropout(p=30),
        "ValueError: p: expected a probability from 0 to 1, got 30",
    ),
    "weights of other channels": (
        lambda: sdfast.StaticDropout(channel_weight=torch.ones(3))(torch.ones(2, 4)),
        "ValueError: channel_weight: expected shape (4,), one a channel, got (3,)",
    ),
    "a misspelt granularity": (
        lambda: sdfast.StaticDropout(granularity="pixel"),
        "ValueError: granularity: expected one of element, channel, region, got 'pixel'",
    ),
    "a mask of NumPy": (
        lambda: sdfast.static_mask(np.ones((2, 4))),
        "TypeError: mask: expected a torch.Tensor or None, got ndarray",
    ),
    "a mask from 0 to 255": (
        lambda: sdfast.static_dropout(torch.ones(2, 3, 4), mask=torch.full((2, 4), 255.0)),
        "ValueError: mask: expected values from 0 to 1, got 255.0",
    ),
    "a mask of other clips": (
        lambda: sdfast.static_dropout(torch.ones(2, 3, 4), mask=torch.ones(3, 4)),
        "ValueError: mask: expected a batch of 2 like x, got 3",
    ),
    "dropout inserted twice": (twice, "ValueError: layers: '1' has a static_dropout already"),
    "frames before channels": (
        lambda: sdfast.masks.from_motion(torch.rand(2, 8, 3, 16, 16)),
        "ValueError: video: expected shape (N, C, T, H, W), got (2, 8, 3, 16, 16), which looks like (N, T, C, H, W); "
        "pass video.transpose(1, 2)",
    ),
    "a misspelt camera": (
        lambda: sdfast.masks.from_motion(torch.rand(2, 3, 8, 16, 16), camera="panning"),
        "ValueError: camera: expected one of still, moving, got 'panning'",
    ),
    "pairs that are gone after one look": (
        lambda: BiasMonitor(model(), iter(make_pairs()), "0"),
        "ValueError: pairs: expected a dataset, a list or a loader, to be read at every measurement, got a "
        "list_iterator",
    ),
    "guidance of nothing": (
        lambda: BiasMonitor(model(), make_pairs(), "1", guide=True),
        "ValueError: guide: expected a StaticDropout after '1', got none; insert it before the monitor is made",
    ),
    "a curve before it begins": (
        lambda: BiasMonitor(model(), make_pairs(), "0").curve.shares("0"),
        "ValueError: layer: expected one that has been measured, which none has yet, got '0'",
    ),
    "features for clips": (
        lambda: run_with_permuted(model(), torch.rand(2, 3), "0"),
        "ValueError: clips: expected (N, C, T, H, W) with frames along 2, got (2, 3)",
    ),
    "one frame to permute": (
        lambda: run_with_permuted(model(), torch.rand(2, 3, 1, 8, 8), "0"),
        "ValueError: clips: expected two frames or more along dimension 2, got (2, 3, 1, 8, 8)",
    ),
    "a class without a report": (
        lambda: within(ablate(model(), "0")),
        "ValueError: reports: expected one of '0', as sdfast.measure returns it, got none",
    ),
    "a class that there is not": (
        lambda: within(ablate(model(), "0", "appearance", reports=measure())),
        "ValueError: labels: expected one of joint, dynamic, static, residual, undetermined, indices or a bool mask, "
        "got 'appearance'",
    ),
    "a channel that there is not": (
        lambda: within(ablate(model(), "0", [99], "mean", measure())),
        "ValueError: labels: expected indices from 0 to 3 for '0', got 99",
    ),
    "nothing to ablate on": (
        lambda: ablation_losses(model(), [], measure()),
        "ValueError: clips: expected at least one, got none",
    ),
    "a folder without results": (
        lambda: sdfast.load_reports("nowhere"),
        f"FileNotFoundError: {NOWHERE}",
    ),
    "measurements for reports": (
        lambda: sdfast.compare(measure(), measure()),
        "TypeError: report_a: expected the BiasReport of a layer, got dict",
    ),
    "a level in percent": (
        lambda: measure()["0"].interval(95),
        "ValueError: level: expected a probability between 0 and 1, got 95",
    ),
    "a misspelt adjustment": (
        lambda: measure()["0"].test(adjust="bonferroni"),
        "ValueError: adjust: expected one of None, 'bh', 'maxT', got 'bonferroni'",
    ),
    "moments without factors": (
        lambda: sdfast.BiasReport(torch.rand(2, 4)),
        "ValueError: moments: expected shape (6, 2, C), got (2, 4)",
    ),
    "a picture of another format": (
        lambda: save_reports(measure(), "folder", {}, "jpg"),
        "ValueError: picture: expected one of png, svg, pdf, got 'jpg'",
    ),
    "videos that there are not": (
        lambda: VideoPairs("no/such/folder"),
        "VideoError: no/such/folder: no such file or folder",
    ),
    "one length for two": (
        lambda: VideoPairs("a.mp4", frame_size=112),
        "ValueError: frame_size: expected (height, width), got 112",
    ),
    "a misspelt style": (
        lambda: VideoPairs("a.mp4", styles=["pencils"]),
        "ValueError: styles: no style 'pencils'; did you mean pencil? (known: ",
    ),
    "a misspelt model": (
        lambda: sdfast.load_model("transnet"),
        "ValueError: model: expected one of transnetv2, ",
    ),
    "a backend that there is not": (
        lambda: within(sdfast.use_backend("gpu")),
        "BackendError: backend: expected one of cpu, triton, cuda, reference, got 'gpu'",
    ),
}


def test_there_are_enough_of_them():
    assert len(MISTAKES) + len(COMMANDS) >= 60


@pytest.mark.parametrize("what", MISTAKES)
def test_each_mistake_has_its_message(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", numbered_frames(20))
    call, message = MISTAKES[what]
    with pytest.raises(Exception) as raised:
        call()
    said = f"{raised.type.__name__}: {raised.value}"
    assert said.startswith(message)
    if not message.startswith(("VideoError", "FileNotFoundError")):
        assert re.match(r"\w+: \w+: ", said), "it begins with the argument"


# What one typed, and what the one line says.
COMMANDS = {
    "measure --videos nowhere": "nowhere: no such file or folder",
    "measure --model transnetv3": "model: expected one of transnetv2, ",
    "measure --model toy:mak": "model: toy has no 'mak'",
    "measure --model toy:make --layers haed": "layers: 'haed' matches no layer of Toy; near names: head",
    "measure --model toy:make --pairs none": "argument --pairs: expected a positive integer, got none",
    "measure --model toy:make --until 2": "argument --until: expected a half-width such as 1%, 0.5% or 0.01, got 2",
    "measure --model toy:make --threshold 50": "threshold: expected a correlation from -1 to 1, got 50",
    "measure --model toy:make --device gpu": "--device: 'gpu' cannot be used: ",
    "measure --model toy:make --format jpg": "argument --format: invalid choice: 'jpg'",
    "measure --model toy:make --out toy.py": "--out: cannot write to toy.py",
    "compare nowhere elsewhere": NOWHERE,
    "ablate nowhere": NOWHERE,
    "masks nowhere": "nowhere: no such file or folder",
    "dataset": "the following arguments are required: --videos",
    "completion fish": "argument shell: invalid choice: 'fish'",
    "mesure": "argument COMMAND: invalid choice: 'mesure'",
}


@pytest.mark.parametrize("typed", COMMANDS)
def test_each_command_says_it_in_one_line(typed, command, capsys, monkeypatch):
    monkeypatch.chdir(command.folder)
    monkeypatch.syspath_prepend(str(command.folder))
    write_video(command.folder / "a.mp4", numbered_frames(40))
    more = ["--videos", "a.mp4", "--workers", "0"] if "toy:" in typed else []
    code, out, err = run(capsys, *typed.split(), *more)
    assert code == 2 and out == ""
    assert_one_line(err, COMMANDS[typed])
