"""How far values lie from their mean."""

import torch
from torch import Tensor

from sdfast.backends import compose, is_eager, run_or_compose


def deviation_sums(values: Tensor) -> Tensor:
    """Return the mean of values, and of the deviations from it what tells their variance and kurtosis.

    Args:
        values: (K, ...), not empty; for all but float64 it is composed of torch's own operations.

    Returns:
        (4, ...) of the same dtype: mean, sum of squared deviations, sum of their fourth powers, and the largest square.

    Raises:
        TypeError: values are no floating-point tensor.
        ValueError: there are none.

    >>> import torch
    >>> deviation_sums(torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)).T
    tensor([[ 3., 14., 98.,  9.]], dtype=torch.float64)
    """
    _check(values)
    flat = values.reshape(len(values), -1)
    if values.dtype != torch.float64 or values.requires_grad or not is_eager(values, None, None):
        return compose("deviation_sums", flat).view(4, *values.shape[1:])
    return run_or_compose("deviation_sums", _check, (flat.contiguous(),)).view(4, *values.shape[1:])


def _check(values: Tensor) -> None:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"values: expected a floating-point torch.Tensor, got {got}")
    if values.ndim < 1 or not values.numel():
        raise ValueError(f"values: expected shape (K, ...), none of it empty, got {tuple(values.shape)}")
