"""One comparison on a device: check every answer, then time those that are right, in turn."""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch

from benchmarks.gpu.device import Device, in_turn, poisoned
from benchmarks.gpu.journal import Journal
from benchmarks.scoreboard import Judged
from benchmarks.targets import Target
from sdfast.backends import table as backends
from sdfast.bench import Rounds, Spread, interleave

COPY = "device copy"
_PARTS = {  # the checks that speak for an operation
    "channel_bias": ("comoments", "channel_bias"),
    "static_dropout": ("static_dropout",),
    "pairwise_correlation": ("comoments", "pairwise_correlation"),
}
REPLAYED = 500_000_000  # bytes moved; below it a launch takes time beside the kernel, and graphs are replayed


class DeviceLost(RuntimeError):
    """A kernel has left the device so that this process can ask nothing more of it."""


@dataclass(frozen=True)
class Contender:
    """A call on one of the sets of inputs, and how far its answer on the first is from the truth, and may be."""

    run: Callable[[int], object]
    error: Callable[[object], float]
    tolerance: float


@dataclass(frozen=True)
class Aim:
    """A target, and beside whom our figure is to be taken."""

    target: Target
    beside: str = COPY


@dataclass(frozen=True)
class Case:
    """What is compared.

    Args:
        name, operation, shape, dtype: what it is called in the tables.
        moved: bytes that have to be read and written, each once.
        sets: how many sets of inputs take turns.
        ours: run with each backend.
        peers: beside ours.
        limits: calls that answer nothing, and show what the device can do.
        settle: called before each call that is checked and each sample.
        aims: what our figures are judged by.
        launches: judge how many launches ours is; None not to count them.
        grad: whether autograd is part of what is timed.
        by_host: take the host's clock, launches included.
    """

    name: str
    operation: str
    shape: str
    dtype: str
    moved: int
    sets: int
    ours: Contender
    peers: Mapping[str, Contender] = field(default_factory=dict)
    limits: Mapping[str, Callable[[int], object]] = field(default_factory=dict)
    settle: Callable[[], None] | None = None
    aims: Sequence[Aim] = ()
    launches: Target | None = None
    grad: bool = False
    by_host: bool = False


@dataclass(frozen=True)
class Context:
    """What a stage has of its run: `backends` says of each why it cannot be used, or None."""

    device: Device
    journal: Journal
    backends: Mapping[str, str | None]
    seed: int
    seconds: float
    quick: bool


def with_backend(run: Callable, name: str) -> Callable:
    """Return a call that runs with a backend of sdfast."""

    def forced(*args):
        with backends.use_backend(name):
            return run(*args)

    return forced


def try_it(context: Context, stage: str, candidate: str, run: Callable[[], float]) -> tuple[float | None, str]:
    """Return what a call returns and "", or None and why it cannot run; DeviceLost where nothing can any more."""
    context.journal.add("trying", stage=stage, candidate=candidate)
    try:
        found = run()
        context.device.synchronize()
        return found, ""
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]
        gc.collect()
        try:
            context.device.synchronize()
        except RuntimeError as lost:
            raise DeviceLost(why) from lost
        if not context.device.rehearses:
            torch.cuda.empty_cache()
        return None, f"cannot run: {why}"


def race(case: Case, context: Context) -> None:
    """Check all contenders, time those that are right, and write rows and judged figures to the journal."""
    with nullcontext() if case.grad else torch.no_grad():
        _Race(case, context).hold()


