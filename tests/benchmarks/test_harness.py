"""Around what is measured: processes that die, builds that fail, what is told in the end, and two trees in turn."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import build, compare, counters, supervise, warm_up
from benchmarks.device import Device
from benchmarks.growth import exponent
from benchmarks.logbook import Logbook
from benchmarks.outcome import MISSED, NOT_SHOWN, REACHED, counter_table, gather, summary
from benchmarks.page import terminal, write, write_page
from benchmarks.plan import Stage
from benchmarks.targets import AIMS, MUL, PROBE, targets_of
from benchmarks.worker import Worker, stages_on
from sdfast.bench import MIN_ROUNDS, Spread, timing
from tests.support.paths import ROOT

POOLED = AIMS["cpu"]["co-moments, pooled float32"][PROBE]
SETTINGS = {"kind": "cpu", "device": "cpu", "rehearsal": False, "quick": True, "only": "", "seed": 1, "warm": False}


@pytest.fixture
def log(tmp_path):
    return begun(tmp_path)


def begun(folder, **settings):
    log = Logbook(folder / "log")
    log.add("settings", **{**SETTINGS, **settings})
    return log


def reach_all(log, but=None):
    """Note a row and, for every target but one, a figure at its aim; another backend of ours misses them all."""
    log.add_row("case", "sdfast", ours=True, seconds=Spread((1e-3,)).to_dict())
    for target in targets_of(log.of("settings")[0]["kind"]):
        if target is not but:
            log.judge(target, "(2,3)", Spread((target.aim,)))
        log.judge(target, "(2,3)", Spread((target.reach + (9 if target.less else -9),)), "", "cuda", selected=False)


def test_the_logbook_says_what_was_never_ended(log):
    tried = {"candidate": "cuda"}
    events = [("begin", {}), ("trying", tried), ("died", {**tried, "note": "gone"}), ("begin", {})]
    for (event, fields), unfinished in zip(events, [("one", None), ("one", "cuda"), None, ("one", None)], strict=True):
        assert not log.is_done("one")
        log.add(event, stage="one", **fields)
        assert log.unfinished() == unfinished
    log.add("end", stage="one")
    with open(log.path, "a") as file:
        file.write('{"event": "half a li')
    again = Logbook(log.path)
    assert again.events == log.events and again.is_done("one") and again.banned("one") == {"cuda": "gone"}


WORKER = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmarks.logbook import Logbook

settings = json.loads(sys.argv[1])
log = Logbook(Path(settings["logbook"]))
for stage in (stage for stage in ("bad", "slow", "good") if not log.is_done(stage)):
    if time.time() > settings["deadline"]:
        log.add("left_out", stage=stage)
        continue
    log.add("begin", stage=stage)
    if stage == "bad" and "cuda" not in log.banned(stage):
        log.add("trying", stage=stage, candidate="cuda")
        os.kill(os.getpid(), signal.SIGSEGV)
    if stage == "slow":
        time.sleep(600)
    log.add("end", stage=stage)
"""


