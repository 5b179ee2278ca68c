"""The main job: what each layer of a model encodes, from pairs of clips."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from sdfast.foundation import StrPath, check_integer
from sdfast.measurement.accumulation import Forward, accumulate
from sdfast.measurement.heads import by_head, check_heads
from sdfast.measurement.processes import Processes
from sdfast.measurement.stopping import NEVER, SharesKnown, Stopping, ran_out
from sdfast.models import check_model, match_dims, match_layers
from sdfast.report import BiasReport, check_reading
from sdfast.statistics import SAMPLE_ESTIMATORS, GroupedCoMoments, KeptSamples, SampledCoMoments


def measure(
    model: nn.Module,
    pairs: Any,
    layers: str | Sequence[str],
    *,
    kind: str = "pearson",
    threshold: float = 0.5,
    device: torch.device | str | None = None,
    distributed: bool | float = True,
    batch_size: int = 8,
    num_workers: int = 0,
    progress: bool | str = True,
    channel_dim: int | Mapping[str, int] | None = None,
    resume: StrPath | None = None,
    until: float | None = None,
    estimator: str = "gaussian",
    neighbors: int = 3,
    keep_in: StrPath | None = None,
    batch_dim: int | Mapping[str, int] | None = None,
    forward: Forward | None = None,
    heads: int | Mapping[str, int] | None = None,
    timeout: float | None = None,
) -> dict[str, BiasReport]:
    """Measure the static and dynamic information of a model's layers.

    Both clips of a pair go through the model in one forward pass, in eval mode and without gradients. The features
    are consumed as they appear: memory is O(layers x channels), whatever the number of pairs. Afterwards the model
    is as it was, also when this raises. Under `torch.distributed` the processes share the batches of a map-style
    dataset as each asks for more, and all return the same reports: to the last bit those of any other run of as many
    processes, and to 1e-12 those of one. Of an iterable, with `until`, and of a sharded model each takes every
    world-size-th batch.

    Args:
        model: any module; it is called with the clips of a batch: a tensor or a list as it is, a tuple as arguments,
            a dict as arguments by name.
        pairs: a map-style dataset of (clip_a, clip_b, factor) or (clip_a, clip_b, factor, source), for example
            `sdfast.pairs.VideoPairs`: factor is 0 (dynamic) or 1 (static), source the number of the video that the
            pair was cut from; without it every pair is a source of its own. Clips are tensors or NumPy arrays of one
            shape, or tuples, lists and dicts of them, to any depth; what else is in there has to be the same in all.
            What a processor of transformers returns is a batch of one, and is joined to others along the first
            dimension. Anything but a map-style dataset is iterated over and yields whole batches, clips (N, ...) twice,
            factor (N,) integer or bool and, if at all, source (N,) integer.
        layers: names or glob patterns of the model's modules, less what torch.compile or DistributedDataParallel have
            put around them: `blocks.*` are the direct children of blocks, `blocks.**` is all below.
        kind: "pearson", or "intraclass" as the authors' code computes it.
        threshold: a channel encodes a factor when its correlation exceeds this.
        device: where to run; the model goes there and back. Default: where the model is.
        distributed: under `torch.distributed`, whether all processes share the pairs; all of them have to call this
            then, within 30 seconds or as many as are given here. False: this process measures all pairs alone.
        batch_size: pairs a batch, of a map-style dataset or of an iterable of single pairs.
        num_workers: processes that load a map-style dataset.
        progress: show a progress bar on stderr; a string is its title.
        channel_dim: the dimension of the channels in the layers' outputs, for all layers or by name or pattern.
            Default: by the types and sizes of the layer, or of what it holds; where these say nothing the last of 3-D
            outputs (N, tokens, C), else 1. Where they contradict the shape it has to be given.
        resume: a folder for the state of the measurement, written after each batch; if it is larger than 8 MB, as
            often as takes 2 % of the time. A run that finds states of its own there goes on from them, with whatever
            number of processes. The folder is locked meanwhile, so that no other run writes to it. Pairs are recognised
            by their `fingerprint()`, as those of sdfast.pairs have it, and without one by their class and number
            only. The files stay; `sdfast.measurement.forget_states` deletes them.
        until: stop as soon as the share of every layer is known to ± this fraction of it, by intervals at 95 %, of at
            least 20 sources; `pairs` are the most that is measured then. It is looked up whenever there are 10 % more
            pairs. If they run out first, a warning says so. There is no stopping when the classes of the channels are
            determined: whoever waits for that ends with a wrong class in 37 % of cases.
        estimator: of the mutual information: "gaussian" follows from the sums; "copula" and "kraskov", see
            `sdfast.channel_bias`, need all pooled features at once: 8 bytes a channel and pair, which a line on stderr
            says of the layers before the second batch. Classes, scores and shares are those of `kind` all the same,
            which has to be "pearson", so that `until` stops where it would with "gaussian", and "kraskov" not before
            each factor has more pairs than `neighbors`.
        neighbors: how many of them "kraskov" looks at.
        keep_in: a folder for a file with these features instead of memory. The file has no name and goes with the run.
        batch_dim: the dimension of the clips in the layers' outputs, as `channel_dim` has it. Default: the first, where
            it has as many rows as there were clips and no other may be meant. Else the first batch runs again, and
            before it the first pair alone: the dimension that follows the number of clips is that of the clips.
        forward: runs the model on a batch of clips, if it is not simply called: `lambda model, clips: ...`.
        heads: how many heads share the channels of layers, in equal parts one after the other, for all layers or by
            name or pattern: each head has a report of its own then, `name.head0`, `name.head1`, ... After an output
            projection the parts are no heads any more: name what runs before it. `nn.MultiheadAttention` is refused;
            of layers that names and classes tell as such projections, or as attention with one, a warning says so.
        timeout: seconds without a sign of life from a process, or without a batch while others wait for it or while one
            is loaded; where batches take longer, ten times the longest. Default: the variable SDFAST_TIMEOUT, or 45.

    Returns:
        A report for each layer, in the order they first ran. A layer called several times in one forward pass has
        one a call: `name#1`, `name#2`, ... An output of k times as many rows as there were clips is read as k
        positions of each clip: in the order that the values of the first clip show, with `batch_dim` clip by clip.

    Raises:
        ValueError: an argument or an output does not fit, a pattern matches nothing, or the state in `resume` is
            damaged or of another job (`sdfast.measurement.CheckpointError`).
        TypeError: an argument is of another type, or a layer returns no floating-point tensor.
        sdfast.measurement.PeerError: another process failed, is gone or stuck, or did not begin in time.
        TimeoutError: a batch is not loaded any more.
        OSError: another run writes to the folder `resume`, or it cannot be written to.

    Source: Kowal et al., TPAMI 2024, doi 10.1109/TPAMI.2024.3462291.

    >>> import torch, sdfast
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.ReLU())
    >>> clips = torch.rand(8, 2, 3, 4, 8, 8)
    >>> pairs = [(a, b, i % 2) for i, (a, b) in enumerate(clips)]
    >>> reports = sdfast.measure(model, pairs, layers=["0", "1"], progress=False)
    >>> {name: report.num_channels for name, report in reports.items()}
    {'0': 4, '1': 4}
    """
    with Processes(distributed, timeout) as processes:
        matches, channel_dims = check_settings(model, layers, kind, threshold, channel_dim)
        numbers = check_heads(model, match_dims("heads", model, heads, matches))
        check_estimator(estimator, neighbors, kind)
        kept = estimator != "gaussian"

        def make_state(num_channels: int, device: torch.device) -> GroupedCoMoments:
            if kept:
                return SampledCoMoments(num_channels, device=device, folder=keep_in)
            return GroupedCoMoments(num_channels, device=device)

        stopping: Stopping[GroupedCoMoments] = NEVER
        if until is not None:
            stopping = SharesKnown(until, kind, least_pairs=neighbors + 1 if estimator == "kraskov" else 0)
        states = accumulate(
            model,
            pairs,
            matches,
            channel_dims,
            make_state,
            processes,
            device=device,
            batch_size=batch_size,
            num_workers=num_workers,
            progress=progress,
            resume=resume,
            stopping=stopping,
            batch_dims=match_dims("batch_dim", model, batch_dim, matches),
            told=partial(_memory, estimator, keep_in, until is not None) if kept else None,
            forward=forward,
            heads=numbers,
        )
        reports: dict[str, BiasReport] = {}
        for name, state in states.items():
            known: dict[str, Any] = {"sources": state.num_sources}
            if isinstance(state, SampledCoMoments):
                known |= {"estimator": estimator, "information": state.kept.information(estimator, neighbors)[0]}
            report = BiasReport(state.moments, kind, threshold, name, **known)
            found = {name: report, **by_head(report, numbers.get(name.partition("#")[0]))}
            if taken := reports.keys() & found.keys():
                raise ValueError(f"heads: {', '.join(sorted(taken))} is the name of a layer and of a head; measure one")
            reports |= found
        if until is not None and processes.rank == 0 and (unmet := ran_out(reports, until)):
            warnings.warn(unmet, stacklevel=2)
    return reports


def _memory(estimator: str, keep_in: StrPath | None, at_most: bool, channels: Sequence[int], pairs: int | None) -> str:
    """Return how much room the samples of layers with so many channels take, in words."""
    size = sum(KeptSamples.num_bytes(1000 if pairs is None else pairs, number) for number in channels)
    where = "in memory" if keep_in is None else f"in a file in {keep_in}"
    number = "every 1,000 pairs" if pairs is None else "at most " * at_most + f"{pairs:,} pairs"
    return f"{estimator}: the features of {number} take {size / 1e6:,.3g} MB {where}"


def check_estimator(estimator: str, neighbors: int, kind: str) -> None:
    """Raise ValueError unless `measure` can estimate the mutual information so; the arguments are those of it.

    >>> check_estimator("kraskov", 3, "pearson")
    """
    if estimator == "gaussian":
        return
    if estimator not in SAMPLE_ESTIMATORS:
        raise ValueError(f"estimator: expected one of gaussian, {', '.join(SAMPLE_ESTIMATORS)}, got {estimator!r}")
    if kind != "pearson":
        raise ValueError(f"kind: expected 'pearson' with estimator={estimator!r}, got {kind!r}")
    check_integer("neighbors", neighbors, 1)


def check_settings(
    model: nn.Module,
    layers: str | Sequence[str],
    kind: str = "pearson",
    threshold: float = 0.5,
    channel_dim: int | Mapping[str, int] | None = None,
) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
    """Check what `measure` is told before anything has run; the arguments, and what they raise, are those of it.

    Returns:
        The layers that each name or pattern matches, and the dimension of the channels by layer, where it was given.

    >>> check_settings(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), "*", channel_dim={"0": -1})
    ({'*': ('0', '1')}, {'0': -1})
    """
    check_reading(kind, threshold)
    check_model(model)
    matches = match_layers(model, layers)
    return matches, match_dims("channel_dim", model, channel_dim, matches)
