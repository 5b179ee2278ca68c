"""The GPU benchmark without a GPU: a rehearsal from end to end, and each part with what stands in for a device."""

import contextlib
import itertools
import json
import math
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu import checks, comoments, pairwise, static_dropout, targets
from benchmarks.gpu.answers import Check, hold
from benchmarks.gpu.device import Device, in_turn, poisoned
from benchmarks.gpu.features import LAYOUTS, Pairs, batch_of
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.race import COPY, Aim, Case, Contender, Context, race
from benchmarks.outcome import NOT_SHOWN, REACHED
from benchmarks.targets import ERROR
from sdfast.backends import reference as torch_reference
from sdfast.backends import table as backends
from sdfast.bench import timing
from sdfast.bench.features import draw_pair
from sdfast.bench.timing import interleave
from tests.support.paths import ROOT


class StandIn(Device):
    """A GPU to whoever asks; contenders say themselves how long they take."""

    def __init__(self):
        super().__init__("cpu")
        self.rehearses, self.now, self.launched = False, 0.0, 1

    def clock(self, call, calls):
        begin = self.now
        for _ in range(calls):
            call()
        return (self.now - begin) / calls

    def synchronize(self):
        pass

    def replay(self, call, sets):
        return lambda: [call(i) for i in range(sets)]

    def launches(self, call):
        return ["kernel"] * self.launched

    def readings(self):
        return {}

    def taking(self, seconds, answer=0.0):
        """Return a contender whose error is its answer."""

        def call(i):
            self.now += seconds
            return answer

        return Contender(call, lambda found: found, 0.1)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(timing, "MAX_ROUNDS", timing.MIN_ROUNDS)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal")


@pytest.fixture
def context(journal):
    return Context(StandIn(), journal, {"cpu": None, "reference": None, "triton": "no GPU"}, 0, 0.0, False)


def a_case(context, ours=None, **settings):
    device = context.device
    limits = {COPY: device.taking(0.0018).run}
    how = {"moved": 2 * 10**9, "sets": 2, "ours": ours or device.taking(0.002), "limits": limits, **settings}
    return Case("case", "channel_bias", "(2,3)", "float32", **how)


def rows_of(journal):
    return {row["candidate"]: row for row in journal.of("row")}


def test_a_rehearsal_runs_all_and_shows_no_figure(tmp_path):
    pytest.importorskip("triton")
    out = tmp_path / "results" / "gpu.json"
    arguments = ["--device", "cpu", "--quick", "--only", "bfloat16", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == REACHED, done.stdout + done.stderr
    kept, text = json.loads(out.read_text()), out.with_suffix(".md").read_text()
    assert kept["rehearsal"] is True and kept["judged"] == kept["not_run"] == [] and kept["ceiling"] is None
    assert "REHEARSAL" in text.splitlines()[0] and "REHEARSAL" in done.stdout and "GB/s |" in text
    for name in ("triton", "reference"):
        found = [each for each in kept["checks"] if each["candidate"] == name]
        assert len(found) == 4 and {each["status"] for each in found} == {"right"}
        assert {row["status"] for row in kept["rows"] if row["candidate"] == name} == {"rehearsed"}
    assert {row["status"] for row in kept["rows"] if row["candidate"] == "cuda"} == {"absent"}
    assert len({row["stage"] for row in kept["rows"]}) == 4
    for row in kept["rows"]:
        assert row["seconds"] is row["bytes_a_second"] is row["of_copy"] is row["launches"] is None
        assert row["times_ours"] == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    out = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == NOT_SHOWN and "no GPU" in done.stderr and "--device cpu" in done.stderr
    assert not out.exists()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of answers that are infinite
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("comoments", lambda right: lambda *a: right(*a).roll(1, dims=0)),
        ("comoments", lambda right: lambda *a: torch.empty_like(right(*a))),  # written by nobody
        ("comoments", lambda right: lambda *a: right(*a) * (1 + 1e-4)),
        ("static_dropout", lambda right: lambda x, out, *a: right(x, out, a[0] + 1, *a[1:])),
        ("static_dropout", lambda right: lambda x, out, *a: right(x[:1], out[:1], *a) if a[2] is None else None),
    ],
)
def test_checks_find_what_is_wrong(name, answer, context, monkeypatch):
    """A backend that is changed is wrong in each check that it serves; unchanged it is right in all."""
    device = Device("cpu")
    rehearsed = Context(device, context.journal, {"reference": None}, 5, 0.0, True)
    served = [name] if name == "static_dropout" else ["comoments", "channel_bias", "pairwise_correlation"]
    found = [make for stage, make in checks.plans() if stage.endswith("float32") and stage.split()[1] in served]
    monkeypatch.setattr(torch_reference, name, answer(getattr(torch_reference, name)))
    for make in found:
        hold(make(rehearsed), rehearsed)
    assert len(found) == len(served)
    assert {each["status"] for each in context.journal.of("check")} == {"WRONG"}


