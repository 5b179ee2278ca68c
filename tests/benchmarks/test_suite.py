"""The suite: its exit status, its page, its curves, and two trees in turn."""

import json
import subprocess

import numpy as np
import pytest
import torch

import sdfast
from benchmarks import __main__ as suite
from benchmarks import compare
from benchmarks.compare import THIS, Worker, interleaved, judge
from benchmarks.curves import Curve
from benchmarks.outcome import MISSED, NOT_SHOWN, REACHED, status, summary
from benchmarks.page import write_page
from benchmarks.peers import authors_numpy
from benchmarks.remarks import REMARKS
from benchmarks.scoreboard import Beside, Judged, Scoreboard
from benchmarks.targets import GUIDED, IN_PLACE, POOLED, TARGETS
from benchmarks.test_estimators import scipy_pearsonr, sklearn_information
from benchmarks.test_measure import stored
from benchmarks.test_memory import peak_bytes
from benchmarks.test_precision import one_pass_double
from sdfast.bench.features import draw_pair, largest_error
from sdfast.bench.timing import MIN_ROUNDS, Spread
from tests.support.paths import ROOT


def all_reached() -> list[Judged]:
    return [Judged(target, "(2,3)", Spread((target.aim,))) for target in TARGETS]


def judged(measured, note=""):
    board = Scoreboard(all_reached())
    board.judged.append(Judged(POOLED, "(4,5)", measured, note))
    return board.to_dict()


@pytest.mark.parametrize(
    ("kept", "code", "told"),
    [
        (Scoreboard(all_reached()).to_dict(), REACHED, "0 missed, 0 not shown"),
        (judged(Spread((0.70, 0.71, 0.72))), MISSED, "missed: pooled, float32: of the read probe (4,5): 0.71 of 0.8"),
        (judged(None, "WRONG: error 1e-02"), MISSED, "missed: pooled, float32: of the read probe (4,5): WRONG"),
        (judged(Spread((0.3, 0.9, 0.99))), NOT_SHOWN, "0.9 of 0.8, noise: half of the rounds from 0.6 to 0.945"),
        (Scoreboard(all_reached()[1:]).to_dict(), NOT_SHOWN, f"not shown: {TARGETS[0].label}: not run"),
    ],
)
def test_the_status_says_whether_every_reach_is_met(kept, code, told):
    kept = json.loads(json.dumps(kept))
    assert status(kept) == code
    assert told in "\n".join(summary(kept))


def test_fewer_than_three_shapes_at_their_aim_are_told():
    few = Scoreboard([Judged(POOLED, shape, Spread((1.0,))) for shape in ("(1,2)", "(1,3)", "(1,3)")])
    assert summary(few.to_dict())[-1] == "shapes with a figure at its aim: 2, fewer than 3"


@pytest.fixture
def kept_at(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "KEPT", tmp_path / "results" / "latest.json")
    monkeypatch.setattr(suite, "FOLDER", tmp_path)
    return tmp_path / "results"


def test_the_command_ends_with_the_status(kept_at, capsys):
    assert suite.main(["--last"]) == MISSED  # nothing was kept
    for board, code in ((Scoreboard(all_reached()), REACHED), (Scoreboard(), NOT_SHOWN)):
        board.save(kept_at)
        assert suite.main(["--last"]) == code
        assert "not shown" in capsys.readouterr().out


@pytest.mark.parametrize(("returned", "code"), [(0, REACHED), (1, MISSED)])
def test_a_failing_test_is_a_miss_and_quick_reaches_the_run(returned, code, kept_at, monkeypatch):
    ran = []

    def run(command, env, **_):
        ran.append((command, env.get("SDFAST_BENCH")))
        Scoreboard(all_reached()).save(kept_at)
        return subprocess.CompletedProcess(command, returned)

    monkeypatch.delenv("SDFAST_BENCH", raising=False)
    monkeypatch.setattr(subprocess, "run", run)
    assert suite.main(["--quick", "-k", "pairwise"]) == code
    assert suite.main([]) == code
    (quick, quick_setting), (full, full_setting) = ran
    assert quick[-2:] == ["-k", "pairwise"] and quick_setting == "quick"
    assert full[1:3] == ["-m", "pytest"] and full_setting is None


def test_the_page_has_tables_and_small_plots_and_names_faster_peers(tmp_path):
    pytest.importorskip("matplotlib")
    board = Scoreboard(
        [Judged(POOLED, "(2,3)", Spread((0.7, 0.71, 0.72))), Judged(IN_PLACE["plain"], "(2,3)", Spread((0.9, 1.0)))],
        [
            Beside("case", "quick peer", Spread((0.4, 0.5, 0.6)), 1e-6),
            Beside("case", "slow peer", Spread((4.0, 5.0)), 1e-6),
            Beside("case", "read probe", Spread((0.5, 0.5))),
        ],
        [
            Curve("co-moments", "N", "sdfast", (1, 2, 4), (1.0, 2.0, 4.0)),
            Curve("error", "mean/std", "sdfast", (1, 10), (1e-15, 1e-14), unit=""),
        ],
    )
    page, *plots = write_page(json.loads(json.dumps(board.to_dict())), tmp_path)
    assert [path.name for path in plots] == ["limits.png", "growth.png", "errors.png"]
    assert all(0 < path.stat().st_size < 100_000 for path in plots)
    text = page.read_text()
    assert all(f"](plots/{path.name})" in text for path in plots)
    behind = text.partition("## Where a peer is faster")[2].partition("\n## ")[0]
    assert "quick peer | 0.50x" in behind and "slow peer" not in behind and "read probe" not in behind
    assert "missed: pooled, float32" in text and "| torch |" in text


