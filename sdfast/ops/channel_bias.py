"""Mutual information, correlation and number of samples from the kernel that sums them up."""

from typing import Any

from torch import Tensor

from sdfast.backends import is_direct, run
from sdfast.ops.arrays import Features, Labels
from sdfast.ops.comoments import check_arguments


def channel_bias(
    feats_a: Features,
    feats_b: Features,
    factor: Labels | None,
    num_factors: int,
    channel_dim: int,
    pool: bool,
    is_pearson: bool,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return mi, corr and count of each factor and channel, or None where they have to follow from the co-moments."""
    if is_direct(feats_a, feats_b, factor):
        return run("channel_bias", _check, (feats_a, feats_b, factor, num_factors, channel_dim, pool, is_pearson))
    return None


def _check(*args: Any) -> None:
    check_arguments(*args[:-1])
