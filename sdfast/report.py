"""What was found in one layer, ready to read, to save and to plot."""

import importlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdfast import scores, tables
from sdfast.files import write_atomically
from sdfast.functional import check_kind, correlation, mutual_information
from sdfast.scores import FACTORS, LABELS
from sdfast.tables import format_table

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["FACTORS", "BiasReport", "check_reading", "format_table", "save_reports"]


def check_reading(kind: str, threshold: float) -> None:
    """Raise ValueError unless co-moments can be read as this kind of correlation, with this threshold."""
    check_kind(kind)
    if not isinstance(threshold, int | float) or not -1 <= threshold <= 1:
        raise ValueError(f"threshold: expected a correlation from -1 to 1, got {threshold!r}")


@dataclass(frozen=True, eq=False, repr=False)
class BiasReport:
    """Read the co-moments of one layer as static and dynamic information.

    Args:
        moments: (6, 2, C), co-moments of the dynamic and the static pairs, as `CoMoments` gathers them.
            Kept as a float64 copy on the CPU.
        kind: "pearson", or "intraclass" as the authors' code computes it.
        threshold: a channel encodes a factor when its correlation exceeds this.
        name: the name of the layer.

    Raises:
        ValueError: an argument has another shape or value.

    Source: Kowal et al., TPAMI 2024.

    >>> import torch
    >>> from sdfast.state import CoMoments
    >>> x = torch.linspace(-1, 1, 8)
    >>> a, b = torch.stack([x, x, x], 1), torch.stack([x, x.square(), 0 * x], 1)
    >>> state = CoMoments(num_channels=3)
    >>> state.update(a, b, torch.tensor([0, 1, 1, 0, 0, 1, 1, 0]))
    >>> report = BiasReport(state.moments)
    >>> report.labels
    ['joint', 'residual', 'residual']
    """

    moments: Tensor
    kind: str = "pearson"
    threshold: float = 0.5
    name: str = ""

    def __post_init__(self) -> None:
        if self.moments.ndim != 3 or self.moments.shape[:2] != (6, len(FACTORS)) or self.moments.shape[2] == 0:
            raise ValueError(f"moments: expected shape (6, {len(FACTORS)}, C), got {tuple(self.moments.shape)}")
        check_reading(self.kind, self.threshold)
        object.__setattr__(self, "moments", self.moments.detach().to("cpu", torch.float64, copy=True))

    @property
    def num_channels(self) -> int:
        """How many channels the layer has."""
        return self.moments.shape[2]

    @property
    def count(self) -> Tensor:
        """How many pairs there were of each factor, (2,) int64."""
        return self.moments[0, :, 0].long()

    @property
    def corr(self) -> Tensor:
        """Correlation of each factor and channel, (2, C): NaN below two pairs, 0 where a channel never varies."""
        return correlation(self.moments, self.kind)

    @property
    def mi(self) -> Tensor:
        """Mutual information in nats, (2, C); inf where the correlation is ±1."""
        return mutual_information(self.corr)

    @property
    def mi_floor(self) -> Tensor:
        """Mutual information that so few pairs show by chance at no correlation, (2,): about 1 / (2 N)."""
        count = self.moments[0, :, 0]
        return torch.where(count > 0, 0.5 / count, torch.nan)

    @property
    def dead(self) -> Tensor:
        """Channels that never vary over all pairs, (C,) bool."""
        return scores.variance(self.moments) == 0

    @property
    def undefined(self) -> Tensor:
        """Channels with a NaN or Inf in their features, or too few pairs, (C,) bool."""
        return ~scores.defined(self.moments) | self.corr.isnan().any(0)

    @property
    def labels(self) -> list[str]:
        """Class of each channel, C strings: which correlations exceed the threshold.

        Dead and undefined channels are residual: every channel is in exactly one class.
        """
        dynamic, static = (self.corr > self.threshold) & ~self.dead & ~self.undefined
        names = ("residual", "dynamic", "static", "joint")
        return [names[i] for i in (dynamic.long() + 2 * static.long()).tolist()]

    @property
    def layer_score(self) -> Tensor:
        """Score of dynamic, static and residual (always 1) over the whole layer, (3,)."""
        return scores.layer_score(self.moments, self.kind)

    @property
    def dims(self) -> Tensor:
        """How many of the C channels each of dynamic, static and residual takes, (3,) int64, by softmax."""
        return scores.dimensions(self.layer_score, self.num_channels, self.kind)

    @property
    def percent(self) -> Tensor:
        """The same in percent, (3,), to one decimal."""
        return scores.percentages(self.layer_score, self.num_channels, self.kind)

    def interval(self, level: float = 0.95) -> Tensor:
        """Return the confidence interval of the correlations, (2, 2, C): lower and upper end first.

        Fisher's z interval, for independent pairs: clips of one video, or positions counted as samples, are not
        independent, and then the truth is wider.

        Args:
            level: the confidence, between 0 and 1.

        Raises:
            ValueError: level is not a probability.
        """
        return scores.fisher_interval(self.moments, self.kind, level)

    def static_weight(self, how: str = "rank") -> Tensor:
        """Return how much more static than dynamic each channel is, for StaticDropout: (C,) float32 in [0, 1].

        Relative to the other channels: early in training all are static, and the plain difference would then drop
        all alike.

        Args:
            how: "rank", the share of the other channels whose static minus dynamic correlation is lower, equal ones
                counted half; "minmax", that difference, the lowest as 0 and the highest as 1; "difference", the
                plain difference where positive.

        Returns:
            Dead and undefined channels have 0. "rank" and "minmax" give 0.5 where nothing tells channels apart.

        Raises:
            ValueError: how is none of these.
        """
        return scores.static_weight(self.corr, ~self.dead & ~self.undefined, how).float()

    @property
    def classes(self) -> dict[str, int]:
        """How many channels each class has."""
        found = Counter(self.labels)
        return {label: found[label] for label in LABELS}

    def __repr__(self) -> str:
        classes = ", ".join(f"{number} {label}" for label, number in self.classes.items())
        layer = f"{self.name!r}, " if self.name else ""
        return f"BiasReport({layer}{self.num_channels} channels: {classes})"

    def summary(self) -> str:
        """Return the findings as text, with what to keep in mind when reading them."""
        return tables.summary(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that `json.dumps(..., allow_nan=False)` takes.

        NaN becomes None and infinity the string "inf", as JSON has neither.
        """
        return tables.to_dict(self)

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write one line a channel: layer, label, dead, correlation, mutual information, number of pairs."""
        write_atomically(path, lambda part: tables.write_csv(part, [self]))

    def plot(self, path: str | os.PathLike | None = None) -> "matplotlib.figure.Figure":
        """Draw the channels' correlations, coloured by class.

        Args:
            path: where to save the picture, or None.

        Returns:
            A figure that pyplot knows nothing of, so that there is nothing to close.

        Raises:
            ImportError: matplotlib is missing.
        """
        figure = _plots().channels_figure({self.name: self})
        if path is not None:
            figure.savefig(path)
        return figure


def save_reports(reports: Mapping[str, BiasReport], folder: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Write report.json, channels.csv, layers.png and channels.png, each whole or not at all.

    Args:
        reports: the report of each layer.
        folder: where to; made if it is not there.
        settings: what was measured and how; goes into report.json.

    Without matplotlib the pictures are left out, and a printed line says so.
    """
    from sdfast import __version__

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: replace(report, name=name) for name, report in reports.items()}
    layers = {name: report.to_dict() for name, report in named.items()}
    content = tables.plain({"sdfast": __version__, "settings": settings, "layers": layers})
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "report.json", lambda part: part.write_text(text, encoding="utf-8"))
    write_atomically(folder / "channels.csv", lambda part: tables.write_csv(part, named.values()))
    try:
        plots = _plots()
    except ImportError as error:
        print(f"no pictures: {error}")
        return
    for file, draw in (("layers.png", plots.layers_figure), ("channels.png", plots.channels_figure)):
        write_atomically(folder / file, draw(named).savefig)


def _plots() -> ModuleType:
    try:
        return importlib.import_module("sdfast.plots")
    except ImportError as error:
        raise ImportError(f"matplotlib is missing; pip install 'sdfast[plot]' ({error})") from error