@pytest.fixture
def measure(tmp_path, log, monkeypatch):
    """Runs workers of the script above for some seconds; what they import takes no time."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(root=str(ROOT)))
    monkeypatch.setattr(supervise, "WORKER", (sys.executable, str(script)))

    def run(seconds):
        settings = {"kind": "cuda", "logbook": str(log.path), "deadline": time.time() + seconds}
        supervise.measure(settings, log, tmp_path, os.environ)

    return run


def test_a_run_goes_on_behind_what_takes_its_process_down(log, measure, monkeypatch):
    monkeypatch.setitem(supervise.SILENCE, "cuda", 5.0)
    measure(600)
    died = {(each["stage"], each["candidate"]): each["note"] for each in log.of("died")}
    assert died == {("bad", "cuda"): "was ended by SIGSEGV", ("slow", None): "was stopped: no answer for 5 s"}
    assert [each["stage"] for each in log.of("end")] == ["bad", "good"] and not log.of("given_up")


def test_what_takes_too_long_is_stopped_and_what_does_not_start_given_up(log, measure, monkeypatch):
    monkeypatch.setattr(supervise, "GRACE", 5.0)
    log.add("end", stage="bad")
    measure(3)
    assert [each["note"] for each in log.of("died")] == ["was stopped: the time was used up"]
    assert [each["stage"] for each in log.of("left_out")] == ["good"]
    monkeypatch.setattr(supervise, "WORKER", (sys.executable, "-c", "raise SystemExit(4)"))
    measure(600)
    assert [each["note"] for each in log.of("given_up")] == ["a process that measures has ended with exit code 4"]


def test_a_worker_holds_what_is_due_and_goes_on_behind_an_error(log, monkeypatch):
    def fail(run):
        raise RuntimeError("no compiler")

    held, threads = [], torch.get_num_threads()
    stages = [Stage("fails", fail), Stage("done", held.append), Stage("large", held.append, size=1 << 40)]
    stages += [Stage("thorough", held.append, quick=False), Stage("warm", held.append, warm=True)]
    alone = Stage("on one thread", lambda run: torch.set_num_threads(1))
    monkeypatch.setattr("benchmarks.worker.stages_on", lambda device: [*stages, alone, Stage("good", held.append)])
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    log.add("end", stage="done")
    worker = Worker({**SETTINGS, "logbook": str(log.path), "where": str(ROOT), "deadline": time.time() + 600})
    assert worker.go_on() == 0 and len(held) == 1 and worker.due() == []
    assert torch.get_num_threads() == threads, "the next stage has all again"
    assert [each["note"] for each in worker.log.of("died")] == ["RuntimeError: no compiler"]
    (left,) = worker.log.of("left_out")
    assert left["stage"] == "large" and "GB of memory" in left["note"] and all(worker.log.of("machine")[0].values())


@pytest.mark.parametrize(
    ("measured", "note", "code", "told"),
    [
        (None, "", REACHED, "0 missed, 0 not shown"),
        (Spread((0.70, 0.71, 0.72)), "", MISSED, "missed: pooled, float32: of the read probe (4,5): 0.71 of 0.8"),
        (None, "WRONG: error 1e-02", MISSED, "missed: pooled, float32: of the read probe (4,5): WRONG"),
        (Spread((0.3, 0.9, 0.99)), "", NOT_SHOWN, "0.9 of 0.8, noise: half of the rounds from 0.6 to 0.945"),
    ],
)
def test_the_status_says_whether_every_reach_is_met(measured, note, code, told, log):
    reach_all(log)
    if measured is not None or note:
        log.judge(POOLED, "(4,5)", measured, note)
    kept = gather(log)
    assert kept["status"] == code and told in "\n".join(summary(kept))


def test_what_went_wrong_or_is_missing_decides_the_status(log):
    reach_all(log)
    for event, fields, code in (
        ("backend", {"name": "cuda", "fault": "expected one of cpu"}, NOT_SHOWN),
        ("left_out", {"stage": "co-moments", "note": "no time was left"}, NOT_SHOWN),
        ("died", {"stage": "co-moments", "candidate": None, "note": "was ended by SIGSEGV"}, NOT_SHOWN),
        ("died", {"stage": "growth", "candidate": None, "note": "AssertionError: sdfast (2,3): error 1e-02"}, MISSED),
        ("row", {**log.of("row")[0], "status": "WRONG"}, MISSED),
        ("row", {**log.of("row")[0], "status": "failed"}, NOT_SHOWN),
        ("row", {**log.of("row")[0], "status": "WRONG", "ours": False}, REACHED),
        ("check", {"status": "WRONG"}, MISSED),
    ):
        log.events.append({"event": event, **fields})
        assert gather(log)["status"] == code, event
        log.events.pop()


def test_what_was_not_run_is_not_shown_and_a_rehearsal_judges_nothing(log, tmp_path):
    reach_all(log, but=POOLED)
    log.add("build", name="with CUDA", fault="missing: nvcc")
    log.add_row("case", "peer", error=math.inf, status="WRONG")
    kept = gather(log)
    assert kept["status"] == NOT_SHOWN and f"not shown: {POOLED.label}: not run" in summary(kept)
    assert summary(kept)[-1] == "shapes with a figure at its aim: 1, fewer than 3"
    write(kept, tmp_path / "gpu.json")
    told = "\n".join(terminal(kept))
    assert "build with CUDA: missing: nvcc" in told and "(missed)" in told
    assert json.loads((tmp_path / "gpu.json").read_text())["builds"] == kept["builds"]
    assert "missing: nvcc" in (tmp_path / "gpu.md").read_text()
    log.path.unlink()
    kept = gather(begun(tmp_path, kind="cuda", rehearsal=True))
    assert kept["status"] == NOT_SHOWN and kept["not_run"] == [] and "REHEARSAL" in "\n".join(terminal(kept))


def test_the_page_has_tables_and_small_plots_and_names_faster_peers(log, tmp_path):
    pytest.importorskip("matplotlib")
    tenth = AIMS["cpu"]["dropout in place, a tenth static"][MUL]
    log.judge(POOLED, "(2,3)", Spread((0.7, 0.71, 0.72)))
    for name, ratio, error in (("quick peer", 0.5, 1e-6), ("slow peer", 4.0, 1e-6), ("read probe", 0.5, None)):
        log.add_row("case", name, over={"sdfast": Spread((ratio,)).to_dict()}, error=error)
    curve = {"candidate": "sdfast", "x": (1, 2, 4), "y": (3.0, 12.0, 48.0)}
    log.add("curve", case="co-moments", axis="N", unit="s", exponent=exponent(curve["x"], curve["y"]), **curve)
    log.add("curve", case="error", axis="mean/std", unit="", exponent=None, **curve)
    page, *plots = write_page(gather(log), tmp_path / "RESULTS.md", tmp_path / "plots")
    assert [path.name for path in plots] == ["limits.png", "growth.png", "errors.png"]
    text = page.read_text()
    assert all(0 < path.stat().st_size < 100_000 and f"](plots/{path.name})" in text for path in plots)
    behind = text.partition("## Where a peer is faster")[2].partition("\n## ")[0]
    assert "quick peer | 0.50x" in behind and "slow peer" not in behind and "read probe" not in behind
    assert "missed: pooled, float32" in text and "| 2.00 |" in text and tenth.remark not in text
    log.judge(tenth, "(2,3)", Spread((0.7, 0.71)))
    assert tenth.remark in write_page(gather(log), page)[0].read_text()


def test_the_command_measures_in_both_ways_and_ends_with_the_status(tmp_path, capsys, monkeypatch):
    asked, out = [], tmp_path / "kept" / "latest.json"

    def measure(settings, log, where, environment):
        asked.append((settings["quick"], settings["only"], settings["warm"], "MALLOC_TOP_PAD_" in environment))
        if settings["warm"]:
            reach_all(log)

    monkeypatch.setattr(command, "measure", measure)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    assert command.main(["--last", "--out", str(out)]) == MISSED  # nothing was kept
    assert command.main(["--quick", "-k", "pairwise", "--out", str(out)]) == REACHED
    assert asked == [(True, "pairwise", False, False), (True, "pairwise", True, True)]
    assert command.main(["--last", "--out", str(out)]) == REACHED and "0 missed, 0 not shown" in capsys.readouterr().out
    for wrong in (tmp_path / "results.md", out / "deeper.json"):
        with pytest.raises((SystemExit, OSError)):
            command.main(["--out", str(wrong)])
    assert len(asked) == 2, "what cannot be written is known before anything is measured"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["--device", "cuda", "--out", str(tmp_path / "gpu.json")]) == NOT_SHOWN
    assert "no GPU" in capsys.readouterr().err and not (tmp_path / "gpu.json").exists()


def test_a_rehearsal_runs_from_the_bare_sources_and_shows_no_figure(tmp_path):
    """With torch, Triton and NumPy alone: whatever else the package uses may be missing where there is a GPU."""
    pytest.importorskip("triton")
    others = ["tqdm", "torchmetrics", "matplotlib", "av", "cv2", "transformers", "pytest", "pybind11", "sdfast._C"]
    log = begun(tmp_path, kind="cuda", rehearsal=True)
    build.stage(tmp_path)
    assert not list(tmp_path.rglob("*.so"))
    settings = {**log.of("settings")[0], "only": "dropout in place, rescaled"}
    settings |= {"where": str(tmp_path), "logbook": str(tmp_path / "log"), "deadline": time.time() + 600}
    # An editable installation of this repository would come before any folder.
    code = "import sys\nsys.meta_path[:] = [f for f in sys.meta_path if 'Redirecting' not in type(f).__name__]\n"
    code += f"sys.modules.update(dict.fromkeys({others}))\nfrom benchmarks.worker import main\n"
    code += f"sys.exit(main([{json.dumps(settings)!r}]))"
    environment = {**build.environment_of(tmp_path), "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    log.reload()
    kept = gather(log)
    assert kept["status"] == REACHED and kept["judged"] == kept["builds"] == [], "what was staged is what is measured"
    rows = {row["candidate"]: row for row in kept["rows"]}
    assert rows["triton"]["status"] == rows["reference"]["status"] == rows["device copy"]["status"] == "rehearsed"
    assert rows["cuda"]["status"] == "absent" and rows["triton"]["error"] == 0
    assert all(row["seconds"] is row["launches"] is None and row["over"] == {} for row in kept["rows"])


@pytest.mark.parametrize("fault", [None, "no compiler"])
def test_what_is_missing_is_built_and_a_failure_leaves_triton(fault, log, tmp_path, monkeypatch):
    asked = MagicMock()
    asked.install.return_value = fault
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None if name == "sdfast._cuda" else name)
    for name in ("install", "stage"):
        monkeypatch.setattr(build, name, getattr(asked, name))
    assert build.provide(True, False, tmp_path, log) == tmp_path and build.provide(False, True, tmp_path, log) == ROOT
    tried = [call.kwargs["SDFAST_CUDA"] for call in asked.install.mock_calls]
    assert tried == (["ON", "OFF"] if fault else ["ON"]) and asked.stage.called == bool(fault)
    assert {each["fault"] for each in log.of("build")} == {fault}


@pytest.mark.parametrize(
    ("seconds", "fault", "told"),
    [(2.0, "", "faster"), (0.5, "", "SLOWER"), (1.0, "", ""), (1.0, "BAD", "abc: BAD")],
)
def test_trees_are_compared(seconds, fault, told, monkeypatch):
    def tree(seconds, fault=None):
        return SimpleNamespace(ask=lambda prepare: {"fault": fault}, sample=lambda calls=1: seconds)

    monkeypatch.setattr(timing, "MAX_ROUNDS", MIN_ROUNDS)
    row = compare.judge({compare.THIS: tree(1.0), "abc": tree(seconds, fault)}, "operation", "abc", seconds=0.0)
    assert row[-1] == told and row[0] == ("" if fault else f"{seconds:.3f}x")


def test_the_process_of_a_tree_answers(monkeypatch):
    """With the formulas in torch, as an editable install has its extension elsewhere."""
    monkeypatch.setenv("SDFAST_BACKEND", "reference")
    with contextlib.closing(compare.Tree(ROOT)) as tree:
        assert "KeyError" in tree.ask(prepare="no such operation")["fault"]
        assert not tree.ask(prepare="co-moments, small").get("fault") and tree.sample(2) > 0
    assert compare.compare("no-such-revision") == compare.BAD_REVISION


def test_a_site_without_the_package_is_refused(tmp_path, capsys):
    assert command.main(["--rehearse", "--site", str(tmp_path), "--out", str(tmp_path / "gpu.json")]) == NOT_SHOWN
    assert f"--site: expected a folder with the package sdfast in it, got {tmp_path}" in capsys.readouterr().err


def test_checks_are_compiled_for_in_processes_of_their_own(tmp_path, monkeypatch):
    asked = {}

    def measure(settings, log, where, environment):
        asked[settings["only"]] = (settings["quick"], log.path.parent, settings["logbook"] == str(log.path), where)

    monkeypatch.setattr(warm_up, "measure", measure)
    settings = {"kind": "cuda", "quick": True, "only": "", "logbook": "the run's own", "deadline": 0.0, "warm": False}
    assert warm_up.warm_up(settings, ROOT, {}, tmp_path) < warm_up.LIMIT
    held = {stage.name for stage in stages_on(Device()) if stage.name.startswith("check ")}
    assert asked == dict.fromkeys(held, (True, tmp_path, True, ROOT)) and len(held) > 10
    asked.clear()
    warm_up.warm_up({**settings, "only": "check comoments"}, ROOT, {}, tmp_path)
    assert asked and all(name.startswith("check comoments") for name in asked)


_TOLD_BY_NCU = """==PROF== Connected to process 7
there is no cuda
"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","7","partial_comoments","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","91.20"
"0","7","partial_comoments","gpu__time_duration.sum","ns","1,234,567"
"0","7","partial_comoments","sm__inst_issued.avg.pct_of_peak_sustained_active","%","43.10"
"1","7","void drop<float, 4>","gpu__time_duration.sum","us","12.5"
"""


def test_counters_of_kernels_are_read(tmp_path, log, monkeypatch):
    first, second = counters.counters_of(_TOLD_BY_NCU)
    assert (first["name"], first["gpu__time_duration.sum"], first["unit"]) == ("partial_comoments", 1234567.0, "ns")
    assert (first[counters.ISSUE], first[counters.DRAM], second["name"]) == (43.1, 91.2, "void drop<float, 4>")
    assert counters.counters_of("==ERROR== ERR_NVGPUCTRPERM") == []
    log.add("counters", kernels=[first], fault=None)
    assert counter_table(gather(log))[1] == ("partial_comoments", "1.235e+06 ns", "43 %", "91 %")
    monkeypatch.setattr(counters.shutil, "which", lambda *_, **__: None)
    assert counters.count(tmp_path, {}, 1.0) == ([], "there is no ncu")
