"""What was found in one layer, ready to read, to save and to plot."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from sdfast.foundation import StrPath, require, write_atomically
from sdfast.report import tables, values
from sdfast.report.certainty import Certainty
from sdfast.report.sums import read_reports
from sdfast.statistics import merge

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas


@dataclass(frozen=True, eq=False, repr=False)
class BiasReport(Certainty):
    """Read the co-moments of one layer as static and dynamic information.

    Args:
        moments: (6, 2, C), co-moments of the dynamic and the static pairs, as `CoMoments` gathers them, or
            (6, G, 2, C), the same by groups of sources, as `GroupedCoMoments` does: these say how sure the report is.
            Kept as a float64 copy on the CPU, without the groups.
        kind: "pearson", or "intraclass" as the authors' code computes it.
        threshold: a channel encodes a factor when its correlation exceeds this.
        name: the name of the layer.
        sources: how many sources, videos for example, the pairs were cut from. Default: as many as groups have pairs.
        level: the confidence of intervals and classes, between 0 and 1.
        groups: (6, G, 2, C) or None; where `moments` has the groups they are kept here.
        estimator: of the mutual information: "gaussian", which follows from the moments, "copula" or "kraskov".
        information: (2, C) in nats, where the estimator is another than "gaussian". Correlations, classes, scores and
            shares are those of the moments all the same.

    Raises:
        ValueError: an argument has another shape or value.

    Source: Kowal et al., TPAMI 2024; for the intervals Kott, Journal of Official Statistics 17 (2001).

    >>> import torch, sdfast
    >>> from sdfast.statistics import GroupedCoMoments
    >>> x = torch.linspace(-1, 1, 24)
    >>> a, b = torch.stack([x, x, x], 1), torch.stack([x, x.square(), 0 * x], 1)
    >>> state = GroupedCoMoments(num_channels=3)
    >>> state.update(a, b, torch.arange(24) // 2 % 2, source=torch.arange(24) // 4)
    >>> report = sdfast.BiasReport(state.moments, sources=state.num_sources)
    >>> report.labels
    ['joint', 'undetermined', 'residual']
    """

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
        return values.to_dict(self)

    def to_csv(self, path: StrPath) -> None:
        """Write one line a channel: class, correlation and mutual information with intervals, number of pairs."""
        write_atomically(path, lambda part: values.write_csv(part, [self]))

    def to_frame(self) -> "pandas.DataFrame":
        """Return one row a channel, with the columns that `to_csv` writes.

        Raises:
            ImportError: pandas is missing.
        """
        return values.to_frame([self])

    def to_markdown(self) -> str:
        """Return the layer as a table in Markdown; see `sdfast.report.to_markdown`."""
        return tables.to_markdown({self.name: self})

    def to_latex(self) -> str:
        """Return the layer as a tabular of LaTeX, which needs booktabs; see `sdfast.report.to_latex`."""
        return tables.to_latex({self.name: self})

    def scalars(self) -> dict[str, float]:
        """Return scores, shares and classes as a flat dict of floats for a logger; keys begin with the layer's name.

        >>> moments = torch.tensor([9.0, 0, 0, 9, 9, 8]).view(6, 1, 1).repeat(1, 2, 3)
        >>> BiasReport(moments, name="layer4").scalars()["layer4/percent/static"]
        32.1
        """
        return values.scalars(self)

    @classmethod
    def load(cls, path: StrPath, layer: str | None = None) -> "BiasReport":
        """Return the report of a layer as it was when it was saved.

        Args:
            path: the folder that `sdfast measure` or `save_reports` wrote to, or the report.json in it.
            layer: the name of the layer; needed where there are several.

        Raises:
            FileNotFoundError: there is no report.json.
            ValueError: there is no such layer, a file is damaged, or report.json and report.npz are of two runs.
        """
        found = read_reports(path, cls)
        if layer is None and len(found) == 1:
            (layer,) = found
        if layer not in found:
            raise ValueError(f"layer: expected one of {', '.join(map(repr, found))} of {path}, got {layer!r}")
        return found[layer]

    def merge(self, other: "BiasReport", sources: int | None = None) -> "BiasReport":
        """Return the report over the pairs of both, which must have none in common.

        Args:
            other: the report of the same layer over other pairs. Their sources must be other ones, too, or numbered
                alike: otherwise pairs of one source are taken as independent.
            sources: how many sources the pairs of both were cut from. Default: the sum, as of different ones.

        Raises:
            ValueError: other is of another layer, kind, threshold, level, number of channels or of groups, or an
                estimator other than "gaussian" has to see all samples at once.

        Source: `sdfast.statistics.merge`.
        """
        for report in (self, other):
            if report.information is not None:
                raise ValueError(f"estimator: reports of {report.estimator!r} cannot be merged, only their samples can")
        shapes = [x.moments.shape if x.groups is None else x.groups.shape for x in (self, other)]
        for what, mine, theirs in (
            *((key, getattr(self, key), getattr(other, key)) for key in ("name", "kind", "threshold", "level")),
            ("co-moments of shape", *map(tuple, shapes)),
        ):
            if mine != theirs:
                raise ValueError(f"other: expected {what} {mine!r} like this report, got {theirs!r}")
        mine, theirs = (x.moments if x.groups is None else x.groups for x in (self, other))
        if sources is None and self.sources is not None and other.sources is not None:
            sources = self.sources + other.sources
        return replace(self, moments=merge(torch.stack([mine, theirs])), groups=None, sources=sources)

    def plot(self, path: StrPath | None = None) -> "matplotlib.figure.Figure":
        """Draw the channels' correlations, coloured by class.

        Args:
            path: where to save the picture, or None.

        Returns:
            A figure that pyplot knows nothing of, so that there is nothing to close.

        Raises:
            ImportError: matplotlib is missing.
        """
        require("matplotlib")
        from sdfast.report import plots

        figure = plots.channels_figure({self.name: self})
        if path is not None:
            figure.savefig(path)
        return figure