def test_an_answer_of_nan_is_wrong_and_one_that_fails_is_told(context):
    check = Check("comoments", torch.float32, 1.0, [("good", lambda: 0.5), ("bad", lambda: math.nan)])
    hold(check, context)
    hold(Check("comoments", torch.float16, 1.0, [("broken", lambda: 1 / 0)]), context)
    found = {(each["candidate"], each["dtype"]): each for each in context.journal.of("check")}
    assert found["cpu", "float32"]["status"] == "WRONG" and found["cpu", "float32"]["where"] == "bad"
    assert found["cpu", "float16"]["status"] == "failed" and "ZeroDivisionError" in found["cpu", "float16"]["note"]
    assert found["triton", "float32"]["status"] == "absent" and "no GPU" in found["triton", "float32"]["note"]


def test_the_hard_case_is_judged_as_on_the_cpu(context):
    make = dict(checks.plans())["check mean/std = 1e4 float32"]
    hold(make(Context(Device("cpu"), context.journal, {"cpu": None}, 0, 0.0, True)), context)
    judged = context.journal.of("judged")
    assert {(each["candidate"], each["selected"]) for each in judged} == {("cpu", True), ("reference", False)}
    assert {each["target"] for each in judged} == {ERROR.label} and {each["verdict"] for each in judged} == {"aim"}


def test_what_is_not_written_is_nan():
    with poisoned():
        assert torch.empty(1000).isnan().all() and torch.empty_like(torch.zeros(9)).isnan().all()
        assert (torch.empty(9, dtype=torch.int64) != 0).all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_race_times_all_that_is_right_beside_a_copy(context):
    device = context.device
    peers = {"peer": device.taking(0.006), "wrong": device.taking(0.001, answer=1.0)}
    peers["broken"] = Contender(lambda i: 1 / 0, lambda found: 0.0, 0.0)
    aims = (Aim(targets.POOLED["float32"]), Aim(targets.POOLED_OVER_COMPILED, "peer"))
    race(a_case(context, peers=peers, aims=aims, launches=targets.LAUNCHES), context)
    rows = rows_of(context.journal)
    assert rows["cpu"]["seconds"]["median"] == pytest.approx(0.002)
    assert rows["cpu"]["of_copy"]["median"] == pytest.approx(0.9)
    assert rows["cpu"]["bytes_a_second"] == pytest.approx(1e12)
    assert rows["cpu"]["times_ours"]["peer"]["median"] == pytest.approx(3)
    assert rows["wrong"]["status"] == "WRONG" and rows["wrong"]["seconds"] is None
    assert rows["broken"]["status"] == "failed" and "ZeroDivisionError" in rows["broken"]["note"]
    assert rows["triton"]["status"] == "absent"
    verdicts = {(each["target"], each["candidate"]): each for each in context.journal.of("judged")}
    assert verdicts[targets.POOLED["float32"].label, "cpu"]["verdict"] == "reached"
    assert verdicts[targets.POOLED_OVER_COMPILED.label, "cpu"]["verdict"] == "aim"
    assert verdicts[targets.LAUNCHES.label, "cpu"]["verdict"] == "aim"
    assert {each["candidate"] for each in context.journal.of("judged") if each["selected"]} == {"cpu"}


def test_judged_is_the_backend_of_the_operation(context, monkeypatch):
    monkeypatch.setitem(backends.TABLE["channel_bias"], "cpu", "reference")
    race(a_case(context, aims=(Aim(targets.POOLED["float32"]),)), context)
    selected = {each["candidate"]: each["selected"] for each in context.journal.of("judged")}
    assert selected == {"cpu": False, "reference": True}


def test_one_wrong_answer_of_ours_is_missed_and_not_timed(context):
    ours = context.device.taking(0.001, answer=0.5)
    race(a_case(context, aims=(Aim(targets.POOLED["float32"]),), ours=ours), context)
    rows = rows_of(context.journal)
    assert rows["cpu"]["status"] == rows["reference"]["status"] == "WRONG" and rows[COPY]["seconds"] is None
    assert {each["verdict"] for each in context.journal.of("judged")} == {"WRONG"}


