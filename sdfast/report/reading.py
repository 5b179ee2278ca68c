"""What the co-moments of a layer say: correlations, mutual information, scores and shares."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from sdfast.foundation import check_integer
from sdfast.report.weights import static_weight
from sdfast.statistics import FACTORS, Estimator, estimator_of, merge, mutual_information, variance

SHARES = (*FACTORS, "residual")


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
    sources: int | None = None
    level: float = 0.95
    groups: Tensor | None = None
    estimator: str = "gaussian"
    information: Tensor | None = None

    def __post_init__(self) -> None:
        moments, groups = _snapshot(self.moments), None if self.groups is None else _snapshot(self.groups)
        if groups is None and moments.ndim == 4:
            _check_shape("moments", moments, "(6, G, 2, C)")
            moments, groups = merge(moments.movedim(1, 0)), moments
        _check_shape("moments", moments, "(6, 2, C)")
        check_reading(self.kind, self.threshold)
        if not 0 < self.level < 1:
            raise ValueError(f"level: expected a probability between 0 and 1, got {self.level!r}")
        if self.sources is not None:
            check_integer("sources", self.sources, 0)
        if groups is not None:
            _check_shape("groups", groups, "(6, G, 2, C)")
            if not torch.equal(groups[0].sum(0), moments[0]):
                raise ValueError("groups: expected co-moments of the same pairs as those of moments, got others")
            object.__setattr__(self, "groups", groups)
            if self.sources is None:
                object.__setattr__(self, "sources", self.num_groups)
        object.__setattr__(self, "moments", moments)
        if (self.estimator == "gaussian") != (self.information is None):
            raise ValueError(f"information: expected that of estimator={self.estimator!r}, got {self.information!r}")
        if self.information is not None:
            if self.information.shape != moments.shape[1:]:
                expected = tuple(moments.shape[1:])
                raise ValueError(f"information: expected shape {expected}, got {tuple(self.information.shape)}")
            object.__setattr__(self, "information", _snapshot(self.information))

    def __getstate__(self) -> dict[str, Any]:
        """Leave what follows from the fields out of copies and pickles."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def _estimator(self) -> Estimator:
        return estimator_of(self.kind)

    @property
    def num_channels(self) -> int:
        """How many channels the layer has."""
        return self.moments.shape[2]

    @property
    def num_groups(self) -> int:
        """How many groups of sources have pairs; 0 without groups."""
        return 0 if self.groups is None else int((self.groups[0, :, :, 0] > 0).any(1).sum())

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
        """Mutual information in nats, (2, C), by `estimator`; "gaussian" is inf where the correlation is ±1."""
        return mutual_information(self.corr) if self.information is None else self.information

    @property
    def mi_floor(self) -> Tensor:
        """Mutual information that so few pairs show by chance at no correlation, (2,): about 1 / (2 N).

        NaN for "kraskov", which shows none on average.
        """
        count = self.moments[0, :, 0]
        if self.estimator == "kraskov":
            return torch.full_like(count, torch.nan)
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


def _snapshot(moments: Tensor) -> Tensor:
    return moments.detach().to("cpu", torch.float64, copy=True)


def _check_shape(name: str, moments: Tensor, shape: str) -> None:
    rows, *groups, factors, channels = moments.shape if moments.ndim == shape.count(",") + 1 else (0, 0, 0)
    if (rows, factors) != (6, len(FACTORS)) or 0 in (*groups, channels):
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(moments.shape)}")
