"""Means over the seeds of an experiment, with their intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdfast.statistics import student_quantile

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean over seeds and Student's interval for it; NaN where one seed gives none."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def short(self) -> str:
        """The mean and the half of the interval."""
        return f"{self.mean:.2f}" if math.isnan(self.low) else f"{self.mean:.2f} ± {(self.high - self.low) / 2:.2f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of independent values and its 95 % interval by Student's t.

    >>> print(estimate([0.5, 0.7]))
    0.60 (-0.67 to 1.87)
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, math.nan, math.nan)
    reach = student_quantile((1 + LEVEL) / 2, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, mean - reach, mean + reach)
