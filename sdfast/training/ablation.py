"""Channels switched off: what a model loses without them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sdfast.backends import forget_compiled
from sdfast.models import (
    Channels,
    change_first_tensor,
    check_called,
    check_model,
    known_channels,
    layers_before,
    match_dims,
    match_layers,
    named_layers,
)
from sdfast.report import LABELS, BiasReport

HOW = ("zero", "mean")


@contextmanager
def ablate(
    model: nn.Module,
    layers: str | Sequence[str],
    labels: Any = "static",
    how: str = "zero",
    reports: Mapping[str, BiasReport] | None = None,
    *,
    channel_dim: int | Mapping[str, int] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Switch channels off in the outputs of layers, inside a `with` block.

    The causal check of the classes: what a model loses without its static channels, beside what it loses without as
    many others. Of outputs that are tuples, lists or dicts the first tensor is changed. Gradients flow through the
    channels that stay. What torch.compile has compiled so far in this process is compiled again.

    Args:
        model: any model, whose layers are as before after the block, however it ends.
        layers: names or glob patterns of its modules.
        labels: which channels. A class of the reports, such as "static": those whose interval is beyond the threshold.
            Indices, or a bool mask of shape (C,), from anywhere: `report.point_labels` are classes by estimates alone,
            and as many channels at random are a control. Or a dict of these by layer.
        how: "zero", or "mean", the channel's mean over positions and the first clips of all pairs of the report.
        reports: those of `sdfast.measure`, by layer; needed for a class and for "mean".
        channel_dim: the dimension of the channels, for all layers or by name or pattern; default as `sdfast.measure`.

    Yields:
        The indices of the channels that are off, int64 on the CPU, by layer.

    Raises:
        ValueError: an argument does not fit, a pattern matches nothing, a report is missing, or there is no channel
            to switch off; in the block, if an output has another number of channels.
        TypeError: labels are of another type; in the block, if a layer returns no tensor.

    >>> import torch, sdfast
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4))
    >>> with ablate(model, "0", labels=[0, 2]) as off:
    ...     model(torch.rand(5, 3))[:, off["0"]].count_nonzero()
    tensor(0)
    """
    check_model(model)
    if how not in HOW:
        raise ValueError(f"how: expected one of {', '.join(HOW)}, got {how!r}")
    modules = named_layers(model)
    matches = match_layers(model, layers)
    dims, before = match_dims("channel_dim", model, channel_dim, matches), layers_before(model)
    names: dict[nn.Module, str] = {}  # one under two names runs one hook
    for name in (name for group in matches.values() for name in group):
        names.setdefault(modules[name], name)
    off: dict[str, Tensor] = {}
    handles = []
    try:
        for module, name in names.items():
            check_called(name, module)
            chosen = labels.get(name) if isinstance(labels, Mapping) else labels
            if chosen is None:
                raise ValueError(f"labels: expected channels of {name!r}, got them of {', '.join(labels)}")
            report = _report(reports, name) if isinstance(chosen, str) or how == "mean" else None
            if isinstance(chosen, str):
                chosen = _of_class(chosen, _report(reports, name))
            off[name], channels = _indices(chosen, name, report)
            where = dims[name] if name in dims else known_channels(module, before.get(module))
            switch = _Switch(name, off[name], channels, _values(how, report, off[name]), where)
            handles.append(module.register_forward_hook(switch))
        if not any(map(len, off.values())):
            raise ValueError(f"labels: expected channels to switch off, got {labels!r}, which no layer has")
        forget_compiled()
        yield off
    finally:
        for handle in handles:
            handle.remove()
        forget_compiled()


def _report(reports: Mapping[str, BiasReport] | None, name: str) -> BiasReport:
    if reports is None or name not in reports:
        got = "none" if reports is None else f"those of {', '.join(reports)}"
        raise ValueError(f"reports: expected one of {name!r}, as sdfast.measure returns it, got {got}")
    return reports[name]


