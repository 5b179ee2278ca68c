"""What sums over pairs say: the state that keeps them, and the kinds of correlation."""

from sdfast.statistics.channel_bias import ChannelBias, channel_bias
from sdfast.statistics.estimators import KINDS, Estimator, estimator_of, mutual_information, shares, variance
from sdfast.statistics.factors import DYNAMIC, FACTORS, STATIC
from sdfast.statistics.fisher import fisher_interval
from sdfast.statistics.grouped import GROUPS, GroupedCoMoments, add_to_groups
from sdfast.statistics.jackknife import Jackknife, Spread
from sdfast.statistics.state import CoMoments, add_batch, empty_moments, merge

__all__ = [
    "DYNAMIC",
    "FACTORS",
    "GROUPS",
    "KINDS",
    "STATIC",
    "ChannelBias",
    "CoMoments",
    "Estimator",
    "GroupedCoMoments",
    "Jackknife",
    "Spread",
    "add_batch",
    "add_to_groups",
    "channel_bias",
    "empty_moments",
    "estimator_of",
    "fisher_interval",
    "merge",
    "mutual_information",
    "shares",
    "variance",
]
