"""The causal check of the classes: what a model loses without their channels, beside as many at random."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sdfast.foundation import check_integer, progress_bar
from sdfast.measurement import Forward, untouched
from sdfast.models import call_model, first_tensor
from sdfast.report import LABELS, AblationReport, BiasReport, Estimate, Loss
from sdfast.statistics import GROUPS, Spread
from sdfast.training.ablation import ablate
from sdfast.training.undisturbed import undisturbed

_LEVEL = 0.95


def ablation_losses(
    model: nn.Module,
    clips: Any,
    reports: Mapping[str, BiasReport],
    *,
    classes: Sequence[str] = ("static", "dynamic"),
    how: str = "zero",
    labels: Tensor | None = None,
    draws: int = 20,
    seed: int = 0,
    device: torch.device | str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    progress: bool | str = True,
    channel_dim: int | Mapping[str, int] | None = None,
    forward: Forward | None = None,
) -> AblationReport:
    """Measure what a model loses when the channels of a class are switched off, layer by layer.

    Every clip goes through the model once as it is, and once for each layer, class and draw: in eval mode, without
    gradients, in this process alone. The control is as many channels drawn from those of the layer that vary.

    Args:
        model: any module that is called with one tensor, or by `forward`.
        clips: a map-style dataset of (clip, source): source is the number of the video that the clip was cut from.
        reports: those of `sdfast.measure`, by layer.
        classes: whose channels; of those whose interval is beyond the threshold.
        how: what the channels are set to, "zero" or "mean", as for `ablate`.
        labels: the class of each source, (sources,) int64: accuracy is lost then, by the largest of the outputs
            (N, classes). Without labels the loss is how far the output of each clip moves: the norm of the difference
            over that of the output.
        draws: how many times as many channels are drawn at random.
        seed: of the draws.
        device, batch_size, num_workers, progress, channel_dim, forward: as for `sdfast.measure`.

    Raises:
        ValueError: an argument does not fit, or there is no clip.
        TypeError: an argument or the output is of another type.

    Source: ours.

    >>> import torch, sdfast
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.ReLU())
    >>> pairs = [(a, a + b, i % 2) for i, (a, b) in enumerate(torch.rand(40, 2, 3, 4, 8, 8))]
    >>> reports = sdfast.measure(model, pairs, "0", progress=False)
    >>> clips = [(pair[0], i) for i, pair in enumerate(pairs)]
    >>> ablation_losses(model, clips, reports, classes=["joint"], draws=3, progress=False).what
    'output'
    """
    check_integer("draws", draws, 1)
    check_integer("seed", seed, 0)
    for label in classes:
        if label not in LABELS:
            raise ValueError(f"classes: expected some of {', '.join(LABELS)}, got {label!r}")
    if len(clips) == 0:
        raise ValueError("clips: expected at least one, got none")
    jobs = _jobs(reports, classes, draws, seed)
    found: dict[tuple[str, str], list[Tensor]] = {key: [] for key in jobs}
    right, sources = [], []
    run = partial(forward or call_model, model)
    with undisturbed(model), untouched(model, device) as device:
        for batch, source in _loaded(clips, batch_size, num_workers, progress):
            batch = batch.to(device)
            sources.append(source)
            known = None if labels is None else labels[source].to(device)
            whole = _output(run(batch), known)
            if known is not None:
                right.append(_right(whole, known))
            for key, chosen in jobs.items():
                lost = []
                for off in chosen:
                    with ablate(model, key[0], off, how, reports, channel_dim=channel_dim):
                        lost.append(_lost(whole, _output(run(batch), known), known, len(source)))
                found[key].append(torch.stack(lost, 1))
    groups = torch.cat(sources) % GROUPS
    losses: dict[str, dict[str, Loss]] = {}
    for (layer, label), rows in found.items():
        off = jobs[layer, label][0]
        losses.setdefault(layer, {})[label] = _loss(torch.cat(rows), groups, len(off), reports[layer].num_channels)
    accuracy = None if labels is None else Estimate.of(_spread(torch.cat(right)[:, None], groups), 0, _LEVEL)
    what = "output" if labels is None else "accuracy"
    return AblationReport(what, accuracy, losses, len(clips), len(torch.cat(sources).unique()), how, _LEVEL)


def _jobs(
    reports: Mapping[str, BiasReport], classes: Sequence[str], draws: int, seed: int
) -> dict[tuple[str, str], list[Tensor]]:
    """Return the channels of each class of a layer that has some, and after them as many at random, drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    jobs = {}
    for name, report in reports.items():
        labels = report.labels
        for label in classes:
            off = torch.tensor([i for i, found in enumerate(labels) if found == label], dtype=torch.int64)
            if not len(off):
                continue
            varies = ~(report.dead | report.undefined)
            varies[off] = True
            pool = varies.nonzero().flatten()
            chosen = (pool[torch.randperm(len(pool), generator=generator)[: len(off)]] for _ in range(draws))
            jobs[name, label] = [off, *chosen]
    return jobs


def _loaded(clips: Any, batch_size: int, num_workers: int, progress: bool | str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of clips with the numbers of their sources, int64."""
    loader = DataLoader(clips, batch_size, num_workers=num_workers)
    with progress_bar(len(clips), "clips", progress) as bar:
        for batch, source in loader:
            yield batch, source.long()
            bar.update(len(source))


def _output(output: object, labels: Tensor | None) -> Tensor:
    found = first_tensor(output)
    if found is None:
        raise TypeError(f"output: expected a tensor, or a tuple, list or dict with one, got {type(output).__name__}")
    if labels is not None and (found.ndim != 2 or len(found) != len(labels)):
        raise ValueError(f"output: expected logits ({len(labels)}, classes) for labels, got {tuple(found.shape)}")
    return found


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double().cpu()


def _lost(whole: Tensor, without: Tensor, labels: Tensor | None, number: int) -> Tensor:
    """Return what each of so many clips has lost, (N,) float64 on the CPU; frames lie clip by clip."""
    if labels is not None:
        return _right(whole, labels) - _right(without, labels)
    apart, size = (x.reshape(number, -1).double().norm(dim=1) for x in (whole - without, whole))
    return torch.where(apart == 0, 0.0, apart / size).cpu()


def _loss(rows: Tensor, groups: Tensor, channels: int, of: int) -> Loss:
    """Return what is lost from the losses of each clip, (N, 1 + draws), those of the class first."""
    lost, random = rows[:, 0], rows[:, 1:].mean(1)
    spread = _spread(torch.stack([lost, random, lost - random], 1), groups)
    of_class, at_random, more = (Estimate.of(spread, i, _LEVEL) for i in range(3))
    return Loss(channels, of, of_class, at_random, more, tuple(rows[:, 1:].mean(0).tolist()))


def _spread(rows: Tensor, groups: Tensor) -> Spread:
    """Return the means of columns (N, K), and those without each group of sources."""
    member = torch.nn.functional.one_hot(groups).double().T
    member = member[member.any(1)]
    number, total = member.sum(1, keepdim=True), rows.sum(0)
    without = (total - member @ rows) / (len(rows) - number)
    return Spread(rows.mean(0), without, torch.ones(len(member), 1, dtype=torch.bool))
