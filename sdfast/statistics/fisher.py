"""Fisher's z transform of correlations, and the interval that it gives for independent pairs."""

from statistics import NormalDist

import torch
from torch import Tensor

from sdfast.statistics.estimators import Estimator


def fisher_z(corr: Tensor) -> Tensor:
    """Return artanh of correlations, the scale on which their errors are near normal; finite at ±1 (about ±18.7).

    >>> fisher_z(torch.tensor([0.0, 1.0], dtype=torch.float64)).isfinite().all().item()
    True
    """
    edge = 1 - torch.finfo(torch.float64).eps / 2  # the largest number below 1
    return corr.clamp(-edge, edge).atanh()


def fisher_interval(moments: Tensor, estimator: Estimator, level: float) -> Tensor:
    """Return the lower and upper end of the correlations, (2, F, C), by Fisher's z transform.

    Args:
        moments: co-moments (6, F, C) of independent, near normal pairs. For others it is far too narrow.
        estimator: the kind of correlation.
        level: the confidence, between 0 and 1.

    Raises:
        ValueError: level is not a probability.

    Source: Fisher's variances of z: 1 / (n - 3) for pairs in order, 1 / (n - 3/2) for pairs that may be swapped.
    """
    check_level(level)
    z = fisher_z(estimator.correlation(moments))
    freedom = moments[0] - estimator.lost_pairs
    reach = NormalDist().inv_cdf((1 + level) / 2) / freedom.clamp(min=0).sqrt()
    return torch.stack([z - reach, z + reach]).tanh()


def check_level(level: float) -> None:
    """Raise ValueError unless the confidence is a probability between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a probability between 0 and 1, got {level!r}")
