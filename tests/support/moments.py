"""Co-moments of tensors by the NumPy truth, moments made to measure, and how near to the truth others come."""

import numpy as np
import torch
from torch import Tensor

from tests import truth


def true_moments(a: Tensor, b: Tensor, factor: Tensor | None = None, **kwargs) -> np.ndarray:
    """Return the co-moments of tensors of any dtype, (6, F, C) float64."""
    factor = None if factor is None else factor.numpy()
    return truth.comoments(a.double().numpy(), b.double().numpy(), factor, **kwargs)


def assert_moments(actual: Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Compare with each moment's own scale: means with the spread, products with the variances."""
    actual = actual.numpy()
    count, _, _, m2_a, m2_b, _ = expected
    np.testing.assert_array_equal(actual[0], count)
    spread = np.sqrt((m2_a + m2_b) / np.maximum(count, 1))
    for row in (1, 2):
        scale = np.maximum(np.abs(expected[row]), spread)
        assert np.all(np.abs(actual[row] - expected[row]) <= tolerance * np.maximum(scale, 1e-9))
    for row, scale in ((3, m2_a), (4, m2_b), (5, np.sqrt(m2_a * m2_b))):
        error = np.abs(actual[row] - expected[row])
        assert np.all(error <= tolerance * np.maximum(scale, 1e-6)), error.max()


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
