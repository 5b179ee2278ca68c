"""What was found in one layer, ready to read, to save and to plot."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdfast.foundation import require, write_atomically
from sdfast.report import tables
from sdfast.report.reading import Reading

if TYPE_CHECKING:
    import matplotlib.figure


@dataclass(frozen=True, eq=False, repr=False)
class BiasReport(Reading):
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

    >>> import torch, sdfast
    >>> x = torch.linspace(-1, 1, 8)
    >>> a, b = torch.stack([x, x, x], 1), torch.stack([x, x.square(), 0 * x], 1)
    >>> state = sdfast.CoMoments(num_channels=3)
    >>> state.update(a, b, torch.tensor([0, 1, 1, 0, 0, 1, 1, 0]))
    >>> report = sdfast.BiasReport(state.moments)
    >>> report.labels
    ['joint', 'residual', 'residual']
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
        require("matplotlib")
        from sdfast.report import plots

        figure = plots.channels_figure({self.name: self})
        if path is not None:
            figure.savefig(path)
        return figure
