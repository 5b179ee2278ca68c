"""Kinds of correlation: what each makes of co-moments, from a channel's correlation to a layer's dimensions.

Co-moments are (6, ..., F, C) here: any number of states at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sdfast.statistics.state import merge


@dataclass(frozen=True)
class Estimator:
    """A kind of correlation, and how the numbers of a layer follow from it.

    Args:
        name: of the kind.
        is_pearson: how the kernels tell the kinds apart.
        lost_pairs: Fisher's z of n independent pairs has variance 1 / (n - lost_pairs).
    """

    name: str
    is_pearson: bool
    lost_pairs: float

    def correlation(self, moments: Tensor) -> Tensor:
        """Return the correlations (..., F, C): NaN below two samples, 0 for zero variance."""
        covariance, scale, alive = self._terms(moments)
        corr = covariance / torch.where(alive, scale, 1.0)
        corr = torch.where(alive | covariance.isnan(), corr.clamp(-1, 1), 0.0)
        return torch.where(moments[0] >= 2, corr, torch.nan)

    def layer_score(self, moments: Tensor) -> Tensor:
        """Return the score of each factor over all channels and 1 for the residual, (..., F + 1).

        Channels that are NaN or infinite in any factor are left out. NaN below two pairs.
        """
        known = moments.isfinite().all(dim=0).all(dim=-2, keepdim=True)  # (..., 1, C)
        shared, scale = (torch.where(known, x, 0.0).sum(-1) for x in self._score_terms(moments))
        score = torch.where(scale == 0, 0.0, shared / scale)
        enough = ((moments[0] >= 2) & known).any(-1)
        return torch.cat([torch.where(enough, score, torch.nan), score.new_ones((*score.shape[:-1], 1))], dim=-1)

    def dimensions(self, scores: Tensor, num_channels: int) -> Tensor:
        """Divide the channels among the factors and the residual, (F + 1,) int64; all 0 where a score is undefined."""
        if scores.isnan().any():
            return torch.zeros(len(scores), dtype=torch.int64)
        quota = num_channels * shares(scores)
        dims = quota.floor().long()
        return dims + self._rest(quota - dims, num_channels - int(dims.sum()))

    def percentages(self, scores: Tensor, num_channels: int) -> Tensor:
        """Return the shares in percent, (F + 1,), to one decimal; NaN where a score is undefined."""
        raise NotImplementedError

    def _terms(self, moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return numerator and denominator of the correlations (..., F, C), and where a channel varies."""
        raise NotImplementedError

    def _score_terms(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a layer's score divides, each summed over the channels: (..., F, C) or (..., 1, C)."""
        raise NotImplementedError

    def _rest(self, remainders: Tensor, left: int) -> Tensor:
        """Return which factors the channels go to that truncation has left."""
        raise NotImplementedError


class Pearson(Estimator):
    """Pearson's correlation; a layer's score is its mean, weighted by variance, and nothing is cut off."""

    def percentages(self, scores: Tensor, num_channels: int) -> Tensor:
        """Return the shares in percent, (F + 1,), to one decimal; NaN where a score is undefined."""
        return (100 * shares(scores)).round(decimals=1)

    def _terms(self, moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, _, _, m2_a, m2_b, c_ab = moments
        alive = (m2_a != 0) & (m2_b != 0)
        m2_a, m2_b = torch.where(alive, m2_a, 1.0), torch.where(alive, m2_b, 1.0)
        # sqrt(m2_a * m2_b), but neither overflowing nor inexact where a = b.
        return c_ab, (m2_a / m2_b).sqrt() * m2_b, alive

    def _score_terms(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        _, _, _, m2_a, m2_b, c_ab = moments
        return c_ab, m2_a.sqrt() * m2_b.sqrt()

    def _rest(self, remainders: Tensor, left: int) -> Tensor:
        # By largest remainder, which favours none.
        rest = torch.zeros(len(remainders), dtype=torch.int64)
        rest[remainders.argsort(descending=True, stable=True)[:left]] = 1
        return rest


class Intraclass(Estimator):
    """The intraclass correlation, scores and truncated dimensions of the authors' code."""

    def percentages(self, scores: Tensor, num_channels: int) -> Tensor:
        """Return the truncated dimensions in percent, (F + 1,), to one decimal; NaN where a score is undefined."""
        dims = self.dimensions(scores, num_channels).double()
        return (100 * dims / dims.sum()).round(decimals=1)

    def _terms(self, moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count, mean_a, mean_b, m2_a, m2_b, c_ab = moments
        n = count.clamp(min=1)
        gap = (mean_a - mean_b).square() / 4
        scale = (m2_a + m2_b) / (2 * n) + gap
        return c_ab / n - gap, scale, scale != 0

    def _score_terms(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        count, mean_a, mean_b, _, _, c_ab = moments
        return c_ab / count - (mean_a - mean_b).square() / 4, variance(moments).unsqueeze(-2)

    def _rest(self, remainders: Tensor, left: int) -> Tensor:
        rest = torch.zeros(len(remainders), dtype=torch.int64)
        rest[-1] = left  # to the residual
        return rest


_PEARSON = Pearson("pearson", is_pearson=True, lost_pairs=3.0)
_INTRACLASS = Intraclass("intraclass", is_pearson=False, lost_pairs=1.5)  # the two of a pair may be swapped
ESTIMATORS = {estimator.name: estimator for estimator in (_PEARSON, _INTRACLASS)}
KINDS = tuple(ESTIMATORS)


def estimator_of(kind: str) -> Estimator:
    """Return the estimator of a kind of correlation.

    Raises:
        ValueError: there is no such kind.

    >>> estimator_of("pearson").name
    'pearson'
    """
    if kind not in ESTIMATORS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return ESTIMATORS[kind]


def mutual_information(corr: Tensor) -> Tensor:
    """Return -log(1 - corr^2) / 2 in nats, the mutual information of Gaussian features; inf at corr ±1."""
    return -0.5 * torch.log1p(-corr.square())


def variance(moments: Tensor) -> Tensor:
    """Return the population variance of each channel, (..., C), over the pairs of all factors, both clips together."""
    # A clip's features as if they were a pair with itself: then merging is the formula there already is.
    clips = torch.stack([moments[[0, 1, 1, 3, 3, 3]], moments[[0, 2, 2, 4, 4, 4]]])  # (2, 6, ..., F, C)
    merged = merge(clips.movedim(-2, 1).flatten(0, 1))  # over (2 F, 6, ..., C)
    return merged[3] / merged[0]


def shares(scores: Tensor) -> Tensor:
    """Return the softmax of the layer scores: the part of the dimensions that each factor takes."""
    return torch.softmax(scores, dim=-1)
