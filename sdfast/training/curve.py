"""What the layers of a model encode, measurement after measurement."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sdfast.foundation import StrPath
from sdfast.report import SHARES, BiasReport, draw_curves
from sdfast.statistics import FACTORS

if TYPE_CHECKING:
    import matplotlib.figure


def settled_step(steps: Sequence[int], values: Tensor, within: float) -> int:
    """Return the step from which on values stay as near to the last as `within`, absolute.

    Args:
        steps: S of them, in order.
        values: at each, (S,), the last not NaN.
        within: from 0 on.

    >>> settled_step([0, 10, 20, 30], torch.tensor([1.0, 0.5, 0.9, 0.5]), 0.05)
    30
    """
    return _holds_from(steps, _near_last(values, within))


class Settled(NamedTuple):
    """The step of a measurement from which on a score stays near its last value; see `BiasCurve.settled`.

    Attributes:
        step: by the estimates.
        low: the earliest that the intervals allow: from here on all of them reach into what counts as near.
        high: the latest: from here on all of them lie in it, that of the last measurement, too; None where it does not.
    """

    step: int
    low: int
    high: int | None


class BiasCurve:
    """Scores and shares of every layer over the steps of a training, with their intervals.

    Attributes:
        steps: after which steps there was a measurement, S of them, in order.

    >>> import sdfast
    >>> moments = torch.tensor([9.0, 0, 0, 9, 9, 8]).view(6, 1, 1).repeat(1, 2, 3)
    >>> curve = BiasCurve()
    >>> curve.add(200, {"layer4": sdfast.BiasReport(moments)})
    >>> curve.steps, curve.layers, curve.shares("layer4")
    ([200], ['layer4'], tensor([[32.1000, 32.1000, 35.8000]], dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        # Per measurement and layer (2, 3, 3): score and share; the value, lower and upper end; the factors, residual.
        self._points: list[dict[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def layers(self) -> list[str]:
        """The names of all layers that were measured, in the order in which they first ran."""
        return list(dict.fromkeys(layer for point in self._points for layer in point))

    def add(self, step: int, reports: Mapping[str, BiasReport]) -> None:
        """Add a measurement. It replaces one after the same step, and those of later steps, which a restart undid."""
        kept = sum(earlier < step for earlier in self.steps)
        self.steps[kept:] = [step]
        self._points[kept:] = [{layer: _point(report) for layer, report in reports.items()}]

    def scores(self, layer: str) -> Tensor:
        """Return the scores of a layer, (S, 3) float64: dynamic, static, residual; NaN where it did not run."""
        return self._column(layer)[:, 0, 0]

    def score_intervals(self, layer: str) -> Tensor:
        """Return the lower and upper ends of the scores, (S, 2, 3)."""
        return self._column(layer)[:, 0, 1:]

    def shares(self, layer: str) -> Tensor:
        """Return the shares of a layer in percent, (S, 3), likewise."""
        return self._column(layer)[:, 1, 0]

    def share_intervals(self, layer: str) -> Tensor:
        """Return the lower and upper ends of the shares, (S, 2, 3)."""
        return self._column(layer)[:, 1, 1:]

    def settled(self, layer: str, share: str = "static", within: float = 0.05) -> Settled:
        """Return after which step the score of a layer stays where it ends.

        A score that settles at the last measurement has not settled in this training. Only steps with a measurement
        are known: it may have settled up to one measurement earlier.

        Args:
            layer: its name.
            share: "dynamic" or "static", whose score it is.
            within: how far from the last score counts as near, absolute.

        Raises:
            ValueError: there is no such layer or score, within is negative, or the last score is not known.

        Source: ours, for finding (iv) of Kowal et al., TPAMI 2024: when in training the bias is there.

        >>> import sdfast
        >>> curve = BiasCurve()
        >>> for step, shared in enumerate((1.0, 2.0, 5.0, 8.0, 8.0)):
        ...     moments = torch.tensor([9, 0, 0, 9, 9, shared]).view(6, 1, 1).repeat(1, 2, 3)
        ...     curve.add(100 * step, {"layer4": sdfast.BiasReport(moments)})
        >>> curve.settled("layer4").step
        300
        """
        if share not in FACTORS:
            raise ValueError(f"share: expected one of {', '.join(FACTORS)}, got {share!r}")
        if not within >= 0:
            raise ValueError(f"within: expected a difference from 0 on, got {within!r}")
        scores = self.scores(layer)[:, FACTORS.index(share)]
        last = scores[-1]
        if last.isnan():
            raise ValueError(f"layer: expected one whose {share} score is known in the end, {layer!r} has NaN")
        near = _near_last(scores, within)
        low, high = self.score_intervals(layer)[:, :, FACTORS.index(share)].T
        # Where there is no interval, the estimate is all that is known.
        allowed = torch.where(low.isnan(), near, (low <= last + within) & (high >= last - within))
        sure = (low >= last - within) & (high <= last + within)
        first, early = (_holds_from(self.steps, holds) for holds in (near, allowed))
        return Settled(first, early, _holds_from(self.steps, sure) if sure[-1] else None)

    def plot(self, path: StrPath | None = None) -> "matplotlib.figure.Figure":
        """Draw the shares over the steps, a panel a layer, with their intervals as bands.

        Args:
            path: where to save the picture, or None.

        Returns:
            A figure that pyplot knows nothing of, so that there is nothing to close.

        Raises:
            ValueError: nothing has been measured yet.
            ImportError: matplotlib is missing.
        """
        if not self.steps:
            raise ValueError("curve: expected at least one measurement, got none")
        panels = {layer: (self.shares(layer), self.share_intervals(layer)) for layer in self.layers}
        figure = draw_curves(self.steps, panels)
        if path is not None:
            figure.savefig(path)
        return figure

    def state_dict(self) -> dict[str, Any]:
        """Return lists and tensors, which `torch.save` keeps and `torch.load` reads without trusting the file."""
        return {"steps": list(self.steps), "layers": {layer: self._column(layer) for layer in self.layers}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become the curve that `state_dict` was of."""
        self.steps = list(state["steps"])
        layers = state["layers"]
        self._points = [{layer: rows[i] for layer, rows in layers.items()} for i in range(len(self.steps))]

    def _column(self, layer: str) -> Tensor:
        if not self.steps:
            raise ValueError(f"layer: expected one that has been measured, which none has yet, got {layer!r}")
        if layer not in self.layers:
            raise ValueError(f"layer: expected one of {self.layers}, got {layer!r}")
        unknown = torch.full((2, 3, len(SHARES)), torch.nan, dtype=torch.float64)
        return torch.stack([point.get(layer, unknown) for point in self._points])


def _near_last(values: Tensor, within: float) -> Tensor:
    return (values - values[-1]).abs() <= within


def _holds_from(steps: Sequence[int], holds: Tensor) -> int:
    """Return the step from which on something holds; it does at the last."""
    broken = (~holds).nonzero().flatten().tolist()
    return steps[broken[-1] + 1 if broken else 0]


def _point(report: BiasReport) -> Tensor:
    score = torch.cat([report.layer_score[None], report.layer_interval()])
    return torch.stack([score, torch.cat([report.percent[None], report.share_interval()])])
