"""How far values lie from their mean, against NumPy, on every instruction set."""

import numpy as np
import pytest
import torch

import sdfast
from sdfast.backends import load
from sdfast.ops import deviation_sums

_C = load("cpu")


def expected_of(values):
    gaps = values - values.mean(0)
    return np.array([values.mean(0), (gaps**2).sum(0), (gaps**4).sum(0), (gaps**2).max(0)])


@pytest.mark.parametrize("shape", [(1,), (2, 1), (64, 7), (65, 2, 33), (20, 3, 100)], ids=str)
def test_equals_numpy(isa, shape):
    values = np.random.default_rng(0).normal(size=shape) + 5
    found = deviation_sums(torch.from_numpy(values))
    np.testing.assert_allclose(found, expected_of(values), rtol=1e-13, atol=1e-13)
    with sdfast.use_backend("reference"):
        np.testing.assert_allclose(deviation_sums(torch.from_numpy(values)), found, rtol=1e-13, atol=1e-13)


def test_strides_and_what_is_not_finite(isa):
    values = torch.randn(9, 30, generator=torch.Generator().manual_seed(0)).double()
    whole = deviation_sums(values)
    assert torch.equal(deviation_sums(values.T.contiguous().T), whole)
    torch.testing.assert_close(
        deviation_sums(values[::2, ::3]), torch.from_numpy(expected_of(values[::2, ::3].numpy()))
    )
    torch.testing.assert_close(deviation_sums(values.float()), whole.float())
    values[4, 11] = torch.nan
    others = [c for c in range(30) if c != 11]
    found = deviation_sums(values)
    assert found[:3, 11].isnan().all() and torch.equal(found[:, others], whole[:, others])


def test_equal_values_do_not_deviate(isa):
    found = deviation_sums(torch.full((64, 5), 0.1, dtype=torch.float64))
    assert (found[1:] <= 1e-30).all()


def test_what_does_not_fit_is_named():
    for values, got in ((torch.arange(3), r"torch\.int64"), ([1.0], "list")):
        with pytest.raises(TypeError, match=rf"values: expected a floating-point torch\.Tensor, got {got}"):
            deviation_sums(values)
    with pytest.raises(ValueError, match=r"values: expected shape \(K, \.\.\.\), none of it empty, got \(0, 2\)"):
        deviation_sums(torch.zeros(0, 2, dtype=torch.float64))
