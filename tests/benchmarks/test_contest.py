"""A contest: all are timed in turn, what is wrong is not timed, and verdicts are right; and a GPU is asked rightly."""

import itertools
from dataclasses import replace
from functools import partial
from unittest.mock import MagicMock

import pytest
import torch

from benchmarks.contest import Candidate, Case, Run, contend
from benchmarks.device import OURS, Device, Gpu, Rehearsal, in_turn, poisoned
from benchmarks.kernels import kernels_of
from benchmarks.logbook import Logbook
from benchmarks.outcome import kernel_table
from benchmarks.targets import AIMS, COPY, MM, ONE_PASS
from benchmarks.worker import stages_on
from sdfast.backends import table
from sdfast.bench import MIN_ROUNDS, Spread, timing

_JUDGED = "co-moments, pooled float32", "co-moments, each call", "measure", "dropout, kept for backward"
POOLED, CALL, MEASURE, KEPT = (next(iter(AIMS["cpu"][key].values())) for key in _JUDGED)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(timing, "MAX_ROUNDS", timing.MIN_ROUNDS)


class StandIn(Rehearsal):
    """A GPU to whoever asks; candidates say themselves how long they take."""

    rehearses, large = False, Gpu.large

    def __init__(self):
        super().__init__()
        self.ours, self.now, self.launched = {"cpu": None, "reference": None, "triton": "no GPU"}, 0.0, 1

    def clock(self, call, calls):
        begin = self.now
        for _ in range(calls):
            call()
        return (self.now - begin) / calls

    def launches(self, call):
        return [{"name": "kernel"}] * self.launched

    def enqueue(self, call):
        return 2e-5

    def taking(self, seconds, answer=0.0):
        """Return a candidate whose error is its answer."""

        def call():
            self.now += seconds
            return answer

        return Candidate([call, call], lambda found: found, 0.1)


@pytest.fixture
def run(tmp_path):
    return Run(StandIn(), Logbook(tmp_path / "log"), 0, 0.0, False)


def hold(run, key="co-moments, pooled float32", **settings):
    """Hold a contest of a call of 2 ms beside a copy of 1.8 ms, and return its rows by candidate."""
    limits = {COPY: run.device.taking(0.00184).calls}
    how = {"moved": 2 * 10**9, "ours": run.device.taking(0.002), "limits": limits, **settings}
    contend(Case(key, "channel_bias", "(2,3)", "float32", **how), run)
    return {row["candidate"]: row for row in run.log.of("row")}


def verdicts(run):
    return {(each["target"].split(": ")[1], each["candidate"]): each["verdict"] for each in run.log.of("judged")}


@pytest.mark.parametrize(
    ("target", "values", "verdict"),
    [
        (POOLED, (0.84, 0.85, 0.86), "reached"),
        (POOLED, (0.97, 0.98, 0.99), "aim"),
        (POOLED, (0.70, 0.71, 0.72), "missed"),
        (POOLED, (0.79, 0.81, 0.82), "reached"),  # the rounds agree well enough for the median to decide
        (POOLED, (0.30, 0.81, 0.99), "noise"),
        (POOLED, (0.30, 0.70, 0.99), "noise"),
        (POOLED, (0.85, 0.99, 1.40), "noise"),  # good all through, but what of?
        (POOLED, (1.20, 1.30, 1.31), "noise"),  # nothing is faster than the limit
        (CALL, (1.0, 1.1, 1.2), "aim"),  # less is better
        (CALL, (2.8, 2.9, 2.95), "reached"),
        (CALL, (3.8, 3.9, 3.95), "missed"),
        (MEASURE, (-0.9, 0.1, 0.8), "aim"),  # percent: their spread is not a matter of the median
        (MEASURE, (-20.0, 0.1, 2.0), "noise"),
        (KEPT, (0.0,), "aim"),
        (KEPT, (1.0,), "missed"),
    ],
)
def test_verdicts(target, values, verdict):
    assert target.verdict(Spread(values)) == verdict


