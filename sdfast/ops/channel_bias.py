"""Mutual information, correlation and number of samples from the kernel that sums them up."""

from functools import partial

from sdfast.backends import run
from sdfast.ops.comoments import check_arguments


def _check_arguments(*args) -> None:
    check_arguments(*args[:-1])


# Called with a tuple: the arguments of `comoments`, and whether Pearson's correlation is meant. Returns mi, corr and
# count of each factor and channel, or None where the backend has no such kernel and they follow from the co-moments.
channel_bias = partial(run, "channel_bias", _check_arguments)
