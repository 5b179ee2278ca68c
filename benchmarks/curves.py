"""How a figure grows along an axis, and the exponent that says so in one number."""

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """A figure of one candidate at several places of an axis.

    Args:
        case: curves of one case belong into one picture.
        axis: what `x` is.
        unit: of `y`: "s" for medians of seconds, "" for errors.
    """

    case: str
    axis: str
    candidate: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    unit: str = "s"

    @property
    def exponent(self) -> float:
        """The slope of the straight line through the logarithms: 1 where twice the size takes twice the time."""
        return float(np.polyfit(np.log(self.x), np.log(self.y), 1)[0])

    def cells(self) -> tuple[str, ...]:
        """Return the row of a table."""
        ends = [f"{value * 1e3:.3g} ms" if self.unit == "s" else f"{value:.0e}" for value in (self.y[0], self.y[-1])]
        fitted = f"{self.exponent:.2f}" if self.unit == "s" else ""
        return self.case, self.candidate, self.axis, f"{self.x[0]:g} to {self.x[-1]:g}", " to ".join(ends), fitted

    def to_dict(self) -> dict:
        """Return everything as JSON values."""
        return {**asdict(self), "exponent": self.exponent if self.unit == "s" else None}