def test_all_that_is_right_is_timed_beside_what_the_device_can_do(run):
    taking = run.device.taking
    rivals = {ONE_PASS: taking(0.006), "wrong": taking(0.001, answer=1.0), "nan": taking(0.001, answer=float("nan"))}
    assert "wrong" not in hold(replace(run, quick=True), rivals=rivals), "no target names it"
    run.log.events.clear()
    rows = hold(run, rivals={**rivals, "broken": Candidate([lambda: 1 / 0], lambda found: 0.0, 0.0)})
    assert rows["cpu"]["seconds"]["median"] == pytest.approx(0.002)
    assert rows[COPY]["over"]["cpu"]["median"] == pytest.approx(0.92)
    assert rows[ONE_PASS]["over"]["reference"]["median"] == pytest.approx(3)
    assert all(rows[name]["seconds"] is None for name in ("wrong", "nan", "broken", "triton"))
    assert {rows[name]["status"] for name in ("wrong", "nan")} == {"WRONG"} and rows["triton"]["status"] == "absent"
    assert rows["broken"]["status"] == "failed" and "ZeroDivisionError" in rows["broken"]["note"]
    assert verdicts(run)["of the copy bandwidth", "cpu"] == "reached"
    assert verdicts(run)["over torch.compile", "cpu"] == "aim"
    assert {each["candidate"] for each in run.log.of("judged") if each["selected"]} == {"cpu"}


def test_one_wrong_answer_of_ours_is_missed_and_nothing_is_timed(run):
    rows = hold(run, ours=run.device.taking(0.001, answer=0.5))
    assert rows["cpu"]["status"] == rows["reference"]["status"] == "WRONG" and rows[COPY]["seconds"] is None
    assert set(verdicts(run).values()) == {"WRONG"}


def test_who_was_wrong_in_a_check_or_took_a_process_down_is_not_timed(run):
    run.log.add("check", operation="comoments", dtype="float32", candidate="cpu", status="WRONG")
    run.log.add("died", stage="co-moments, pooled float32 (2,3)", candidate="peer", note="was ended by SIGSEGV")
    rows = hold(run, rivals={"peer": run.device.taking(0.001)})
    assert rows["cpu"]["note"] == "WRONG in the checks" and rows["cpu"]["seconds"] is None
    assert rows["peer"]["note"] == "was ended by SIGSEGV" and rows["peer"]["seconds"] is None
    assert rows["reference"]["status"] == "timed"


def test_what_moves_little_is_replayed_on_all_sets(run):
    calls = []

    def call(i):
        calls.append(i)
        run.device.now += 1e-5
        return 0.0

    ours = Candidate([partial(call, i) for i in range(3)], lambda found: found, 0.0)
    assert hold(run, moved=10**6, ours=ours)["cpu"]["seconds"]["median"] == pytest.approx(1e-5)
    assert set(calls) == {0, 1, 2}


def test_launches_are_judged_and_none_seen_shows_nothing(run):
    for launched, expected in ((0, set()), (1, {"aim"}), (2, {"missed"})):
        run.log.events.clear()
        run.device.launched = launched
        rows = hold(run, "co-moments, in a graph")
        assert set(verdicts(run).values()) == expected
        assert ("launches not counted" in rows["cpu"]["note"]) == (launched == 0)
        assert rows["cpu"]["host"] == 2e-5 and rows["cpu"]["launches"] == [{"name": "kernel"}] * launched
        assert rows[COPY]["host"] is None is rows[COPY]["launches"]
    run.device.launched = None  # a profiler that fails
    assert hold(run, "co-moments, in a graph")["cpu"]["status"] == "timed"


def test_kernels_are_read_from_the_trace_of_the_profiler():
    def event(cat, ts, name, **args):
        return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": 2.5, "args": args}

    shape = {"grid": [264, 2, 1], "block": [128, 1, 1], "shared memory": 24576, "registers per thread": 128}
    events = [
        event("kernel", 9, "merge", grid=[1, 1, 1], block=[32, 1, 1]),
        event("cpu_op", 1, "aten::empty"),
        event("kernel", 5, "partial", **shape, **{"est. achieved occupancy %": 25}),
        event("gpu_memcpy", 2, "Memcpy HtoD", bytes=8),
        {"ph": "M", "name": "process_name"},
    ]
    copy, partial_, merge = kernels_of({"traceEvents": events})
    assert (copy["name"], merge["registers"], merge["occupancy"]) == ("Memcpy HtoD", None, None)
    expected = {"name": "partial", "microseconds": 2.5, "blocks": 528, "threads": 128, "registers": 128}
    assert partial_ == {**expected, "shared": 24576, "occupancy": 25}
    row = {"case": "pooled", "candidate": "triton", "host": 1.8e-5, "launches": [copy, partial_, merge]}
    header, first, second, _ = kernel_table({"rows": [row, {"launches": None, "host": None}]})
    assert second == ("pooled", "triton", "18 us", "partial", "2.5 us", "528", "128", "128", "24576", "25 %")
    assert len(header) == len(first) and first[3:] == ("Memcpy HtoD", "2.5 us", "1", "1", "", "", "")