def test_who_was_wrong_in_a_check_or_took_a_process_down_is_not_timed(context):
    found = {"operation": "comoments", "dtype": "float32", "candidate": "cpu", "status": "WRONG"}
    context.journal.add("check", **found)
    context.journal.add("died", stage="case", candidate="peer", note="was ended by SIGSEGV")
    race(a_case(context, peers={"peer": context.device.taking(0.001)}), context)
    rows = rows_of(context.journal)
    assert rows["cpu"]["note"] == "WRONG in the checks" and rows["cpu"]["seconds"] is None
    assert rows["peer"]["note"] == "was ended by SIGSEGV" and rows["peer"]["seconds"] is None
    assert rows["reference"]["status"] == "timed"


def test_what_moves_little_is_replayed_on_all_sets(context):
    calls = []

    def call(i):
        calls.append(i)
        context.device.now += 1e-5
        return 0.0

    race(a_case(context, moved=10**6, sets=3, ours=Contender(call, lambda found: found, 0.0)), context)
    assert rows_of(context.journal)["cpu"]["seconds"]["median"] == pytest.approx(1e-5)
    assert set(calls) == {0, 1, 2}


def test_two_launches_are_missed_and_none_seen_shows_nothing(context):
    for launched, verdicts in ((0, set()), (2, {"missed"})):
        context.device.launched = launched
        race(a_case(context, launches=targets.LAUNCHES), context)
        assert {each["verdict"] for each in context.journal.of("judged")} == verdicts
        assert ("launches not counted" in rows_of(context.journal)["cpu"]["note"]) == (launched == 0)


def test_a_profiler_that_fails_leaves_the_times(context, monkeypatch):
    monkeypatch.setattr(context.device, "launches", lambda call: 1 / 0)
    race(a_case(context, launches=targets.LAUNCHES), context)
    row = rows_of(context.journal)["cpu"]
    assert row["status"] == "timed" and "ZeroDivisionError" in row["note"] and not context.journal.of("judged")


def test_every_target_is_judged_by_a_plan_and_at_full_size(context):
    plans = [*comoments.plans(context), *static_dropout.plans(context)]
    further = [*comoments.further_plans(context), *static_dropout.further_plans(context), *pairwise.plans(context)]
    aimed = {aim.target.label for plan in plans for aim in plan.aims}
    assert aimed | {targets.LAUNCHES.label, ERROR.label} == {target.label for target in targets.TARGETS}
    assert all(plan.size >= targets.LARGE for plan in [*plans, *further] if getattr(plan, "aims", ()))
    names = [plan.name(context.device) for plan in plans + further]
    assert len(set(names)) == len(names)
    for plan in plans:
        size = torch.Size(plan.shape(context.device)).numel() * plan.dtype.itemsize
        assert targets.LARGE <= size * (2 if plan in comoments.plans(context) else 1) < 1.01 * targets.LARGE


def test_sets_take_turns_beyond_the_caches():
    device = StandIn()
    device.rehearses, device.l2 = False, 1000
    assert [device.sets(size) for size in (1, 999, 4000, 10**6)] == [256, 5, 1, 1]
    seen = []
    call = in_turn(seen.append, 3)
    for _ in range(4):
        call()
    assert seen == [0, 1, 2, 0]
    assert batch_of(1000, (5,), torch.float16, tensors=2) == 50


def test_the_truth_of_pairs_is_that_of_all_channels(monkeypatch):
    from benchmarks.gpu import features

    device = Device("cpu")
    pairs = Pairs.draw(device, (12, 7, 5), torch.float32, "contiguous", 3, num_factors=2)
    whole = pairs.truth(pool=False)
    monkeypatch.setattr(features, "_CHUNK", 130)
    torch.testing.assert_close(pairs.truth(pool=False), whole, rtol=0, atol=1e-14)
    assert whole.shape == (2, 7) and len(pairs.sets) == 2
    assert not torch.equal(pairs.sets[0][0], pairs.sets[1][0])
    other, _ = draw_pair((12, 7, 5), torch.float32, generator=device.generator(4))
    assert not torch.equal(pairs.sets[0][0], other)


