"""What few pairs add to mutual information."""

import torch
from torch import Tensor


def mutual_information_bias(count: Tensor) -> Tensor:
    """Return by how much the mutual information of N independent pairs is too large on average, in nats.

    It is the same whatever the correlation, but holds for Pearson's of Gaussian pairs only: not for the intraclass
    correlation, nor where pairs share a source. There the jackknife is to be taken.

    Args:
        count: how many pairs N there are, of any shape.

    Returns:
        (psi((N - 1) / 2) - psi((N - 2) / 2)) / 2, float64: about 1 / (2 N); NaN below three pairs.

    Source: Ince et al., Human Brain Mapping 38 (2017), after Goodman, IEEE Trans. Inf. Theory 9 (1963).

    >>> mutual_information_bias(torch.tensor([20, 1000]))
    tensor([0.0285, 0.0005], dtype=torch.float64)
    """
    count = count.double()
    bias = (torch.digamma((count - 1) / 2) - torch.digamma((count - 2) / 2)) / 2
    return torch.where(count > 2, bias, torch.nan)