class _Race:
    def __init__(self, case: Case, context: Context):
        self.case, self.context, self.device = case, context, context.device
        self.ours = {name: why for name, why in context.backends.items()}
        self.errors: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        self.launched: dict[str, list[str]] = {}
        self.right: dict[str, Callable[[int], object]] = {}

    def hold(self) -> None:
        self.check()
        rounds = self.time() if set(self.right) & set(self.ours) else None
        self.write(rounds)

    def check(self) -> None:
        case = self.case
        banned = self.context.journal.banned(case.name)
        wrong = {
            (each["operation"], each["candidate"], each["dtype"])
            for each in self.context.journal.of("check")
            if each["status"] == "WRONG"
        }
        contenders = {name: (case.ours, why) for name, why in self.ours.items()}
        contenders |= {name: (peer, None) for name, peer in case.peers.items()}
        for name, (contender, why) in contenders.items():
            is_ours = name in self.ours
            run = with_backend(contender.run, name) if is_ours else contender.run
            if why is not None:
                self.notes[name] = f"absent: {why}"
            elif name in banned:
                self.notes[name] = banned[name]
            elif any((operation, name, case.dtype) in wrong for operation in _PARTS.get(case.operation, ())):
                self.notes[name] = "WRONG in the checks"
            else:
                error, self.notes[name] = try_it(
                    self.context, case.name, name, partial(self._error, contender, run, is_ours)
                )
                if error is not None:
                    self.errors[name] = error
                    if not error <= contender.tolerance:
                        self.notes[name] = f"WRONG: error {error:.0e}, at most {contender.tolerance:.0e}"
                    else:
                        self.right[name] = run
                        if is_ours and case.launches is not None:
                            self._count_launches(name, run)

    def _count_launches(self, name: str, run: Callable) -> None:
        found, why = try_it(self.context, self.case.name, name, partial(self.device.launches, partial(run, 0)))
        if found:
            self.launched[name] = found
        elif not self.device.rehearses:
            self.notes[name] = f"launches not counted: {why or 'the profiler has seen none'}"

    def _error(self, contender: Contender, run: Callable, is_ours: bool) -> float:
        if self.case.settle is not None:
            self.case.settle()
        with poisoned() if is_ours else nullcontext():
            answer = run(0)
        return contender.error(answer)

    def time(self) -> Rounds:
        """Return the seconds a call of everyone who is right, and of the limits."""
        case, calls, runs = self.case, {}, {}
        replayed = not case.by_host and not case.grad and case.moved < REPLAYED
        for name, run in {**case.limits, **self.right}.items():
            self.context.journal.add("trying", stage=case.name, candidate=name if name in self.right else None)
            runs[name], calls[name] = in_turn(run, case.sets), 1
            if replayed:
                try:
                    runs[name], calls[name] = self.device.replay(run, case.sets), case.sets
                except RuntimeError as error:
                    self.device.synchronize()
                    self.notes[name] = f"cannot be captured, and so its launches count: {type(error).__name__}"
        self.context.journal.add("trying", stage=case.name, candidate=None)
        clock = self.device.host_clock if case.by_host else self.device.clock
        rounds = interleave(runs, settle=case.settle, clock=clock, seconds=self.context.seconds)
        self.device.synchronize()
        return Rounds({name: tuple(s / calls[name] for s in taken) for name, taken in rounds.seconds.items()})

    def write(self, rounds: Rounds | None) -> None:
        """Write a row a contender; in a rehearsal none has a figure."""
        case, timed = self.case, rounds.seconds if rounds is not None and not self.device.rehearses else {}
        for name in [*case.limits, *self.ours, *case.peers]:
            is_ours, launched = name in self.ours, self.launched.get(name)
            spread = rounds.of(name) if name in timed else None
            of_copy = rounds.ratio(COPY, name) if spread is not None and COPY in timed else None
            others = [other for other in timed if other != name] if is_ours and spread is not None else []
            over = {other: rounds.ratio(other, name) for other in others}
            self.context.journal.add(
                "row",
                stage=case.name,
                operation=case.operation,
                shape=case.shape,
                dtype=case.dtype,
                candidate=name,
                ours=is_ours,
                seconds=spread and spread.to_dict(),
                bytes=case.moved,
                bytes_a_second=spread and case.moved / spread.median,
                of_copy=of_copy and of_copy.to_dict(),
                times_ours={peer: ratio.to_dict() for peer, ratio in over.items()},
                error=self.errors.get(name),
                launches=launched,
                status=self._status(name, spread),
                note=self.notes.get(name, ""),
            )
        if not self.device.rehearses:
            self._judge(rounds)

    def _status(self, name: str, spread: Spread | None) -> str:
        note = self.notes.get(name, "")
        for status in ("absent", "WRONG"):
            if note.startswith(status):
                return status
        if spread is not None:
            return "timed"
        return "failed" if note else "rehearsed"

    def _judge(self, rounds: Rounds | None) -> None:
        selected = backends.chosen(self.case.operation, self.device.torch.type)
        for name in self.ours:
            for aim in self.case.aims:
                timed = rounds is not None and {name, aim.beside} <= rounds.seconds.keys()
                measured = rounds.ratio(aim.beside, name) if timed else None
                self._note_judged(aim.target, name, name == selected, measured)
            if self.case.launches is not None:
                measured = Spread((float(len(self.launched[name])),)) if name in self.launched else None
                self._note_judged(self.case.launches, name, name == selected, measured)

    def _note_judged(self, target: Target, name: str, selected: bool, measured: Spread | None) -> None:
        """Note a figure that was measured or is of a wrong answer; what was neither was not run."""
        note = self.notes.get(name, "")
        if measured is not None or note.startswith("WRONG"):
            figure = Judged(target, f"{self.case.shape} {name}", measured, note).to_dict()
            self.context.journal.add("judged", **figure, candidate=name, selected=selected)