def test_the_page_says_what_is_known_of_a_figure_that_falls_short(tmp_path):
    pytest.importorskip("matplotlib")
    target = GUIDED["a tenth"]
    for measured, said in ((0.7, True), (1.7, False)):
        page, *_ = write_page(Scoreboard([Judged(target, "(2,3)", Spread((measured,)))]).to_dict(), tmp_path)
        assert (REMARKS[target.label] in page.read_text()) is said
    assert set(REMARKS) <= {target.label for target in TARGETS}


def test_the_page_of_a_run_without_curves_has_no_plots_of_them(tmp_path):
    page, *plots = write_page(Scoreboard(all_reached()).to_dict(), tmp_path)
    assert [path.name for path in plots] == ["limits.png"] and "growth.png" not in page.read_text()


def test_the_exponent_is_the_slope_of_logarithms():
    assert Curve("", "", "", (1, 2, 4, 8), (3.0, 12.0, 48.0, 192.0)).exponent == pytest.approx(2)
    assert Curve("", "N", "", (1, 2), (0.001, 0.002)).cells()[-2:] == ("1 ms to 2 ms", "1.00")


class Tree:
    """Stands in for the process of a tree."""

    def __init__(self, name, log, seconds, **ready):
        self.name, self.log, self.seconds, self.ready = name, log, seconds, {"calls": 3, **ready}

    def ask(self, **question):
        self.log.append((self.name, *question))
        return self.ready if "prepare" in question else {"seconds": self.seconds}


def test_trees_take_turns_and_at_being_first(monkeypatch):
    log = []
    trees = {THIS: Tree(THIS, log, 1.0), "abc": Tree("abc", log, 2.0)}
    rounds = interleaved(trees, 3, seconds=0.0)
    assert rounds.ratio("abc", THIS).values == (2.0,) * MIN_ROUNDS
    turns = [name for name, _ in log]
    assert turns[:4] == ["abc", THIS, THIS, "abc"] and turns.count(THIS) == MIN_ROUNDS
    monkeypatch.setattr(compare, "MAX_ROUNDS", MIN_ROUNDS)
    assert judge(trees, "an operation", "abc")[0] == "2.000x" and judge(trees, "an operation", "abc")[-1] == "faster"
    trees["abc"] = Tree("abc", log, 2.0, fault="WRONG")
    assert judge(trees, "an operation", "abc") == ("", "", "", "", "abc: WRONG")


def test_what_is_no_revision_is_told(capsys):
    assert compare.compare("no-such-revision") == 2
    assert "no-such-revision" in capsys.readouterr().err


def test_the_process_of_a_tree_answers(monkeypatch):
    """With the formulas in torch, as an editable install has its extension elsewhere."""
    monkeypatch.setenv("SDFAST_BACKEND", "reference")
    worker = Worker(ROOT)
    try:
        assert "KeyError" in worker.ask(prepare="no such operation")["fault"]
        ready = worker.ask(prepare="co-moments, small")
        assert ready["calls"] >= 1 and not ready.get("fault")
        assert worker.ask(sample=2)["seconds"] > 0
    finally:
        worker.close()


def test_peak_memory_is_seen():
    kilobytes = torch.zeros(1000)
    assert peak_bytes(lambda: torch.ones(10_000_000)) > 30_000_000
    assert peak_bytes(lambda: kilobytes.sum()) < 5_000_000


def test_other_estimators_compute_the_same():
    pytest.importorskip("scipy")
    a, b = (x.numpy() for x in draw_pair((300, 5), torch.float32))
    truth = np.array([np.corrcoef(a[:, c].astype(float), b[:, c].astype(float))[0, 1] for c in range(5)])
    assert largest_error(scipy_pearsonr(a, b)[1], truth) < 1e-4
    _, double = one_pass_double(torch.from_numpy(a), torch.from_numpy(b), 1, False)
    assert largest_error(double, truth) < 1e-12
    assert largest_error(authors_numpy(a, b)[1], truth) < 0.1


def test_mutual_information_is_estimated():
    pytest.importorskip("sklearn")
    a, b = (x.numpy() for x in draw_pair((300, 3), torch.float32))
    nats = sklearn_information(a, b)
    assert nats[0] > nats[1] and nats[2] > nats[1]


def test_features_stored_by_hand_give_the_same_as_measure():
    generator = torch.Generator().manual_seed(0)
    batch = *(torch.randn(6, 3, 2, 4, 4, generator=generator) for _ in range(2)), torch.arange(6) % 2
    model = torch.nn.Sequential(torch.nn.Conv3d(3, 5, 1), torch.nn.ReLU())
    with torch.no_grad():
        found = stored(model, ["0", "1"], [batch, batch])
    reports = sdfast.measure(model, iter([batch, batch]), ["0", "1"], progress=False)
    for name in ("0", "1"):
        assert largest_error(found[name], reports[name].corr) < 1e-4
