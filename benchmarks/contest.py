"""One comparison: check every answer, then time those that are right, in turn."""

import gc
import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from benchmarks.device import OURS, Call, Device, in_turn, poisoned, run_all
from benchmarks.logbook import Logbook
from benchmarks.targets import AIMS, LAUNCHES, TIME, Target
from sdfast.bench import Rounds, Spread, interleave

WRONG = "WRONG"
REPLAYED = 500_000_000  # bytes moved; below it a launch takes time beside the kernel, and graphs are replayed
_OF_COMOMENTS = "channel_bias", "pairwise_correlation"  # what is composed of them


@dataclass(frozen=True)
class Run:
    """What a stage has of its run; `seconds` are for all rounds of a contest."""

    device: Device
    log: Logbook
    seed: int
    seconds: float
    quick: bool

    def seed_of(self, name: str) -> int:
        """Return a seed of its own for a name: the same for a seed, whatever else has been drawn."""
        return (self.seed + zlib.crc32(name.encode())) % 2**63


class DeviceLost(RuntimeError):
    """A kernel has left the device so that this process can ask nothing more of it."""


@dataclass(frozen=True)
class Candidate:
    """A call on each set of inputs, how far the answer on the first is from the truth, and how far it may be."""

    calls: Sequence[Call]
    error: Callable[[object], float]
    tolerance: float


@dataclass(frozen=True)
class Case:
    """What is compared.

    Args:
        key: what its targets are found by.
        rivals: one that gives a wrong answer, or cannot run here, is named as such and not timed.
        limits: calls that answer nothing, and show what the device can do.
        moved: bytes that have to be read and written, each once.
        settle: called before each call that is checked and each sample, to give all the same to start from.
        grad: whether autograd is part of what is timed.
        by_host: take the host's clock, launches included.
    """

    key: str
    operation: str
    shape: str
    dtype: str
    ours: Candidate
    rivals: Mapping[str, Candidate] = field(default_factory=dict)
    limits: Mapping[str, Sequence[Call]] = field(default_factory=dict)
    moved: int = 0
    settle: Callable[[], None] | None = None
    grad: bool = False
    by_host: bool = False

    @property
    def name(self) -> str:
        return f"{self.key} {self.shape}"


def contend(case: Case, run: Run) -> "Contest":
    """Check all candidates, time those that are right, and write rows and judged figures to the logbook.

    A quick run leaves out the rivals that no target names.
    """
    contest = Contest(case, run)
    with torch.set_grad_enabled(case.grad):
        contest.check()
        if contest.right.keys() & run.device.ours.keys():
            contest.time()
    contest.write()
    if not run.device.rehearses:
        contest.judge()
    return contest


def try_it(run: Run, stage: str, candidate: str, call: Callable[[], object]) -> tuple[object, str]:
    """Return what a call returns and "", or None and why it cannot run; DeviceLost where nothing can any more."""
    run.log.add("trying", stage=stage, candidate=candidate)
    try:
        found = call()
        run.device.synchronize()
        return found, ""
    except Exception as error:
        why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:200]
    gc.collect()
    try:
        run.device.synchronize()
    except RuntimeError as lost:
        raise DeviceLost(why) from lost
    run.device.free()
    return None, f"cannot run: {why}"


