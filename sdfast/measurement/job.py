"""The main job: what each layer of a model encodes, from pairs of clips."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdfast.measurement.batches import Share
from sdfast.measurement.capture import Capture, Key, untouched
from sdfast.measurement.journal import Journal, describe_job
from sdfast.measurement.processes import Peers
from sdfast.models import check_model, match_channel_dims, match_layers
from sdfast.report import BiasReport, check_reading
from sdfast.statistics import CoMoments


def measure(
    model: nn.Module,
    pairs: Any,
    layers: str | Sequence[str],
    *,
    kind: str = "pearson",
    threshold: float = 0.5,
    device: torch.device | str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    progress: bool = True,
    channel_dim: int | Mapping[str, int] | None = None,
    resume: str | os.PathLike | None = None,
) -> dict[str, BiasReport]:
    """Measure the static and dynamic information of a model's layers.

    Both clips of a pair go through the model in one forward pass, in eval mode and without gradients. The features
    are consumed as they appear: memory is O(layers x channels), whatever the number of pairs. Afterwards the model
    is as it was, also when this raises. Under `torch.distributed` each process takes every world-size-th batch and
    all return the same reports.

    Args:
        model: any module; it is called with one tensor, the clips of a batch.
        pairs: a map-style dataset of (clip_a, clip_b, factor), for example `sdfast.pairs.VideoPairs`: clips are
            tensors or NumPy arrays of one shape, factor is 0 (dynamic) or 1 (static). Anything else is iterated
            over and yields whole batches, clips (N, ...) twice and factor (N,) integer.
        layers: names or glob patterns of `model.named_modules()`.
        kind: "pearson", or "intraclass" as the authors' code computes it.
        threshold: a channel encodes a factor when its correlation exceeds this.
        device: where to run; the model goes there and back. Default: where the model is.
        batch_size: pairs a batch, of a map-style dataset.
        num_workers: processes that load a map-style dataset.
        progress: show a progress bar on stderr.
        channel_dim: the dimension of the channels in the layers' outputs, for all layers or by name or pattern.
            Default: 1 of convolutions and batch norms, the last of linear layers, layer norms and 3-D outputs
            (N, tokens, C), else 1.
        resume: a folder for the state of the measurement, written after each batch. A run that finds its own state
            there goes on from it. Pairs are recognised by their `fingerprint()`, as those of sdfast.pairs have it,
            and without one by their class and number only. The files are the caller's to delete.

    Returns:
        A report for each layer, in the order they first ran. A layer called several times in one forward pass has
        one a call: `name#1`, `name#2`, ... An output of k times as many rows as there were clips is read as k
        positions of each clip, clip by clip.

    Raises:
        ValueError: an argument or an output does not fit, a pattern matches nothing, or the state in `resume` is
            damaged or of another job (`sdfast.measurement.CheckpointError`).
        TypeError: an argument is of another type, or a layer returns no floating-point tensor.
        sdfast.measurement.PeerError: another process failed.

    Source: Kowal et al., TPAMI 2024, doi 10.1109/TPAMI.2024.3462291.

    >>> import torch, sdfast
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.ReLU())
    >>> clips = torch.rand(8, 2, 3, 4, 8, 8)
    >>> pairs = [(a, b, i % 2) for i, (a, b) in enumerate(clips)]
    >>> reports = sdfast.measure(model, pairs, layers=["0", "1"], progress=False)
    >>> {name: report.num_channels for name, report in reports.items()}
    {'0': 4, '1': 4}
    """
    with Peers() as peers:
        check_reading(kind, threshold)  # now, not at the end
        check_model(model)
        with untouched(model, device) as device:
            matches = match_layers(model, layers)
            channel_dims = match_channel_dims(model, channel_dim, matches)
            share = Share(pairs, batch_size, num_workers, peers.rank, peers.world, pin_memory=device.type == "cuda")
            capture = Capture(model, matches, channel_dims)
            journal = None
            if resume is not None or peers.world > 1:
                job = describe_job(model, share, matches, channel_dims)
                peers.agree("job", job)
                if resume is not None:
                    journal = Journal(Path(resume), job, peers.rank, peers.world)
                    share.done = journal.restore(capture)
            _run(model, share, capture, device, peers, progress, journal)
            peers.wait("measured")
            states = _reduced(capture.states, peers, device)
        return _reports(states, kind, threshold)


def _run(
    model: nn.Module,
    share: Share,
    capture: Capture,
    device: torch.device,
    peers: Peers,
    progress: bool,
    journal: Journal | None,
) -> None:
    from tqdm import tqdm  # only here: who measures no model needs none

    total = share.num_pairs
    seen = 0 if total is None else min(total, share.done * share.batch_size * peers.world)
    silent = not progress or peers.rank > 0
    first = True
    with capture, tqdm(total=total, initial=seen, unit=" pairs", disable=silent, dynamic_ncols=True) as bar:
        for clips_a, clips_b, factor in share:
            capture.expect(factor.to(device, non_blocking=True))
            model(torch.cat([clips.to(device, non_blocking=True) for clips in (clips_a, clips_b)]))
            if first:
                capture.check_all_ran()
                first = False
            share.done += 1
            if journal is not None:
                journal.write(capture, share.done)
            peers.progress()
            # The other processes are as far as this one, give or take a batch.
            seen += len(factor) * peers.world
            bar.update((seen if total is None else min(seen, total)) - bar.n)


def _reduced(states: Mapping[Key, CoMoments], peers: Peers, device: torch.device) -> dict[Key, CoMoments]:
    """Return the states merged over all processes, of all layers that any process has seen."""
    channels: dict[Key, int] = {}
    for theirs in peers.gather({key: state.moments.shape[2] for key, state in states.items()}):
        for key, size in theirs.items():
            if channels.setdefault(key, size) != size:
                raise ValueError(
                    f"layer {key[0]!r}: expected {channels[key]} channels everywhere, got {size} elsewhere"
                )
    if not channels:
        raise ValueError("pairs: expected at least one pair, got none")
    if peers.world == 1:
        return dict(states)
    device = device if peers.on_device else torch.device("cpu")
    reduced = {}
    for key, size in channels.items():
        # A process without a batch takes part with an empty state.
        state = reduced[key] = CoMoments(size, device=device)
        if key in states:
            state.load_state_dict(states[key].state_dict())
        state.reduce()
    return reduced


def _reports(states: Mapping[Key, CoMoments], kind: str, threshold: float) -> dict[str, BiasReport]:
    repeated = {name for name, call in states if call}
    reports = {}
    for (layer, call), state in states.items():
        name = f"{layer}#{call + 1}" if layer in repeated else layer
        reports[name] = BiasReport(state.moments, kind, threshold, name)
    return reports
