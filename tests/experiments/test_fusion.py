"""The fusion experiment: its networks, its runs, what it says of them, and its command."""

import json
import math
import sys
from dataclasses import replace

import pytest
import torch

import sdfast
from experiments.fusion import data, results
from experiments.fusion.__main__ import main
from experiments.fusion.experiment import Job, kept_runs, run_all
from experiments.fusion.model import CROSSINGS, FUSIONS, ONE_STREAM, ConvexGate, TwoStream
from experiments.fusion.rows import COMBINATIONS, CONTROLS, ROWS, Row
from experiments.fusion.summary import BASELINE, Summaries
from experiments.fusion.textures import Textures
from experiments.fusion.training import Run, Settings, overlap_of, train
from tests.support.textures import smooth_textures

TINY = Settings(steps=2, batch_size=4, test_scenes=6, pairs=8)


TEXTURES = Textures(smooth_textures(12, seed=1), smooth_textures(6, seed=2))


def tiny_train(*args) -> Run:
    return train(*args, textures=TEXTURES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_networks_find_a_logit_a_pixel_and_have_the_layers_that_are_measured(row):
    model = row.model()
    assert model(torch.rand(2, 5, 32, 32)).shape == (2, 32, 32)
    assert set(row.layers) <= {name for name, _ in model.named_modules()}
    assert any(layer.startswith("fusion") for layer in row.layers) == (row in COMBINATIONS)


def test_all_combinations_are_rows_beside_their_controls():
    assert {(row.fusion, row.crossing) for row in COMBINATIONS} == {(x, y) for x in FUSIONS for y in CROSSINGS}
    assert len(COMBINATIONS) == 12 and {row.fusion for row in CONTROLS} == {*ONE_STREAM}
    assert (*CONTROLS, *COMBINATIONS) == ROWS and len({row.name for row in ROWS}) == len(ROWS)


def test_encoders_and_decoders_of_a_seed_start_alike():
    states = []
    for row in ROWS:
        torch.manual_seed(3)
        states.append(row.model().state_dict())
    for name in states[0]:
        if name.split(".")[0] in ("appearance", "motion", "decoder"):
            assert all(torch.equal(state[name], states[0][name]) for state in states)


@pytest.mark.parametrize("stream", ["appearance", "motion"])
def test_controls_see_one_stream_and_combinations_both(stream):
    clips = torch.rand(2, 5, 32, 32)
    changed = clips.clone()
    changed[:, slice(0, 3) if stream == "appearance" else slice(3, 5)] += 1
    for row in ROWS:
        model = row.model().eval()
        blind = row.fusion in ONE_STREAM and ONE_STREAM[row.fusion] != stream
        assert torch.equal(model(clips), model(changed)) == blind


TOLD = ((), ("appearance",), ("appearance", "motion"))  # the streams that crossings lead into


@pytest.mark.parametrize(("crossing", "expected"), [*zip(CROSSINGS, TOLD, strict=True)])
def test_crossings_lead_where_they_say(crossing, expected):
    """A change of one stream's input reaches the other's blocks from the second on, or not at all."""
    model, seen = TwoStream("sum", crossing).eval(), {}
    for name in BASELINE.layers[:6]:
        keep = seen.setdefault(name, []).append
        model.get_submodule(name).register_forward_hook(lambda _, __, out, keep=keep: keep(out))
    clips = torch.rand(2, 5, 32, 32)
    for told, others in (("appearance", slice(3, 5)), ("motion", slice(0, 3))):
        for outputs in seen.values():
            outputs.clear()
        changed = clips.clone()
        changed[:, others] += 1
        model(clips), model(changed)
        same = [torch.equal(*seen[f"{told}.{level}"]) for level in range(3)]
        assert same == [True, told not in expected, told not in expected]


def test_a_gate_is_convex():
    gate, (a, b) = ConvexGate(4), torch.randn(2, 3, 4, 5, 5)
    fused = gate(a, b)
    assert (fused >= torch.minimum(a, b) - 1e-6).all() and (fused <= torch.maximum(a, b) + 1e-6).all()
    assert torch.allclose(gate(a, a), a, atol=1e-6)


def test_an_unknown_fusion_or_crossing_is_named():
    with pytest.raises(ValueError, match=r"fusion: expected one of sum, .*, got 'product'"):
        TwoStream("product")
    with pytest.raises(ValueError, match=r"crossing: expected one of none, .*, got 'all'"):
        TwoStream("sum", "all")


def test_overlap_is_intersection_over_union_scene_by_scene():
    class Says(torch.nn.Module):
        def forward(self, clips):
            return clips[:, 0]

    there = torch.zeros(2, 4, 4, dtype=torch.bool)
    there[:, :2] = True  # 8 pixels
    logits = torch.full((2, 5, 4, 4), -1.0)
    logits[0, 0, 1:] = 1.0  # 12 pixels, 4 of them right: 4 / 16
    logits[1, 0, :2] = 1.0  # all right
    assert overlap_of(Says(), data.Scenes(logits, there)) == pytest.approx((0.25 + 1) / 2)


@pytest.mark.parametrize("row", [CONTROLS[0], Row("attention", "both")], ids=lambda row: row.name)
def test_runs_repeat_and_leave_torch_as_it_was(row):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, again = (tiny_train(row, 5, TINY) for _ in range(2))
    assert first == again != tiny_train(row, 6, TINY)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert list(first.scores) == list(row.layers)
    for layer, scores in first.scores.items():
        if row in CONTROLS:
            assert layer.startswith("appearance") and scores["static"] == pytest.approx(1, abs=1e-6)
    assert all(0 <= value <= 1 for value in first.overlap.values())


def test_streams_read_as_what_they_see():
    """Without crossings the blocks of the appearance stream are static by construction, and motion's are not."""
    run = tiny_train(BASELINE, 0, replace(TINY, pairs=200))
    for level in range(3):
        appearance, motion, fusion = (run.scores[f"{part}.{level}"] for part in ("appearance", "motion", "fusion"))
        assert appearance["static"] > 0.999 and appearance["dynamic"] < 0.5
        assert motion["dynamic"] > 0.7 and motion["static"] < 0.4
        assert motion["static_share"] < fusion["static_share"] < appearance["static_share"]


@pytest.mark.slow
def test_learning_happens():
    run = tiny_train(BASELINE, 0, Settings(steps=400, test_scenes=100, pairs=8))
    assert run.overlap["plain"] > 0.3


def jobs_of(rows, seeds) -> list[Job]:
    return [Job(row, seed, TINY) for row in rows for seed in seeds]


def make_run(row: Row, seed: int, camouflage: float, share: float) -> Run:
    both = {"dynamic": 0.5, "static": 0.4, "dynamic_share": 30.0, "static_share": share}
    return Run(row.name, seed, {"camouflage": camouflage, "plain": 0.8}, {layer: both for layer in row.layers})


def make_runs() -> list[Run]:
    """The gate gains 0.1 and sheds 2 % over the sum, crossings 0.05 each; all else differs by its seed alone."""
    runs = []
    for row in ROWS:
        gain = 0.1 * (row.fusion == "convex gate") + 0.05 * CROSSINGS.index(row.crossing)
        share = 25 - 2 * (row.fusion == "convex gate")
        wobble = 0.001 * (ROWS.index(row) % 3)
        runs += [make_run(row, seed, 0.4 + gain + (0.1 + wobble) * seed, share + seed) for seed in range(3)]
    return runs


def test_summaries_compare_seed_by_seed():
    found = Summaries(make_runs()[::-1])
    rows = {summary.row.name: summary for summary in found.rows}
    assert [summary.row for summary in found.rows] == [*ROWS] and found.seeds == 3
    assert rows["sum, none"].gain == {} and rows["motion only"].static_share is None
    gate = rows["convex gate, none"]
    assert gate.overlap["camouflage"].mean == pytest.approx(0.6, abs=0.01)
    assert gate.gain["camouflage"].mean == pytest.approx(0.1, abs=0.005)
    assert gate.gain["static_share"].low == gate.gain["static_share"].high == pytest.approx(-2)
    assert gate.static_share.mean == pytest.approx(24)
    assert gate.static_share.high == pytest.approx(24 + 4.3027 / math.sqrt(3), abs=1e-3)
    effects = {effect.name: effect.gain for effect in found.effects}
    assert [*effects] == ["concatenation", "convex gate", "attention", "motion to appearance", "both"]
    assert effects["both"]["camouflage"].mean == pytest.approx(0.1, abs=0.005)
    assert effects["convex gate"]["camouflage"].mean == pytest.approx(0.1, abs=0.005)
    assert effects["attention"]["static_share"].mean == pytest.approx(0)
    assert found.trend.mean < -0.3
    first, *others = found.best["static_share"]
    assert first.startswith("convex gate") and others == [f"convex gate, {x}" for x in CROSSINGS[1:]]
    assert found.best["camouflage"] == ["convex gate, both"]


@pytest.mark.slow
def test_processes_change_nothing_and_runs_are_kept(tmp_path, capsys):
    jobs = jobs_of((CONTROLS[1], BASELINE), (3, 4))
    files = [tmp_path / name for name in ("alone", "shared")]
    alone, shared = (
        run_all(jobs, processes, kept_runs(file), progress=False, textures=TEXTURES)
        for processes, file in enumerate(files, start=1)
    )
    assert alone == shared and [(run.row, run.seed) for run in alone] == [(job.row.name, job.seed) for job in jobs]
    assert sorted(files[0].read_text().splitlines()) == sorted(files[1].read_text().splitlines())
    assert capsys.readouterr().err == ""


def test_an_interrupted_experiment_goes_on(tmp_path, monkeypatch):
    path, jobs = tmp_path / "runs.jsonl", jobs_of((CONTROLS[0], BASELINE), (0,))
    whole = run_all(jobs, 1, kept_runs(path), progress=False, textures=TEXTURES)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "sum, none" not in line))
    trained = []

    def spy(row, *args):
        trained.append(row)
        return train(row, *args)

    monkeypatch.setattr("experiments.fusion.experiment.train", spy)
    assert run_all(jobs, 1, kept_runs(path, resume=True), progress=False, textures=TEXTURES) == whole
    assert trained == [BASELINE]
    run_all(jobs, 1, kept_runs(path), progress=False, textures=TEXTURES)
    assert trained == [BASELINE, CONTROLS[0], BASELINE], "without --resume it starts afresh"


