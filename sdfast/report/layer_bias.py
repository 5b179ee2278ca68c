"""What a layer shows of a data set, each number with its interval."""

from typing import NamedTuple

import torch

from sdfast.report.certainty import Certainty
from sdfast.report.tables import sure
from sdfast.statistics import Spread

ACCURACIES = ("clips", "shuffled", "one_frame")


class Estimate(NamedTuple):
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, spread: Spread, index: int, level: float) -> "Estimate":
        """Return one of several estimates with its interval by the jackknife."""
        low, high = spread.interval(level)[:, index].tolist()
        return cls(float(spread.value[index]), low, high)

    def text(self, form: str, scale: float = 1.0) -> str:
        """Return it as "34.7 ± 2.1"."""
        value, low, high = (scale * x for x in self)
        return sure(torch.tensor([value]), torch.tensor([[low], [high]]), form)[0]


class LayerBias(NamedTuple):
    """What a layer shows of a data set.

    Attributes:
        report: its static and dynamic information.
        shuffled: how far its pooled features move when frames are shuffled, relative to their size.
        one_frame: which part of their variance one frame of the clip explains.
    """

    report: Certainty
    shuffled: Estimate
    one_frame: Estimate

    @property
    def shares(self) -> list[Estimate]:
        """The shares of dynamic, static and residual in percent."""
        low, high = self.report.share_interval().tolist()
        return [Estimate(*row) for row in zip(self.report.percent.tolist(), low, high, strict=True)]
