"""What sums over pairs say: the states that keep them, the kinds of correlation, and how sure they are."""

from sdfast.statistics.bootstrap import bootstrap_interval
from sdfast.statistics.channel_bias import ChannelBias, channel_bias
from sdfast.statistics.comparison import Comparison, compare_groups
from sdfast.statistics.estimators import KINDS, Estimator, estimator_of, mutual_information, shares, variance
from sdfast.statistics.factors import DYNAMIC, FACTORS, STATIC
from sdfast.statistics.fisher import fisher_interval
from sdfast.statistics.grouped import GROUPS, GroupedCoMoments, add_to_groups
from sdfast.statistics.jackknife import Jackknife, Spread, sound_groups
from sdfast.statistics.kept_samples import KeptSamples
from sdfast.statistics.mi_bias import mutual_information_bias
from sdfast.statistics.planning import CLASSES, channel_classes, needed_sources
from sdfast.statistics.sample_estimators import SAMPLE_ESTIMATORS, sample_information
from sdfast.statistics.sampled import SampledCoMoments
from sdfast.statistics.sign_flips import content_correlation, sign_flip_test
from sdfast.statistics.state import CoMoments, PairState, add_batch, empty_moments, merge
from sdfast.statistics.student import student_quantile, student_within

__all__ = [
    "CLASSES",
    "DYNAMIC",
    "FACTORS",
    "GROUPS",
    "KINDS",
    "SAMPLE_ESTIMATORS",
    "STATIC",
    "ChannelBias",
    "CoMoments",
    "Comparison",
    "Estimator",
    "GroupedCoMoments",
    "Jackknife",
    "KeptSamples",
    "PairState",
    "SampledCoMoments",
    "Spread",
    "add_batch",
    "add_to_groups",
    "bootstrap_interval",
    "channel_bias",
    "channel_classes",
    "compare_groups",
    "content_correlation",
    "empty_moments",
    "estimator_of",
    "fisher_interval",
    "merge",
    "mutual_information",
    "mutual_information_bias",
    "needed_sources",
    "sample_information",
    "shares",
    "sign_flip_test",
    "sound_groups",
    "student_quantile",
    "student_within",
    "variance",
]