def test_a_kept_run_of_another_job_is_not_taken(tmp_path):
    path, run = tmp_path / "runs.jsonl", make_run(BASELINE, 0, 0.5, 25)
    kept_runs(path).add(Job(BASELINE, 0, TINY), run)
    kept = kept_runs(path, resume=True)
    assert kept.find(Job(BASELINE, 0, TINY)) == run
    for other in (Job(BASELINE, 1, TINY), Job(CONTROLS[0], 0, TINY), Job(BASELINE, 0, replace(TINY, steps=3))):
        assert kept.find(other) is None


def test_all_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    runs = make_runs()
    written = results.save(tmp_path, Summaries(runs), runs, {"seeds": [0, 1, 2]})
    assert [path.name for path in written] == list(results.FILES)
    content = json.loads((tmp_path / "fusion.json").read_text())
    assert len(content["runs"]) == 42 and len(content["summary"]["rows"]) == 14
    text = (tmp_path / "fusion.md").read_text()
    assert text.count("| convex gate, both ") == 1 and "| convex gate less sum " in text and "| both less none " in text
    assert "Best on camouflage: convex gate, both; not told apart from it by these seeds: none." in text
    assert (tmp_path / "fusion.png").read_bytes().startswith(b"\x89PNG")


def test_one_seed_gives_no_interval(tmp_path):
    runs = [run for run in make_runs() if run.seed == 0]
    found = Summaries(runs)
    assert math.isnan(found.rows[0].overlap["plain"].low)
    assert "(" not in next(line for line in results.tables(found).splitlines() if line.startswith("| sum "))