def test_on_the_cpu_our_time_is_over_theirs_where_less_is_wanted(tmp_path):
    run, calls = Run(Device(), Logbook(tmp_path / "log"), 0, 0.0, False), []
    ours, limit, settle = (partial(calls.append, name) for name in ("ours", "limit", "settle"))
    name = "pairwise correlation, float32", "pairwise_correlation", "(2,3)", "float32"
    candidate = Candidate([ours], lambda answer: 0.0, 0.0)
    contest = contend(Case(*name, candidate, limits={MM: [limit]}, settle=settle), run)
    (judged,) = run.log.of("judged")
    assert judged["measured"] == contest.rounds.ratio(OURS, MM).to_dict()
    assert calls[:2] == ["settle", "ours"], "all start from the same when they are checked, too"
    turns = [name for name, _ in itertools.groupby(calls[calls.index("settle", 2) :])]
    assert turns == ["settle", "limit", "settle", "ours"] * MIN_ROUNDS


@pytest.mark.parametrize(("place", "large"), [(Device(), 200e6), (StandIn(), 1e9)], ids=["cpu", "gpu"])
def test_every_target_is_judged_in_a_quick_run_and_on_what_no_cache_holds(place, large):
    quick = {stage.name: stage for stage in stages_on(place) if stage.quick}
    modest = "small", "each call", "in a graph", "far from zero", "forward and backward", "measure", "kept", "pairwise"
    modest += "Kraskov", "copula", "update", "jackknife", "bootstrap", "sign flips", "max-T"
    modest += "probe set", "restyling", "monitor"
    for key in AIMS[place.kind]:
        held = [stage for name, stage in quick.items() if key.replace("co-moments, far", "far") in name]
        assert held, key
        assert any(word in key for word in modest) or all(stage.size >= large for stage in held), key


def test_what_is_not_written_is_nan():
    with poisoned():
        assert torch.empty(1000).isnan().all() and (torch.empty(9, dtype=torch.int64) != 0).all()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.fixture
def gpu(monkeypatch):
    """A GPU whose `torch.cuda` notes what it is asked."""
    monkeypatch.setattr(torch, "cuda", MagicMock())
    torch.cuda.Event.return_value.elapsed_time.return_value = 6.0
    found = Gpu.__new__(Gpu)
    found.torch, found.l2 = torch.device("cuda", 0), 1000
    return found


def asked():
    return [name for name, _, _ in torch.cuda.mock_calls]


def test_judged_is_the_backend_that_serves(gpu, monkeypatch):
    monkeypatch.setitem(table.TABLE["channel_bias"], "cuda", "cuda")
    large = torch.float32, 10**9
    assert gpu.selected("channel_bias", *large) == "cuda" and gpu.selected("static_dropout", *large) == "triton"


def test_sets_take_turns_beyond_the_caches(gpu):
    assert [gpu.sets(size) for size in (1, 999, 4000, 10**6)] == [256, 5, 1, 1]
    seen = []
    call = in_turn([partial(seen.append, i) for i in range(3)])
    for _ in range(4):
        call()
    assert seen == [0, 1, 2, 0]
    assert in_turn([call]) is call, "a single call is timed without anything around it"


def test_the_host_is_ahead_of_what_is_timed(gpu):
    assert gpu.clock(torch.cuda.call, 3) == pytest.approx(2e-3)
    event = "Event().record", "Event().synchronize", "Event().elapsed_time"
    assert asked()[2:] == ["_sleep", event[0], "call", "call", "call", *event]


def test_a_graph_holds_a_call_on_each_set_and_one_that_fails_leaves_no_stream(gpu):
    calls = [torch.cuda.first, torch.cuda.second]
    assert gpu.replay(calls) is torch.cuda.CUDAGraph.return_value.replay
    captured = asked()[asked().index("graph") :]
    assert captured == ["graph", "graph().__enter__", "first", "second", "graph().__exit__"]
    torch.cuda.graph.side_effect = RuntimeError("operation not permitted when stream is capturing")
    with pytest.raises(RuntimeError, match="capturing"):
        gpu.replay(calls)
    torch.cuda.set_stream.assert_called_once_with(torch.cuda.current_stream.return_value)