class Cuda:
    """Stands in for torch.cuda: notes what it is asked."""

    def __init__(self):
        self.asked, self.streams, self.fails = [], ["default"], False

    def current_stream(self):
        return SimpleNamespace(wait_stream=lambda other: None, name=self.streams[-1])

    def set_stream(self, stream):
        self.streams.append(stream.name)

    def Stream(self):
        return SimpleNamespace(wait_stream=lambda other: None)

    def stream(self, stream):
        return contextlib.nullcontext()

    def CUDAGraph(self):
        return SimpleNamespace(replay=lambda: self.asked.append("replay"))

    @contextlib.contextmanager
    def graph(self, graph, capture_error_mode):
        self.streams.append("of the capture")
        self.asked.append("capture")
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield
        self.streams.pop()

    def Event(self, enable_timing):
        notes = (partial(self.asked.append, name) for name in ("record", "synchronize"))
        return SimpleNamespace(**dict(zip(("record", "synchronize"), notes, strict=True)), elapsed_time=lambda end: 6.0)

    def _sleep(self, cycles):
        self.asked.append("sleep")


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch, "cuda", Cuda())
    return torch.cuda


@pytest.fixture
def gpu():
    device = Device("cpu")
    device.rehearses = False
    return device


def test_the_host_is_ahead_of_what_is_timed(cuda, gpu):
    assert gpu.clock(lambda: cuda.asked.append("call"), 3) == pytest.approx(2e-3)
    assert cuda.asked == ["sleep", "record", "call", "call", "call", "record", "synchronize"]


def test_a_graph_holds_a_call_on_each_set_and_one_that_fails_leaves_no_stream(cuda, gpu):
    replay = gpu.replay(cuda.asked.append, 3)
    assert cuda.asked == [0, 0, "capture", 0, 1, 2]
    replay()
    assert cuda.asked[-1] == "replay" and cuda.streams == ["default"]
    cuda.fails = True
    with pytest.raises(RuntimeError, match="capturing"):
        gpu.replay(cuda.asked.append, 3)
    assert cuda.streams[-1] == "default"


def test_launches_are_what_the_device_does(gpu, monkeypatch):
    on_device, on_host = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU
    found = [("kernel", on_device), ("cudaLaunchKernel", on_host), ("Memset", on_device)]
    found.append(("Activity Buffer Request", on_device))
    events = [SimpleNamespace(name=name, device_type=where) for name, where in found]
    profiled = contextlib.nullcontext(SimpleNamespace(events=lambda: events))
    monkeypatch.setattr(torch.profiler, "profile", lambda activities: profiled)
    monkeypatch.setattr(gpu, "synchronize", lambda: None)
    calls = []
    assert gpu.launches(lambda: calls.append("call")) == ["kernel", "Memset"] and len(calls) == 2


def test_the_card_is_described_and_where_nothing_reads_it_that_is_told(gpu, monkeypatch):
    card = {"name": "a card", "major": 9, "minor": 0, "multi_processor_count": 132, "total_memory": 141 * 10**9}
    gpu._properties = SimpleNamespace(**card)

    def answer(command, **_):
        if command[0] != "nvidia-smi":
            raise FileNotFoundError
        return subprocess.CompletedProcess(command, 0, "580.1, 345 MHz, 3201 MHz, 30, 75.2 W\n")

    monkeypatch.setattr(subprocess, "run", answer)
    told = gpu.describe()
    assert (told["card"], told["capability"], told["driver"]) == ("a card", "9.0", "580.1")
    assert told["clocks.mem"] == "3201 MHz" and told["revision"] == "unknown" and told["torch"] == torch.__version__
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer(["git"]))
    assert "does not answer" in gpu.readings()["driver"]


def test_another_clock_may_take_the_samples():
    rounds = interleave({"A": lambda: None}, clock=lambda call, calls: 0.5, seconds=0.0)
    assert set(rounds.seconds["A"]) == {0.5}


def test_all_ways_and_layouts_are_checked():
    context = Context(Device("cpu"), None, {}, 0, 0.0, False)
    variants = [name for _, make in checks.plans() if "dropout" in _ for name, _ in make(context).variants]
    for words in (("forward", "in place", "backward"), ("element", "channel", "region"), LAYOUTS):
        for word in words:
            assert any(word in name for name in variants), word
    for words in itertools.product(("pooled", ""), ("labelled", ""), ("strided", "transposed")):
        names = [name for name, _ in dict(checks.plans())["check comoments float32"](context).variants]
        assert any(all(word in name for word in words) for name in names), words
