"""pairwise_correlation against NumPy float64: dtypes, layouts, blocks of samples, and what it refuses."""

import sys

import numpy as np
import pytest
import torch

import sdfast
from sdfast.backends import load
from tests import truth
from tests.support.features import LAYOUTS, feature_pair
from tests.support.tolerances import PRODUCT


@pytest.mark.parametrize("dtype", PRODUCT, ids=str)
@pytest.mark.parametrize("pool", [True, False])
def test_equals_numpy(dtype, pool):
    a, b, _ = feature_pair((50, 19, 3, 4), dtype)
    b = b[:, :7] + a[:, 5:6]
    matrix = truth.pairwise_correlation(*(truth.pooled_samples(x.double().numpy(), pool=pool) for x in (a, b)))
    for layout in LAYOUTS:
        actual = sdfast.pairwise_correlation(layout(a), layout(b), pool=pool)
        blur = 10 if pool and dtype in (torch.float16, torch.bfloat16) else 1  # of their mean, summed in float32
        np.testing.assert_allclose(actual, matrix, rtol=0, atol=PRODUCT[dtype] * blur)


@pytest.mark.parametrize("samples", [2, 7, 8, 30])
def test_equals_numpy_in_several_blocks_of_samples(monkeypatch, samples):
    module = sys.modules["sdfast.ops.pairwise_correlation"]
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    torch.manual_seed(0)
    a, b = torch.randn(samples, 5) + 3, torch.randn(samples, 4)
    expected = truth.pairwise_correlation(a, b)
    np.testing.assert_allclose(sdfast.pairwise_correlation(a, b), expected, rtol=0, atol=1e-6)


def test_right_at_large_means_and_dead_channels():
    torch.manual_seed(0)
    a = torch.randn(500, 3)
    b = torch.cat([a + torch.randn(500, 3), torch.ones(500, 1)], dim=1)
    matrix = sdfast.pairwise_correlation(a + 1e4, b)
    expected = truth.pairwise_correlation(a + 1e4, b[:, :3])
    np.testing.assert_allclose(matrix[:, :3], expected, rtol=0, atol=1e-6)
    assert (matrix[:, 3] == 0).all()


@pytest.mark.parametrize("channels_of_b", [6, 4], ids=["one shape", "two shapes"])
def test_means_of_positions_keep_the_digits_of_a_large_mean(channels_of_b):
    torch.manual_seed(0)
    a = torch.randn(400, 6, 1) + 0.1 * torch.randn(400, 6, 20) + 7e3
    b = (a + torch.randn(400, 6, 1))[:, :channels_of_b]
    expected = truth.pairwise_correlation(*(truth.pooled_samples(x.numpy()) for x in (a, b)))
    for layout in LAYOUTS:
        found = sdfast.pairwise_correlation(layout(a), layout(b))
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=PRODUCT[torch.float32])
    a.requires_grad_()
    found = sdfast.pairwise_correlation(a, b)
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=PRODUCT[torch.float32])
    found.square().sum().backward()
    assert a.grad.isfinite().all() and a.grad.any()


@pytest.mark.parametrize("scale", [1e-39, 1e36])
def test_spreads_beyond_the_inverse_of_float32_are_no_hindrance(scale):
    a, b, _ = feature_pair((50, 9), torch.float64)
    a, b = (a * scale).bfloat16(), (b * scale).bfloat16()
    expected = truth.pairwise_correlation(a.double() / scale, b.double() / scale)
    for dtype in (torch.bfloat16, torch.float32):
        found = sdfast.pairwise_correlation(a.to(dtype), b.to(dtype))
        np.testing.assert_allclose(found, expected, rtol=0, atol=PRODUCT[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rounding_leads_to_no_correlation_above_one(dtype):
    torch.manual_seed(0)
    features = torch.randn(100, 200, dtype=dtype)
    matrix = sdfast.pairwise_correlation(features, torch.cat([3 * features, -features], dim=1))
    assert matrix.abs().max() == 1
    scores = features - features.mean(0)
    scores /= scores.square().sum(0).sqrt()
    assert (scores * scores).sum(0).max() > 1, "but for rounding there would be nothing to hold back"


def test_what_rounding_leaves_of_a_mean_is_not_dropped():
    """The mean lies between two numbers of float32, far apart at its size: a tenth of the standard deviation."""
    torch.manual_seed(0)
    step = 2.0**-6  # between neighbours from 2^17 on
    a = 2.0**17 + step * torch.randint(-6, 8, (300, 3)).double()
    b = a.flip(1) + step * torch.randint(-6, 8, (300, 3))
    mean = a.mean(0)
    assert ((mean.float() - mean).abs() > step / 10).any()
    expected = truth.pairwise_correlation(a.numpy(), b.numpy())
    np.testing.assert_allclose(sdfast.pairwise_correlation(a.float(), b.float()), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wanted", ["a", "b", "both"])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 2)], ids=str)
def test_gradients_are_those_of_plain_torch(wanted, shape):
    torch.manual_seed(0)
    a = torch.randn(shape, dtype=torch.float64, requires_grad=wanted != "b")
    b = torch.randn(6, 4, dtype=torch.float64, requires_grad=wanted != "a")
    torch.autograd.gradcheck(sdfast.pairwise_correlation, (a, b))


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match="feats_b: expected 4 samples like feats_a, got 3"):
        sdfast.pairwise_correlation(torch.zeros(4, 2), torch.zeros(3, 2))
    with pytest.raises(TypeError, match="feats_b: expected dtype"):
        sdfast.pairwise_correlation(torch.zeros(4, 2), torch.zeros(4, 2).double())
    with pytest.raises(TypeError, match=r"feats_b: expected a numpy\.ndarray"):
        sdfast.pairwise_correlation(np.zeros((4, 2)), torch.zeros(4, 2))


def test_numpy_in_numpy_out():
    a, b, _ = feature_pair((20, 5, 4), torch.float32)
    matrix = sdfast.pairwise_correlation(a.numpy(), b.numpy())
    assert isinstance(matrix, np.ndarray)
    np.testing.assert_array_equal(matrix, sdfast.pairwise_correlation(a, b))


def test_one_sample_is_undefined():
    assert sdfast.pairwise_correlation(torch.randn(1, 4), torch.randn(1, 3)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(1, 2), (3, 70), (700, 65)], ids=str)
def test_standard_scores_are_those_of_plain_torch(isa, dtype, shape):
    """Also of rows that are apart."""
    torch.manual_seed(0)
    samples, (centre, scale, rest) = torch.randn(shape, dtype=dtype) + 5, torch.randn(3, shape[1], dtype=dtype)
    wide = torch.full((2 * shape[0], shape[1] + 3), torch.nan, dtype=dtype)
    wide[::2, : shape[1]] = samples
    expected = (samples - centre) * scale + rest
    for each in (samples, wide[::2, : shape[1]]):
        torch.testing.assert_close(load("cpu").standard_scores(each, centre, scale, rest), expected)
    for wrong in (
        (samples.half(), centre, scale, rest),
        (samples, centre[:0], scale, rest),
        (samples.T, *3 * [centre]),
    ):
        with pytest.raises(ValueError):
            load("cpu").standard_scores(*wrong)
