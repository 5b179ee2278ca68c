"""The GPU benchmark around what it measures: processes that die, builds that fail, and what is told in the end."""

import json
import math
import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import build, page, run, targets
from benchmarks.gpu.journal import Journal
from benchmarks.outcome import MISSED, NOT_SHOWN, REACHED
from tests.support.paths import ROOT


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal")


def test_the_journal_says_what_was_never_ended(journal):
    assert journal.unfinished() is None
    journal.add("begin", stage="one")
    assert journal.unfinished() == ("one", None)
    journal.add("trying", stage="one", candidate="cuda")
    assert journal.unfinished() == ("one", "cuda")
    journal.add("died", stage="one", candidate="cuda", note="gone")
    assert journal.unfinished() is None and not journal.is_done("one") and journal.banned("one") == {"cuda": "gone"}
    journal.add("begin", stage="one")
    journal.add("end", stage="one")
    with open(journal.path, "a") as file:
        file.write('{"event": "half a li')
    again = Journal(journal.path)
    assert again.events == journal.events and again.is_done("one")


WORKER = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmarks.gpu.journal import Journal

journal = Journal(Path(json.loads(sys.argv[1])["journal"]))
for stage in ("bad", "slow", "good"):
    if journal.is_done(stage):
        continue
    if time.time() > json.loads(sys.argv[1])["deadline"]:
        journal.add("left_out", stage=stage)
        continue
    journal.add("begin", stage=stage)
    for candidate in ("triton", "cuda", None):
        if candidate in journal.banned(stage):
            continue
        journal.add("trying", stage=stage, candidate=candidate)
        if stage == "bad" and candidate == "cuda":
            os.kill(os.getpid(), signal.SIGSEGV)
        if stage == "slow" and candidate is None:
            time.sleep(60)
    journal.add("end", stage=stage)
