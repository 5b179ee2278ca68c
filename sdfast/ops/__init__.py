"""The operations, a file each: checks, schema, fake kernel, autograd and the direct way to a kernel."""

from sdfast.ops.arrays import Features, Labels, as_labels, as_numbers, over_arrays
from sdfast.ops.channel_bias import channel_bias
from sdfast.ops.checks import (
    FLOAT_DTYPES,
    check_factor,
    check_factor_values,
    check_features,
    check_no_gradient,
    check_probability,
    check_rank,
    check_unit_range,
    check_video,
)
from sdfast.ops.comoments import check_arguments as check_pairs
from sdfast.ops.comoments import comoments
from sdfast.ops.deviation_sums import deviation_sums
from sdfast.ops.kraskov import kraskov
from sdfast.ops.leave_one_out import correlations_without, leave_one_out
from sdfast.ops.normal_scores import normal_scores
from sdfast.ops.pair_means import pair_means
from sdfast.ops.pairwise_correlation import pairwise_correlation
from sdfast.ops.resampled_correlations import resampled_correlations
from sdfast.ops.static_dropout import GRANULARITIES, Dropping, static_dropout
from sdfast.ops.update_comoments import check_update, update_comoments

__all__ = [
    "FLOAT_DTYPES",
    "GRANULARITIES",
    "Dropping",
    "Features",
    "Labels",
    "as_labels",
    "as_numbers",
    "channel_bias",
    "check_factor",
    "check_factor_values",
    "check_features",
    "check_no_gradient",
    "check_pairs",
    "check_probability",
    "check_rank",
    "check_unit_range",
    "check_update",
    "check_video",
    "comoments",
    "correlations_without",
    "deviation_sums",
    "kraskov",
    "leave_one_out",
    "normal_scores",
    "over_arrays",
    "pair_means",
    "pairwise_correlation",
    "resampled_correlations",
    "static_dropout",
    "update_comoments",
]