class Contest:
    """A comparison as it is held; `rounds` stays None where none of our answers was right, and nothing was timed.

    By candidate: how wrong its answer is, why it was not timed, what it launches, how long that takes the host, and
    the calls of who is right.
    """

    def __init__(self, case: Case, run: Run):
        self.case, self.run, self.aims = case, run, AIMS[run.device.kind].get(case.key, {})
        self.errors, self.notes, self.launched, self.host, self.right = {}, {}, {}, {}, {}
        self.rounds: Rounds | None = None

    def check(self) -> None:
        """Ask every candidate for its answer, ours into poisoned memory."""
        case, device, log = self.case, self.run.device, self.run.log
        banned = log.banned(case.name)
        checked = [row for row in log.of("check") if row["dtype"] == case.dtype and row["status"] == WRONG]
        parts = case.operation, "comoments" if case.operation in _OF_COMOMENTS else ""
        wrong = {row["candidate"] for row in checked if row["operation"] in parts}
        for name, fault in device.ours.items():
            why = f"absent: {fault}" if fault else f"{WRONG} in the checks" if name in wrong else banned.get(name)
            ours = replace(case.ours, calls=[device.forced(call, name) for call in case.ours.calls])
            self._check(name, ours, why, poisoned)
            if name in self.right and self.aims and device.kind == "cuda" and not device.rehearses:
                self._trace(name)
        for name, rival in case.rivals.items():
            if name in self.aims or not self.run.quick:
                self._check(name, rival, banned.get(name), nullcontext)

    def _trace(self, name: str) -> None:
        """Look at what a call of ours takes the device and the host."""
        call = self.right[name][0]
        self.launched[name], why = try_it(self.run, self.case.name, name, partial(self.run.device.launches, call))
        if not self.launched[name]:
            self.notes[name] = f"launches not counted: {why or 'the profiler has seen none'}"
        self.host[name], _ = try_it(self.run, self.case.name, name, partial(self.run.device.enqueue, call))

    def _check(self, name: str, candidate: Candidate, why: str | None, memory: Callable) -> None:
        def error() -> float:
            if self.case.settle is not None:
                self.case.settle()
            with memory():
                answer = candidate.calls[0]()
            return candidate.error(answer)

        found, why = (None, why) if why else try_it(self.run, self.case.name, name, error)
        if found is None:
            self.notes[name] = why
        elif found <= candidate.tolerance:
            self.errors[name], self.right[name] = found, candidate.calls
        else:  # NaN, too
            self.errors[name] = found
            self.notes[name] = f"{WRONG}: error {found:.0e}, at most {candidate.tolerance:.0e}"

    def time(self) -> None:
        """Time everyone who is right, and the limits; in a rehearsal only call them."""
        case, device, log, runs, calls = self.case, self.run.device, self.run.log, {}, {}
        for name, each in {**case.limits, **self.right}.items():
            log.add("trying", stage=case.name, candidate=name if name in self.right else None)
            runs[name], calls[name] = in_turn(each), 1
            if device.kind == "cuda" and not case.by_host and not case.grad and case.moved < REPLAYED:
                try:
                    runs[name], calls[name] = device.replay(each), len(each)
                except RuntimeError as error:
                    device.synchronize()
                    self.notes[name] = f"cannot be captured, and so its launches count: {type(error).__name__}"
        log.add("trying", stage=case.name, candidate=None)
        if device.rehearses:
            return run_all(list(runs.values()))
        clock = device.host_clock if case.by_host else device.clock
        taken = interleave(runs, settle=case.settle, clock=clock, seconds=self.run.seconds).seconds
        device.synchronize()
        self.rounds = Rounds({name: tuple(s / calls[name] for s in seconds) for name, seconds in taken.items()})

    def write(self) -> None:
        """Write a row a candidate; in a rehearsal none has a figure."""
        case, timed = self.case, self.rounds.seconds if self.rounds is not None else {}
        ours = [name for name in self.run.device.ours if name in timed]
        for name in dict.fromkeys([*timed, *case.limits, *self.run.device.ours, *self.errors, *self.notes]):
            seconds = self.rounds.of(name).to_dict() if name in timed else None
            over = {own: self.rounds.ratio(name, own).to_dict() for own in ours if own != name and seconds}
            note = self.notes.get(name, "")
            status = "timed" if seconds else "failed" if note else "rehearsed"
            status = next((word for word in ("absent", WRONG) if note.startswith(word)), status)
            what = {"operation": case.operation, "shape": case.shape, "dtype": case.dtype, "bytes": case.moved}
            what |= {"ours": name in self.run.device.ours, "status": status, "note": note}
            what |= {"error": self.errors.get(name), "launches": self.launched.get(name), "host": self.host.get(name)}
            self.run.log.add_row(case.name, name, seconds=seconds, over=over, **what)

    def judge(self) -> None:
        """Note how each of ours meets the targets; what was neither measured nor wrong was not run."""
        device = self.run.device
        for name, (beside, target) in itertools.product(device.ours, self.aims.items()):
            measured, note = self._figure(name, beside, target), self.notes.get(name, "")
            if measured is not None or note.startswith(WRONG):
                told = "" if self.case.dtype == "float32" else self.case.dtype, "" if name == OURS else name
                shape, dtype = " ".join(filter(None, (self.case.shape, *told))), getattr(torch, self.case.dtype)
                selected = device.selected(self.case.operation, dtype, self.case.moved // 2)
                self.run.log.judge(target, shape, measured, note, name, name == selected)

    def _figure(self, name: str, beside: str, target: Target) -> Spread | None:
        if beside == LAUNCHES:
            return Spread((float(len(self.launched[name])),)) if self.launched.get(name) else None
        timed = self.rounds.seconds if self.rounds is not None else {}
        if beside == TIME and name in timed:
            return self.rounds.of(name).map(lambda seconds: seconds * 1e6)
        if not {name, beside} <= timed.keys():
            return None
        # Our time over theirs where less is wanted.
        return self.rounds.ratio(*((name, beside) if target.less else (beside, name)))