def _of_class(label: str, report: BiasReport) -> Tensor:
    """Return the indices of the channels of a class."""
    if label not in LABELS:
        raise ValueError(f"labels: expected one of {', '.join(LABELS)}, indices or a bool mask, got {label!r}")
    return torch.tensor([i for i, found in enumerate(report.labels) if found == label], dtype=torch.int64)


def _indices(chosen: Any, name: str, report: BiasReport | None) -> tuple[Tensor, int | None]:
    """Return the indices of channels, and how many channels there are where that is known."""
    number = None if report is None else report.num_channels
    chosen = torch.as_tensor(chosen).detach().cpu()
    if chosen.numel() == 0:
        chosen = chosen.long()
    if chosen.ndim != 1 or chosen.is_floating_point() or chosen.is_complex():
        raise TypeError(
            f"labels: expected a class, indices or a bool mask (C,) for {name!r}, "
            f"got {chosen.dtype} of shape {tuple(chosen.shape)}"
        )
    if chosen.dtype == torch.bool:
        if number not in (None, len(chosen)):
            raise ValueError(f"labels: expected a mask of {number} channels for {name!r}, got {len(chosen)}")
        return chosen.nonzero().flatten(), len(chosen)
    chosen = chosen.long().unique()
    if len(chosen) and (chosen[0] < 0 or (number is not None and chosen[-1] >= number)):
        wrong = int(chosen[0] if chosen[0] < 0 else chosen[-1])
        end = "on" if number is None else f"to {number - 1}"
        raise ValueError(f"labels: expected indices from 0 {end} for {name!r}, got {wrong}")
    return chosen, number


def _values(how: str, report: BiasReport | None, off: Tensor) -> Tensor:
    """Return what the channels that are off are set to, float64."""
    if report is None or how == "zero":
        return torch.zeros(len(off), dtype=torch.float64)
    count, mean_a = report.moments[:2].unbind()
    means = ((count * mean_a).sum(0) / count.sum(0))[off]
    if not means.isfinite().all():
        channel = int(off[~means.isfinite()][0])
        raise ValueError(f"reports: expected finite means of {report.name!r}, got {means.min()} of channel {channel}")
    return means


class _Switch:
    """The hook of one layer."""

    def __init__(self, name: str, off: Tensor, channels: int | None, values: Tensor, where: int | Channels) -> None:
        self.name, self.off, self.channels, self.values, self.where = name, off, channels, values, where

    def __call__(self, module: nn.Module, _: Any, output: object) -> object:
        changed, found = change_first_tensor(output, self._without)
        if not found:
            raise TypeError(
                f"layer {self.name!r}: expected a tensor, or a tuple, list or dict with one, "
                f"got {type(output).__name__}"
            )
        return changed

    def _without(self, feats: Tensor) -> Tensor:
        shape = tuple(feats.shape)
        try:
            dim = self.where.find(shape) if isinstance(self.where, Channels) else self.where
        except ValueError as error:
            raise ValueError(f"layer {self.name!r}: {error}") from error
        if not -feats.ndim <= dim < feats.ndim or dim % feats.ndim == 0:
            raise ValueError(f"layer {self.name!r}: channel_dim: expected one other than 0 of {shape}, got {dim}")
        size = shape[dim]
        if self.channels not in (None, size) or (len(self.off) and self.off[-1] >= size):
            expected = self.channels or f"more than {int(self.off[-1])}"
            raise ValueError(
                f"layer {self.name!r}: expected {expected} channels along dimension {dim}, got shape {shape}"
            )
        # Replaced and not multiplied by 0: what was there may be NaN.
        rows = feats.movedim(dim, 0)
        values = self.values.to(feats.device, feats.dtype).view(-1, *[1] * (feats.ndim - 1))
        return rows.index_copy(0, self.off.to(feats.device), values.expand(-1, *rows.shape[1:])).movedim(0, dim)
