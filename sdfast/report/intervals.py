"""How sure a correlation is."""

from statistics import NormalDist

import torch
from torch import Tensor

from sdfast.statistics import Estimator


def fisher_interval(moments: Tensor, estimator: Estimator, level: float) -> Tensor:
    """Return the lower and upper end of the correlations, (2, F, C), by Fisher's z transform."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a probability between 0 and 1, got {level!r}")
    edge = 1 - torch.finfo(torch.float64).eps / 2  # the largest number below 1: z is infinite at 1
    z = estimator.correlation(moments).clamp(-edge, edge).atanh()
    # Fisher's variances of z: 1 / (n - 3) for pairs in order, 1 / (n - 3/2) for pairs that may be swapped.
    freedom = moments[0] - estimator.lost_pairs
    reach = NormalDist().inv_cdf((1 + level) / 2) / freedom.clamp(min=0).sqrt()
    return torch.stack([z - reach, z + reach]).tanh()
