"""What sums over pairs say: the state that keeps them, and the kinds of correlation."""

from sdfast.statistics.channel_bias import ChannelBias, channel_bias
from sdfast.statistics.estimators import KINDS, Estimator, estimator_of, mutual_information, shares, variance
from sdfast.statistics.factors import DYNAMIC, FACTORS, STATIC
from sdfast.statistics.state import CoMoments, PairState, add_batch, empty_moments, merge

__all__ = [
    "DYNAMIC",
    "FACTORS",
    "KINDS",
    "STATIC",
    "ChannelBias",
    "CoMoments",
    "Estimator",
    "PairState",
    "add_batch",
    "channel_bias",
    "empty_moments",
    "estimator_of",
    "merge",
    "mutual_information",
    "shares",
    "variance",
]
