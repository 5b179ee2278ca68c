"""What the co-moments of a layer say: correlations, classes, scores and shares."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from sdfast.report.weights import static_weight
from sdfast.statistics import FACTORS, Estimator, estimator_of, fisher_interval, mutual_information, variance

SHARES = (*FACTORS, "residual")
LABELS = ("joint", *SHARES)


def check_reading(kind: str, threshold: float) -> None:
    """Raise ValueError unless co-moments can be read as this kind of correlation, with this threshold."""
    estimator_of(kind)
    if not isinstance(threshold, int | float) or not -1 <= threshold <= 1:
        raise ValueError(f"threshold: expected a correlation from -1 to 1, got {threshold!r}")


@dataclass(frozen=True, eq=False, repr=False)
class Reading:
    """The numbers of a `BiasReport`, whose arguments these are."""

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
    def _estimator(self) -> Estimator:
        return estimator_of(self.kind)

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
        return self._estimator.correlation(self.moments)

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
        return variance(self.moments) == 0

    @property
    def undefined(self) -> Tensor:
        """Channels with a NaN or Inf in their features, or too few pairs, (C,) bool."""
        return ~self.moments.isfinite().all(dim=1).all(dim=0) | self.corr.isnan().any(0)

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
        return self._estimator.layer_score(self.moments)

    @property
    def dims(self) -> Tensor:
        """How many of the C channels each of dynamic, static and residual takes, (3,) int64, by softmax."""
        return self._estimator.dimensions(self.layer_score, self.num_channels)

    @property
    def percent(self) -> Tensor:
        """The same in percent, (3,), to one decimal."""
        return self._estimator.percentages(self.layer_score, self.num_channels)

    def interval(self, level: float = 0.95) -> Tensor:
        """Return the confidence interval of the correlations, (2, 2, C): lower and upper end first.

        Fisher's z interval, for independent pairs: clips of one video, or positions counted as samples, are not
        independent, and then the truth is wider.

        Args:
            level: the confidence, between 0 and 1.

        Raises:
            ValueError: level is not a probability.
        """
        return fisher_interval(self.moments, self._estimator, level)

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
        return static_weight(self.corr, ~self.dead & ~self.undefined, how).float()

    @property
    def classes(self) -> dict[str, int]:
        """How many channels each class has."""
        found = Counter(self.labels)
        return {label: found[label] for label in LABELS}