def test_without_matplotlib_the_numbers_are_written(tmp_path, monkeypatch, capsys):
    runs = make_runs()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written = results.save(tmp_path, Summaries(runs), runs, {})
    assert [path.name for path in written] == ["fusion.md", "fusion.json"]
    assert "no picture" in capsys.readouterr().out


def test_the_figure_shows_every_row():
    pytest.importorskip("matplotlib")
    from experiments.fusion.figure import figure

    points, layers = figure(Summaries(make_runs())).axes
    assert [label.get_text() for label in layers.get_yticklabels()] == [row.name for row in ROWS]
    assert len(layers.texts) == 12 * 9 + 2 * 3
    marks = [line for line in points.get_lines() if line.get_marker() not in ("None", None)]
    assert len(marks) == 12
    assert {text.get_text().split(":")[0] for text in points.texts} == {row.name for row in CONTROLS}


def test_the_command_writes_its_tables_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.fusion.__main__.Settings", lambda: TINY)
    monkeypatch.setattr("experiments.fusion.training._textures", lambda: TEXTURES)
    out = tmp_path / "deep" / "er"
    arguments = ["--quick", "--seeds", "1", "--steps", "1", "--seed", "7", "--processes", "1", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert all(row.name in printed.out for row in ROWS) and "14/14" in printed.err
    settings = json.loads((out / "fusion.json").read_text())["settings"]
    assert settings["seeds"] == [7] and settings["steps"] == 1 and settings["sdfast"] == sdfast.__version__
    assert main([*arguments, "--resume"]) == 0
    assert capsys.readouterr().out == printed.out
    assert main([*arguments, "--resume", "--steps", "2"]) == 0
    assert "28/28" in capsys.readouterr().err, "runs of other settings are no runs of these"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seeds", "0"], "expected a positive integer, got 0"), (["--out", "{file}"], "cannot write")],
)
def test_bad_arguments_fail_in_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "file").touch()
    try:
        code = main([part.replace("{file}", str(tmp_path / "file")) for part in arguments])
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and len(error.splitlines()) == 1