"""


@pytest.fixture
def worker(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(root=str(ROOT)))
    monkeypatch.setattr(run, "WORKER", (sys.executable, str(script)))


def test_a_run_goes_on_behind_what_takes_its_process_down(journal, tmp_path, worker, monkeypatch):
    monkeypatch.setattr(run, "SILENCE", 3.0)
    news = []
    settings = {"journal": str(journal.path), "deadline": run.time.time() + 60}
    run.measure(settings, journal, tmp_path, os.environ, lambda: news.append(len(journal.events)))
    died = {(each["stage"], each["candidate"]): each["note"] for each in journal.of("died")}
    assert died == {
        ("bad", "cuda"): "was ended by SIGSEGV",
        ("slow", None): "was stopped: no answer for 3 s",
    }
    assert [each["stage"] for each in journal.of("end")] == ["bad", "good"] and news and not journal.of("given_up")


def test_what_takes_too_long_is_stopped_and_the_rest_left_out(journal, tmp_path, worker, monkeypatch):
    monkeypatch.setattr(run, "GRACE", 2.0)
    run.measure({"journal": str(journal.path), "deadline": run.time.time() + 1}, journal, tmp_path, os.environ)
    (stopped,) = (each for each in journal.of("died") if each["stage"] == "slow")
    assert stopped["note"] == "was stopped: the time was used up"
    assert [each["stage"] for each in journal.of("left_out")] == ["good"]


def test_a_process_that_does_not_start_is_given_up(journal, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "WORKER", (sys.executable, "-c", "raise SystemExit(4)"))
    run.measure({"deadline": run.time.time() + 60}, journal, tmp_path, os.environ)
    assert [each["note"] for each in journal.of("given_up")] == ["a process that measures has ended with exit code 4"]


def reached(journal, but=None, verdict="missed"):
    """Note a figure for every target, at its aim but for one."""
    journal.add(
        "row", ours=True, status="timed", candidate="triton", stage="case", seconds=None, operation="", dtype=""
    )
    journal.events[-1] |= {"bytes_a_second": None, "of_copy": None, "error": 0.0, "launches": None, "note": ""}
    journal.events[-1]["times_ours"] = {}
    for target in targets.TARGETS:
        spread = {"median": target.aim, "quartile_1": target.aim, "quartile_3": target.aim}
        figure = {"target": target.label, "shape": "(2,3) triton", "reach": target.reach, "aim": target.aim}
        figure |= {"unit": "", "measured": spread, "verdict": verdict if target is but else "aim", "note": ""}
        journal.add("judged", **figure, selected=True, candidate="triton")
        journal.add("judged", **{**figure, "verdict": "missed"}, selected=False, candidate="cuda")


SETTINGS = {"rehearsal": False, "device": "cuda", "quick": False, "only": "", "seed": 1}


def test_the_status_is_that_of_the_backend_that_is_chosen(journal):
    reached(journal)
    kept = page.gather(journal, SETTINGS, 1.0)
    assert kept["status"] == REACHED and kept["not_run"] == []
    assert "(missed)" in "\n".join(page.short(kept))
    missing = {"fault": "expected one of cpu"}
    for event, fields, code in (
        ("backend", {"name": "cuda", **missing}, NOT_SHOWN),
        ("check", {"status": "WRONG", "error": math.inf, "tolerance": 0.0, "variants": 1, "where": "here",
                   "operation": "o", "dtype": "d", "candidate": "cuda", "note": ""}, MISSED),
    ):  # fmt: skip
        journal.add(event, **fields)
        assert page.gather(journal, SETTINGS, 1.0)["status"] == code


@pytest.mark.parametrize(("verdict", "code"), [("missed", MISSED), ("noise", NOT_SHOWN), ("WRONG", MISSED)])
def test_one_figure_decides_the_status(journal, verdict, code):
    reached(journal, but=targets.LAUNCHES, verdict=verdict)
    assert page.gather(journal, SETTINGS, 1.0)["status"] == code


def test_what_was_not_measured_is_told(journal, tmp_path):
    journal.add("build", name="with CUDA", fault="missing: nvcc")
    journal.add("left_out", stage="co-moments", note="no time was left")
    kept = page.gather(journal, SETTINGS, 1.0)
    assert kept["status"] == NOT_SHOWN and len(kept["not_run"]) == len(targets.TARGETS)
    told = "\n".join(page.short(kept))
    assert "build with CUDA: missing: nvcc" in told and "left out: co-moments: no time was left" in told
    paths = page.write(kept, tmp_path / "deeper" / "gpu.json")
    assert "missing: nvcc" in paths[1].read_text() and json.loads(paths[0].read_text()) == kept


def test_the_ceiling_is_a_copy_that_no_cache_holds():
    figures = ((9e12, 10**6), (4e12, 10**9), (3e12, 4 * 10**9))
    rows = [
        {"candidate": "device copy", "seconds": {"median": size / speed}, "bytes_a_second": speed, "bytes": size}
        for speed, size in figures
    ]
    assert page._ceiling(rows) == 4e12 and page._ceiling(rows[:1]) is None


def test_which_backend_is_faster_is_counted_by_operation():
    def row(candidate, low, high):
        times = {"cuda": {"quartile_1": low, "quartile_3": high}} if candidate == "triton" else {}
        return {"ours": candidate != "peer", "candidate": candidate, "operation": "channel_bias", "times_ours": times}

    rows = [
        row("triton", 1.1, 1.2),
        row("triton", 0.8, 0.9),
        row("triton", 0.9, 1.1),
        row("cuda", 0, 0),
        row("peer", 0, 0),
    ]
    assert page._faster(rows) == ["channel_bias: of 3 cases faster is triton in 1, cuda in 1, neither in 1"]


@pytest.mark.parametrize("out", ["results.md", "results.json/deeper/gpu.json"])
def test_what_cannot_be_written_is_told_before_anything_runs(out, tmp_path, monkeypatch):
    (tmp_path / "results.json").write_text("")
    monkeypatch.setattr(command, "probe", lambda *_: build.Found(dict.fromkeys(build.PARTS), None, "x"))
    monkeypatch.setattr(command, "_measure", lambda *_: pytest.fail("it ran"))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    with pytest.raises((SystemExit, OSError)):
        command.main(["--device", "cpu", "--out", str(tmp_path / out)])


def test_a_plain_source_tree_is_staged_as_it_is_installed(tmp_path):
    build.stage(tmp_path / "site")
    assert (tmp_path / "site" / "sdfast" / "kernels" / "__init__.py").exists()
    assert not list((tmp_path / "site").rglob("*.so"))
    # Without site-packages' hooks, so that an editable install cannot stand in for it.
    paths = [tmp_path / "site", Path(torch.__file__).parents[1], sysconfig.get_path("purelib")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-S", "-c", build._PROBE, *build.PARTS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    found = build.Found(**json.loads(done.stdout))
    assert found.where.startswith(str(tmp_path)) and found.faults["sdfast"] is None
    assert "No module named 'sdfast._cuda'" in found.faults["sdfast._cuda"]


def test_torch_triton_and_numpy_are_all_it_needs():
    """Whatever else the package or its tests use may be missing where there is a GPU."""
    others = ["tqdm", "torchmetrics", "matplotlib", "av", "cv2", "transformers", "pytest", "pybind11"]
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({others}))\n"
        "import benchmarks.gpu.__main__, benchmarks.gpu.worker"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_found_here_is_told():
    found = build.probe(ROOT, build.environment_of(ROOT))
    assert found.faults["sdfast"] is None and (found.card is not None) == torch.cuda.is_available()
    assert Path(found.where).name == "__init__.py"


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Put scripts in the place of the tools; returns what writes one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(build, "tool_path", lambda name: str(folder / name) if (folder / name).exists() else None)

    def write(name, script=""):
        (folder / name).write_text(f"#!{sys.executable}\n{textwrap.dedent(script)}")
        (folder / name).chmod(0o755)

    return write


def test_a_build_that_fails_says_why(tools, tmp_path):
    tools("ninja")
    assert build.build(tmp_path, (9, 0), cuda=True) == "missing: cmake, nvcc"
    tools("nvcc")
    log = tmp_path / "log"
    tools("cmake", f"import sys; open({str(log)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')")
    assert build.build(tmp_path, (9, 0), cuda=True) is None
    configured, _, installed = log.read_text().splitlines()
    assert "-DSDFAST_CUDA=ON" in configured and "-DCMAKE_CUDA_ARCHITECTURES=90-real" in configured
    assert installed.endswith(f"--prefix {tmp_path}")
    tools("cmake", "print('all is well'); print('x.cu: error: no such thing'); raise SystemExit(1)")
    assert build.build(tmp_path, (9, 0), cuda=True) == "-S: x.cu: error: no such thing"
    tools("cmake", "import time; time.sleep(60)")
    assert build.build(tmp_path, (9, 0), cuda=False, limit=1.0) == "not built within 1 s"


def test_without_pybind11_the_headers_of_torch_serve(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pybind11", None)
    config = build.pybind11_folder(tmp_path) / "pybind11Config.cmake"
    headers = Path(torch.__file__).parent / "include"
    assert str(headers) in config.read_text() and "function(pybind11_add_module target)" in config.read_text()
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    assert build.pybind11_folder(tmp_path / "other") is None


@pytest.mark.parametrize("cuda_builds", [True, False])
def test_what_is_missing_is_built_and_a_failure_leaves_triton(cuda_builds, journal, tmp_path, monkeypatch):
    tried = []

    def attempt(folder, card, cuda):
        tried.append(cuda)
        return None if cuda_builds or not cuda else "no compiler"

    absent = "ModuleNotFoundError: No module named 'sdfast._cuda'"
    faults = {**dict.fromkeys(build.PARTS), "sdfast._cuda": absent}
    monkeypatch.setattr(command, "build", attempt)
    monkeypatch.setattr(command, "stage", lambda folder: None)
    monkeypatch.setattr(command, "probe", lambda *_: build.Found(faults, [9, 0], str(tmp_path / "site" / "x.py")))
    where, environment = command._provide(build.Found(faults, [9, 0], "x"), False, tmp_path / "site", journal)
    assert where == tmp_path / "site" and environment["PYTHONPATH"].startswith(str(where))
    assert tried == ([True] if cuda_builds else [True, False])
    assert [each["fault"] for each in journal.of("build")] == ([None] if cuda_builds else ["no compiler", None])
    assert "TRITON_INTERPRET" not in environment or os.environ.get("TRITON_INTERPRET")


def test_an_installation_that_comes_before_what_is_built_is_told(journal, tmp_path, monkeypatch):
    faults = {**dict.fromkeys(build.PARTS), "sdfast._cuda": "ModuleNotFoundError: No module named 'sdfast._cuda'"}
    monkeypatch.setattr(command, "build", lambda *_: None)
    monkeypatch.setattr(command, "probe", lambda *_: build.Found(faults, [9, 0], "/elsewhere/sdfast/__init__.py"))
    command._provide(build.Found(faults, [9, 0], "x"), False, tmp_path / "site", journal)
    assert "another installation comes first: /elsewhere/" in journal.of("build")[-1]["fault"]


def test_an_amd_gpu_needs_no_cuda_extension(journal, tmp_path):
    faults = {**dict.fromkeys(build.PARTS), "sdfast._cuda": "ModuleNotFoundError: No module named 'sdfast._cuda'"}
    where, _ = command._provide(build.Found(faults, [0, 0], "x"), False, tmp_path / "site", journal)
    assert where == ROOT and not journal.of("build")
