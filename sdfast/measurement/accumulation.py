"""All pairs through a model once, and a state for each layer at the end, whatever statistic keeps it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import tee
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from sdfast.foundation import FolderLock, StrPath, remove_parts
from sdfast.measurement.batches import Batches, Sourced
from sdfast.measurement.capture import Capture, MakeState, State, untouched
from sdfast.measurement.checks import Checks, by_report
from sdfast.measurement.dealing import Dealing
from sdfast.measurement.exchange import merged, spread
from sdfast.measurement.journal import Journal, describe_job
from sdfast.measurement.numbers import Numbers
from sdfast.measurement.pieces import Piece, Pieces, Plan
from sdfast.measurement.processes import Processes
from sdfast.measurement.progress import Progress, Told
from sdfast.measurement.sharded import check_sharded
from sdfast.measurement.stopping import NEVER, Stopping
from sdfast.measurement.time_first import refuse_time_first
from sdfast.measurement.watch import LOADING, WRITING
from sdfast.models import Clips, call_model, join_clips

# Runs a model on a batch of clips; what it returns is not looked at.
Forward = Callable[[nn.Module, Clips], Any]


def accumulate(
    model: nn.Module,
    pairs: Any,
    matches: Mapping[str, Sequence[str]],
    channel_dims: Mapping[str, int],
    make_state: MakeState[State],
    processes: Processes,
    *,
    device: torch.device | str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    progress: bool | str = True,
    resume: StrPath | None = None,
    stopping: Stopping[Any] = NEVER,
    told: Told | None = None,
    batch_dims: Mapping[str, int] = MappingProxyType({}),
    forward: Forward | None = None,
    heads: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, State]:
    """Return the states of the layers, each with the pairs of all processes, by the names of their reports.

    Args:
        matches: the layers, by pattern.
        channel_dims: where their channels are, by layer.
        make_state: makes an empty state from a number of channels and a device.
        processes: those that share the pairs.
        progress: show a progress bar on stderr; a string is its title.
        stopping: asked every so often whether the pairs so far are enough.
        told: from the numbers of channels of all states, and how many pairs there will be, to a line for stderr.
        batch_dims: where their clips are, by layer.
        forward: runs the model on a batch of clips.
        heads: how many heads share the channels of a layer.

    The other arguments, and what they raise, are those of `measure`.
    """
    with untouched(model, device) as device, _locked(resume, processes) as lock:
        batches = Batches(pairs, batch_size, num_workers, pin_memory=device.type == "cuda")
        sharded = check_sharded(model, batches.number, processes.world, resume is not None)
        # Batches are dealt out as they are asked for where they may be, and processes do not wait for each other
        # anyhow: at the checks of `until`, or in each layer of a sharded model.
        as_asked = batches.as_asked and stopping is NEVER and not sharded
        plan = Plan.of(batches.number, processes.world, strided=not as_asked)
        journal: Journal | None = None
        found: list[Piece] = []
        held, started = Numbers(), set[int]()
        if resume is not None or processes.world > 1:
            job = describe_job(model, batches, matches, channel_dims, batch_dims, make_state, forward)
            processes.agree("job", {**job, "until": stopping.until})
            if resume is not None:
                journal = Journal(Path(resume), job, make_state, lock)
                found, held, started = journal.restore(plan, processes)
        pieces = Pieces(plan, found, held)
        dealing = Dealing(pieces, started, processes, as_asked=not plan.strided)
        checks = Checks(stopping, pieces, make_state, processes, after=held.last + 1 if held else 0)
        processes.wait("dealt")
        capture = Capture(model, matches, channel_dims, make_state, batch_dims, heads)
        run = partial(forward or call_model, model)
        dealt = _dealt(batches, dealing, checks, processes)
        shown = progress if processes.rank == 0 else False
        with capture, Progress(shown, batches, len(held), stopping, told) as bar:
            _run(model, run, dealt, pieces, capture, device, journal, processes, bar)
        total = merged(pieces.base, pieces.all(), make_state, processes)
        if not processes.from_first("found", total is not None):
            raise ValueError("pairs: expected at least one pair, got none")
        whole = spread(total, make_state, processes)
        assert whole is not None, "process 0 has it"
        return cast(dict[str, State], by_report(whole.states))


def _dealt(
    batches: Batches, dealing: Dealing, checks: Checks, processes: Processes
) -> Iterator[tuple[int, int, bool, Sourced]]:
    """Yield (part, number, whether it is the last of the part, batch) until there is no more, or all have enough."""
    upcoming, numbers = tee(dealing.batches())
    loaded = batches.load(number for _, number, _ in numbers)
    for part, number, last in upcoming:
        if checks.enough(number, batches.number):
            return
        processes.watch.doing = f"{LOADING} batch {number}"
        batch = next(loaded, None)
        if batch is None:
            break
        processes.watch.doing = f"measuring batch {number}"
        yield part, number, last, batch
    processes.watch.doing = "done"
    checks.enough(None, batches.number)


def _run(
    model: nn.Module,
    run: Callable[[Clips], Any],
    dealt: Iterator[tuple[int, int, bool, Sourced]],
    pieces: Pieces,
    capture: Capture[Any],
    device: torch.device,
    journal: Journal | None,
    processes: Processes,
    bar: Progress,
) -> None:
    """Run the model on batches, and put what its layers return into the pieces."""
    first = True
    for part, number, last, (clips_a, clips_b, factor, source) in dealt:
        piece = pieces.of(part)
        capture.states = piece.states
        capture.expect(*(x.to(device, non_blocking=True) for x in (factor, source)))
        clips = join_clips(clips_a, clips_b, device)
        with refuse_time_first(model, clips) if first else nullcontext():
            run(clips)
        if capture.unclear:
            capture.settle(run, clips)
        if first:
            capture.check_all_ran()
            bar.began([state.num_channels for state in capture.states.values()])
        first = False
        piece.add(number)
        if last:
            piece = pieces.done(part)
        if journal is not None:
            processes.watch.doing = f"{WRITING} the state after batch {number}"
            journal.write(piece)
        bar.measured(len(factor))
        bar.show(processes.progress())
    if journal is not None:
        for piece in pieces.all():
            journal.write(piece, last=True)
    processes.wait("measured")
    bar.show(processes.progress(batches=0))


@contextmanager
def _locked(folder: StrPath | None, processes: Processes) -> Iterator[FolderLock | None]:
    """Keep other runs out of a folder of state files; process 0 does it for all."""
    if folder is None or processes.rank > 0:
        yield None
        return
    with FolderLock(folder) as lock:
        remove_parts(folder)  # the others write when they have agreed with this one
        yield lock
