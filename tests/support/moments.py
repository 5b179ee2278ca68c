"""Co-moments of tensors by the NumPy truth, moments made to measure, and how near to the truth others come."""

import numpy as np
import torch
from torch import Tensor

from tests import truth


def true_moments(a: Tensor, b: Tensor, factor: Tensor | None = None, *args, **kwargs) -> np.ndarray:
    """Return the co-moments of tensors of any dtype on any device, (6, F, C) float64."""
    factor = None if factor is None else factor.cpu().numpy()
    return truth.comoments(a.double().cpu().numpy(), b.double().cpu().numpy(), factor, *args, **kwargs)


def moments_error(actual: Tensor, expected: np.ndarray) -> float:
    """Return the largest error, each to its moment's own scale: means to the spread, products to the variances.

    Wrong counts and NaN are infinitely wrong.
    """
    count, mean_a, mean_b, m2_a, m2_b, _ = expected
    if not np.array_equal(actual[0].cpu().numpy(), count):
        return np.inf
    spread = np.sqrt((m2_a + m2_b) / np.maximum(count, 1))
    means = (np.maximum(np.maximum(np.abs(mean), spread), 1e-9) for mean in (mean_a, mean_b))
    products = (np.maximum(scale, 1e-6) for scale in (m2_a, m2_b, np.sqrt(m2_a * m2_b)))
    error = np.abs(actual.cpu().numpy() - expected)[1:] / np.stack([*means, *products])
    return float(np.nan_to_num(error, nan=np.inf).max())


def assert_moments(actual: Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Compare with each moment's own scale."""
    error = moments_error(actual, expected)
    assert error <= tolerance, error


def with_corr(
    dynamic: list[float], static: list[float], count: int | list[int] = 100, scale: float | list[float] = 1.0
) -> Tensor:
    """Return co-moments that have these correlations exactly, with variances of `scale`."""
    corr = torch.tensor([dynamic, static], dtype=torch.float64)
    moments = torch.zeros(6, *corr.shape, dtype=torch.float64)
    moments[0] = torch.as_tensor(count).view(-1, 1) if isinstance(count, list) else count
    moments[3:5] = moments[0] * torch.as_tensor(scale)
    moments[5] = corr * moments[3]
    return moments
