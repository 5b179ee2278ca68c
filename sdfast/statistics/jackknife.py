"""The delete-a-group jackknife: how sure correlations, scores and shares are, whatever the pairs of a source share."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sdfast.ops import correlations_without, deviation_sums, leave_one_out
from sdfast.statistics.estimators import Estimator, estimator_of, mutual_information, shares
from sdfast.statistics.fisher import check_level, fisher_z
from sdfast.statistics.state import merge
from sdfast.statistics.student import student_quantile


@dataclass(frozen=True)
class Spread:
    """An estimate, and what it becomes without each of the groups.

    Args:
        value: with all groups, (...).
        without: without each, (K, ...).
        kept: which groups have a part in it, (K, ...) bool, or of a shape that broadcasts to it.
    """

    value: Tensor
    without: Tensor
    kept: Tensor

    @cached_property
    def groups(self) -> Tensor:
        """How many groups have a part in it, int64; one number for many estimates where `kept` is."""
        return self.kept.sum(0)

    @property
    def deviations(self) -> Tensor:
        """By how much the estimates without a group differ from their mean, (K, ...); 0 for groups with no part."""
        return torch.where(self.kept, self.without - self.mean_without, 0.0)

    @property
    def mean_without(self) -> Tensor:
        """The mean of the estimates without a group, (...)."""
        return self._sums[0]

    @cached_property
    def error(self) -> Tensor:
        """The standard error, (...): NaN below two groups, or where an estimate is undefined without one of them."""
        squares = self._sums[1]
        return torch.where(self.groups > 1, (squares - squares / self.groups).sqrt(), torch.nan)

    @property
    def largest_part(self) -> Tensor:
        """The part of the variance that a single group carries, (...), from 1 / K to 1; 0 where there is none."""
        _, total, _, largest = self._sums.unbind()
        return torch.where(total == 0, 0.0, largest / total)

    @property
    def unbiased(self) -> Tensor:
        """The estimate less its bias, K value - (K - 1) mean: NaN where the error is, or where it is infinite."""
        corrected = self.value + (self.groups - 1) * (self.value - self.mean_without)
        return torch.where(self.error.isfinite(), corrected, torch.nan)

    @cached_property
    def freedom(self) -> Tensor:
        """Degrees of freedom of the error, (...) int64: K - 1, or fewer where a few groups carry the variance.

        Source: Satterthwaite, Biometrics Bulletin 2 (1946): a variance from K values of kurtosis k is as uncertain as
        that of normal ones with 2 K / (k - 1) degrees, rounded down here and never below 2. With K - 1 throughout,
        intervals of skewed and heavy-tailed features are too narrow.
        """
        groups = self.groups.expand(self.value.shape)
        _, squares, fourths, _ = self._sums.unbind()
        unbiased = (groups + 1) / (groups - 1)  # so that normal values have a kurtosis of 3
        kurtosis = unbiased * groups * fourths / squares.square()
        freedom = (2 * groups / (kurtosis - 1) + 1e-9).floor().nan_to_num(torch.inf)
        return freedom.clamp(min=2).minimum(groups - 1).long()  # below two groups the error is NaN

    def half_width(self, level: float, error: Tensor | None = None) -> Tensor:
        """Return by how much the ends of the interval differ from the estimate, (...), by this error or another.

        Raises:
            ValueError: level is not a probability.
        """
        check_level(level)
        reach = [math.nan] + [student_quantile((1 + level) / 2, n) for n in range(1, len(self.kept) + 1)]
        error = self.error if error is None else error
        return error * error.new_tensor(reach)[self.freedom]

    def interval(self, level: float, error: Tensor | None = None) -> Tensor:
        """Return the lower and upper end, (2, ...), as `half_width` has them."""
        half_width = self.half_width(level, error)
        return torch.stack([self.value - half_width, self.value + half_width])

    @cached_property
    def _sums(self) -> Tensor:
        """The mean, and of the deviations from it the sums of squares and fourth powers and the largest square."""
        if self.kept.all():
            return deviation_sums(self.without)
        mean = torch.where(self.kept, self.without, 0.0).sum(0) / self.groups
        squares = torch.where(self.kept, self.without - mean, 0.0).square()
        return torch.stack([mean, squares.sum(0), squares.square().sum(0), squares.amax(0)])

    def __sub__(self, other: "Spread") -> "Spread":
        """Return the difference of two estimates from the same groups."""
        return Spread(self.value - other.value, self.without - other.without, self.kept & other.kept)


class Jackknife:
    """What leaving out one group of sources at a time says about a layer.

    Args:
        grouped: co-moments (6, G, F, C) float64 of groups of whole sources; see `GroupedCoMoments`.
        estimator: the kind of correlation.

    Intervals are NaN where they cannot be known: below two groups with pairs of a factor, where leaving out a group
    leaves fewer than two pairs, and in channels with a NaN or Inf. Where no group makes a difference they have no
    width: channels that never vary (correlation 0) and those whose clips are linear in each other (±1).

    Source: Kott, The delete-a-group jackknife, Journal of Official Statistics 17 (2001).

    >>> import torch
    >>> from sdfast.statistics import GroupedCoMoments, estimator_of
    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> state = GroupedCoMoments(num_channels=1, num_factors=1)
    >>> state.update(x, x[[1, 0, 3, 2, 5, 4]])
    >>> Jackknife(state.moments, estimator_of("pearson")).correlation_interval(0.95).flatten()
    tensor([0.6780, 0.9124], dtype=torch.float64)
    """

    def __init__(self, grouped: Tensor, estimator: Estimator) -> None:
        self.estimator = estimator
        self.groups = _with_pairs(grouped)
        found = correlations_without(self.groups, estimator.is_pearson)
        if found is None or not found[0].isfinite().all():  # what is broken in a group is in all of them together
            self.groups = sound_groups(grouped)
            found = correlations_without(self.groups, estimator.is_pearson)
        self._corr: Tensor | None
        self.total, self._corr = (merge(self.groups.movedim(1, 0)), None) if found is None else found
        self._kept = self.groups[0, :, :, :1] > 0  # (K, F, 1)

    @cached_property
    def _without(self) -> Tensor:
        return leave_one_out(self.groups)

    @cached_property
    def correlation(self) -> Spread:
        """The correlations, (F, C)."""
        if self._corr is not None:
            return Spread(self._corr[-1], self._corr[:-1], self._kept)
        whole, without = self.estimator.correlation(self.total), self.estimator.correlation(self._without)
        return Spread(whole, without, self._kept)

    @cached_property
    def z(self) -> Spread:
        """Fisher's z of the correlations, (F, C), on which their intervals are symmetric."""
        return Spread(fisher_z(self.correlation.value), fisher_z(self.correlation.without), self._kept)

    @cached_property
    def scores(self) -> Spread:
        """The layer's scores, (F + 1,), the residual's last; a group leaves all factors at once."""
        whole, without = self.estimator.layer_score(self.total), self.estimator.layer_score(self._without)
        return Spread(whole, without, torch.ones((len(without), 1), dtype=torch.bool, device=without.device))

    @cached_property
    def shares(self) -> Spread:
        """The shares of the dimensions, (F + 1,), as fractions."""
        return Spread(shares(self.scores.value), shares(self.scores.without), self.scores.kept)

    @property
    def mi_corrected(self) -> Tensor:
        """Mutual information in nats less its bias from few pairs, (F, C); below 0 by chance, and inf at corr ±1.

        Source: Quenouille's correction, K I - (K - 1) mean(I without a group). It is not cut off at 0, which would
        bring a bias back.
        """
        corr = self.correlation
        value = mutual_information(corr.value)
        return torch.where(value.isinf(), value, Spread(value, mutual_information(corr.without), corr.kept).unbiased)

    def correlation_interval(self, level: float) -> Tensor:
        """Return the lower and upper end of the correlations, (2, F, C).

        Where either clip might come first, Pearson's z and the intraclass one have the same error in the limit, but of
        few sources with skewed features the jackknife's for the latter is often too small. Its intervals therefore take
        the mean of both variances, if that is larger.

        Raises:
            ValueError: level is not a probability.
        """
        error = self.z.error
        if not self.estimator.is_pearson:
            other = Jackknife(self.groups, estimator_of("pearson")).z.error
            error = torch.where(other > error, ((error.square() + other.square()) / 2).sqrt(), error)
        return self.z.interval(level, error).tanh()


def sound_groups(grouped: Tensor) -> Tensor:
    """Return the groups that have pairs, (6, K, F, C), with channels that are broken in one of them broken in all.

    Otherwise leaving out the group with the NaN would bring a channel back, and the score would change by its worth.
    """
    groups = _with_pairs(grouped)
    broken = ~groups.isfinite().all(dim=1).all(dim=0)  # (F, C)
    return torch.cat([groups[:1], torch.where(broken, torch.nan, groups[1:])])


def _with_pairs(grouped: Tensor) -> Tensor:
    """Return a copy of the groups that have pairs, or of the first one if none has."""
    with_pairs = (grouped[0, ..., 0] > 0).any(-1)
    if with_pairs.all():
        return grouped.clone()  # in half the time of indexing
    return grouped[:, with_pairs] if with_pairs.any() else grouped[:, :1].clone()
