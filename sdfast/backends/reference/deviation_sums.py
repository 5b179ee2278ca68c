"""How far values lie from their mean in plain torch, on any device."""

import torch
from torch import Tensor


def deviation_sums(values: Tensor) -> Tensor:
    """Return mean, sum of squared deviations, sum of their fourth powers and largest square, (4, C), of (K, C)."""
    mean = values.mean(0)
    squares = (values - mean).square()
    return torch.stack([mean, squares.sum(0), squares.square().sum(0), squares.amax(0)])
