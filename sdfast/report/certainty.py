"""How sure the numbers of a layer are: intervals, tests, classes that stay open, and how many sources would do."""

import math
from collections import Counter
from functools import cached_property

import torch
from torch import Tensor

from sdfast.report.reading import SHARES, Reading
from sdfast.statistics import (
    CLASSES,
    DYNAMIC,
    Jackknife,
    bootstrap_interval,
    channel_classes,
    content_correlation,
    fisher_interval,
    mutual_information_bias,
    needed_sources,
    sign_flip_test,
)

LABELS = ("joint", *SHARES, "undetermined")
METHODS = ("jackknife", "bootstrap", "bca", "fisher")
FEW_SOURCES = 10  # below, intervals hold less surely than they say


class Certainty(Reading):
    """The numbers of a `BiasReport`, and how sure they are.

    What needs co-moments by groups of sources is NaN, or refused, without them.
    """

    @cached_property
    def _jackknife(self) -> Jackknife:
        if self.groups is None:
            raise ValueError("groups: expected co-moments by groups of sources, moments (6, G, 2, C), got none")
        return Jackknife(self.groups, self._estimator)

    @property
    def num_sources(self) -> int | None:
        """How many sources, videos for example, the pairs were cut from; None where nobody knows.

        With groups whose sources nobody counted: how many of the groups have pairs, which there are at least.
        """
        return self.sources

    @property
    def method(self) -> str:
        """How intervals are made unless asked for otherwise: "jackknife" where there are groups, else "fisher"."""
        return "fisher" if self.groups is None else "jackknife"

    def interval(self, level: float | None = None, method: str | None = None) -> Tensor:
        """Return the confidence interval of the correlations, (2, 2, C): lower and upper end first.

        Args:
            level: the confidence, between 0 and 1. Default: that of the report.
            method: "jackknife" trusts sources to be independent, and nothing else of the pairs: clips of one video
                may have anything in common. So do "bootstrap" and "bca", 2,000 resamples of the groups, which are
                narrower of few sources. "fisher" trusts all pairs to be independent and near normal; clips of one
                video, or positions counted as samples, are not, and then it is far too narrow. Default: the
                jackknife where there are groups, else "fisher".

        Returns:
            NaN where sources cannot tell: below two groups with pairs of a factor, and in undefined channels.

        Raises:
            ValueError: level is no probability, there is no such method, or it needs groups and there are none.

        Source: `Jackknife`, `bootstrap_interval` and `fisher_interval` of `sdfast.statistics`.
        """
        level, method = self.level if level is None else level, method or self.method
        if method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
        if method == "fisher":
            return fisher_interval(self.moments, self._estimator, level)
        if method == "jackknife":
            return self._jackknife.correlation_interval(level)
        return bootstrap_interval(self._jackknife, level, method=method)

    def layer_interval(self, level: float | None = None) -> Tensor:
        """Return the lower and upper end of the layer's scores, (2, 3), by the jackknife; NaN without groups.

        Raises:
            ValueError: level is not a probability.
        """
        if self.groups is None:
            return torch.full((2, len(SHARES)), torch.nan, dtype=torch.float64)
        return self._jackknife.scores.interval(self.level if level is None else level)

    def share_interval(self, level: float | None = None) -> Tensor:
        """Return the lower and upper end of the layer's shares in percent, (2, 3), likewise; NaN without groups.

        They are those of the softmax, before "intraclass" cuts its dimensions to whole channels.

        Raises:
            ValueError: level is not a probability.
        """
        if self.groups is None:
            return torch.full((2, len(SHARES)), torch.nan, dtype=torch.float64)
        return 100 * self._jackknife.shares.interval(self.level if level is None else level)

    @property
    def mi_corrected(self) -> Tensor:
        """Mutual information in nats less what so few pairs add to it, (2, C); below 0 by chance, inf at corr ±1.

        By the jackknife over sources. Without groups, for independent normal pairs, exactly; NaN for "intraclass",
        of which no such formula is known, and for estimators other than "gaussian".

        Source: Quenouille's correction by `Jackknife`, and `mutual_information_bias` of `sdfast.statistics`.
        """
        if self.groups is not None and self.information is None:
            return self._jackknife.mi_corrected
        if not self._estimator.is_pearson or self.information is not None:
            return torch.full_like(self.moments[0], torch.nan)
        return self.mi - mutual_information_bias(self.moments[0])

    @property
    def dominated(self) -> Tensor:
        """Where one group of sources carries most of the variance, (2, C) bool; intervals may be too narrow there.

        With fewer than some ten groups one often does, and it says no more than that they are few.
        """
        if self.groups is None:
            return torch.zeros_like(self.corr, dtype=torch.bool)
        spread = self._jackknife.z
        return (spread.largest_part > 0.5) & (spread.groups > 2)

    def test(
        self, alternative: str = "two-sided", adjust: str | None = None, *, flips: int = 9999, seed: int = 0
    ) -> Tensor:
        """Return p values of the hypothesis that a channel's clips share nothing, (2, C), by signs of groups flipped.

        Args:
            alternative: "two-sided", or "greater" or "less" for correlations above or below 0.
            adjust: None; "bh" for the rate of false discoveries, "maxT" for the probability of a single one, over
                all channels and both factors.
            flips: how many random signs to draw where there are more than 12 groups.
            seed: of the draws.

        Raises:
            ValueError: there are no groups of sources, or an argument is none of these.

        Source: `sdfast.statistics.sign_flip_test`.
        """
        if self.groups is None:
            raise ValueError("groups: expected co-moments by groups of sources, which flipped signs need, got none")
        return sign_flip_test(self.groups, alternative=alternative, adjust=adjust, flips=flips, seed=seed)

    def content_corr(self, num_styles: int) -> Tensor:
        """Return the dynamic correlations of pairs whose styles are always distinct, (C,), without what that costs.

        Args:
            num_styles: how many styles K the pairs were drawn from. Features of style alone correlate by -1 / (K - 1)
                then; here they have 0.

        Raises:
            ValueError: num_styles is below 2.

        Source: ((K - 1) corr + 1) / K, `sdfast.statistics.content_correlation`.
        """
        return content_correlation(self.corr[DYNAMIC], num_styles)

    def needed_sources(self, half_width: float = 0.01) -> int | None:
        """Return about how many sources it takes until every share is known to ± half_width, a fraction of the layer.

        None where it cannot be known: without groups, below two of them, or where a score is undefined.

        Raises:
            ValueError: half_width is not positive.
        """
        low, high = self.share_interval() / 100
        widest = float((high - low).max()) / 2
        if self.sources is None or math.isnan(widest):
            return None
        return needed_sources(widest, half_width, self.sources)

    @property
    def point_labels(self) -> list[str]:
        """Class of each channel by its estimates alone, however unsure, C strings; none is "undetermined"."""
        return self._labels(torch.stack([self.corr, self.corr]))

    @property
    def labels(self) -> list[str]:
        """Class of each channel, C strings: which correlations exceed the threshold.

        "undetermined" where an interval, at the report's level, holds the threshold or is unknown. Dead and undefined
        channels are residual: every channel is in exactly one class.
        """
        return self._labels(self.interval())

    def _labels(self, interval: Tensor) -> list[str]:
        return [CLASSES[i] for i in channel_classes(interval, self.threshold, self.dead | self.undefined).tolist()]

    @property
    def classes(self) -> dict[str, int]:
        """How many channels each class has."""
        found = Counter(self.labels)
        return {label: found[label] for label in LABELS}
