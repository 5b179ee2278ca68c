"""All pairs through a model once, and a state for each layer at the end, whatever statistic keeps it."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from sdfast.foundation import StrPath, progress_bar
from sdfast.measurement.batches import Share, Sourced
from sdfast.measurement.capture import Capture, Key, MakeState, State, untouched
from sdfast.measurement.journal import Journal, describe_job
from sdfast.measurement.processes import Processes
from sdfast.measurement.sharded import check_sharded
from sdfast.measurement.stopping import NEVER, Stopping
from sdfast.measurement.time_first import refuse_time_first
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
    stopping: Stopping[State] = NEVER,
    told: Callable[[Sequence[int], int | None], str] | None = None,
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
    with untouched(model, device) as device:
        rank, world = processes.rank, processes.world
        share = Share(pairs, batch_size, num_workers, rank, world, pin_memory=device.type == "cuda")
        check_sharded(model, share.num_batches, world, resume is not None)
        capture = Capture(model, matches, channel_dims, make_state, batch_dims, heads)
        journal = None
        if resume is not None or world > 1:
            job = describe_job(model, share, matches, channel_dims, batch_dims, make_state, forward)
            processes.agree("job", {**job, "until": stopping.until})
            if resume is not None:
                journal = Journal(Path(resume), job, make_state, rank, world)
                share.done = journal.restore(capture)
        processes.wait("restored")
        # Whoever got further was asked there and was not sure; it does not wait for the others to get there.
        first = max(processes.gather(share.done))

        def make_asked(num_channels: int, device: torch.device) -> State:
            return stopping.asked_of(make_state(num_channels, device))

        def enough() -> bool:
            if share.done < first or not stopping.due(share.done):
                return False
            # Where one has run out of pairs, so have the others after their last batch.
            if not processes.wait(f"{share.done} batches", unless="measured"):
                return False
            asked = {key: stopping.asked_of(state) for key, state in capture.states.items()}
            return stopping.reached(_named(_reduced(asked, make_asked, processes, device)))

        run = partial(forward or call_model, model)
        _run(model, run, share, capture, device, processes, progress, journal, enough, stopping, told)
        processes.wait("measured")
        return _named(_reduced(capture.states, make_state, processes, device))


def _run(
    model: nn.Module,
    run: Callable[[Clips], Any],
    share: Share,
    capture: Capture[State],
    device: torch.device,
    processes: Processes,
    progress: bool | str,
    journal: Journal[State] | None,
    enough: Callable[[], bool],
    stopping: Stopping[State],
    told: Callable[[Sequence[int], int | None], str] | None,
) -> None:
    total = share.num_pairs
    seen = 0 if total is None else min(total, share.done * share.batch_size * processes.world)
    silent = not progress or processes.rank > 0
    first = True
    with capture, progress_bar(total, "pairs", not silent and progress, seen) as bar:
        for clips_a, clips_b, factor, source in _until(enough, share):
            bar.set_postfix_str(stopping.status, refresh=False)
            capture.expect(*(x.to(device, non_blocking=True) for x in (factor, source)))
            clips = join_clips(clips_a, clips_b, device)
            with refuse_time_first(model, clips) if first else nullcontext():
                run(clips)
            if capture.unclear:
                capture.settle(run, clips)
            if first:
                capture.check_all_ran()
                first = False
                if told is not None and not silent:
                    channels = [state.num_channels for state in capture.states.values()]
                    bar.write(told(channels, total), file=sys.stderr)
            share.done += 1
            if journal is not None:
                journal.write(capture, share.done)
            processes.progress()
            # The other processes are as far as this one, give or take a batch.
            seen += len(factor) * processes.world
            bar.update((seen if total is None else min(seen, total)) - bar.n)
        bar.set_postfix_str(stopping.status, refresh=False)
        if journal is not None:
            journal.write(capture, share.done, last=True)


def _until(enough: Callable[[], bool], share: Share) -> Iterator[Sourced]:
    """Yield batches; asks before each, also before the first, as an earlier run may have measured enough."""
    batches = iter(share)
    while not enough() and (batch := next(batches, None)) is not None:
        yield batch


def _reduced(
    states: Mapping[Key, State], make_state: MakeState[State], processes: Processes, device: torch.device
) -> dict[Key, State]:
    """Return the states merged over all processes, of all layers that any process has seen."""
    channels: dict[Key, int] = {}
    for theirs in processes.gather({key: state.num_channels for key, state in states.items()}):
        for key, size in theirs.items():
            if channels.setdefault(key, size) != size:
                raise ValueError(
                    f"layer {key[0]!r}: expected {channels[key]} channels everywhere, got {size} elsewhere"
                )
    if not channels:
        raise ValueError("pairs: expected at least one pair, got none")
    if processes.world == 1:
        return dict(states)
    device = device if processes.on_device else torch.device("cpu")
    reduced = {}
    for key, size in channels.items():
        # A process without a batch takes part with an empty state.
        reduced[key] = states[key].to(device) if key in states else make_state(size, device)
        reduced[key].reduce()
    return reduced


def _named(states: Mapping[Key, State]) -> dict[str, State]:
    repeated = {name for name, call in states if call}
    return {f"{name}#{call + 1}" if name in repeated else name: state for (name, call), state in states.items()}
