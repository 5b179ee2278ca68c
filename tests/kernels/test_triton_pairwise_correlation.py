"""The Triton pairwise correlation in the interpreter: NumPy's numbers, whatever the means, and the corner cases."""

import numpy as np
import pytest
import torch

import sdfast
from tests import truth
from tests.support.features import feature_pair, transposed
from tests.support.tolerances import PRODUCT
from tests.support.triton_modes import interpreted


@pytest.fixture
def kernels(monkeypatch):
    """The interpreted kernels; spans so short that a few samples are shared by several programs."""
    with interpreted() as modules:
        for name, value in (("BLOCK", 32), ("SPAN", 32)):
            monkeypatch.setattr(modules["pairwise_correlation"], name, value)
        yield modules["pairwise_correlation"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(2, 1, 1), (50, 37, 5), (300, 3, 70)], ids=str)
@pytest.mark.parametrize("programs", [0, 4], ids=["alone", "shared"])
def test_interpreted_equals_numpy(kernels, shape, dtype, programs):
    kernels.PROGRAMS = programs
    samples, channels_a, channels_b = shape
    a, _, _ = feature_pair((samples, channels_a), dtype)
    b = feature_pair((samples, channels_b), dtype, seed=1)[0] + a[:, :1]
    for layout_a, layout_b in ((torch.clone, torch.clone), (transposed, torch.clone), (torch.clone, transposed)):
        actual = kernels.pairwise_correlation(layout_a(a), layout_b(b))
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, truth.pairwise_correlation(a, b), rtol=0, atol=PRODUCT[dtype])


def test_large_means_lose_nothing(kernels):
    torch.manual_seed(0)
    a = torch.randn(500, 3)
    b = a + torch.randn(500, 3)
    np.testing.assert_allclose(
        kernels.pairwise_correlation(a + 1e4, b), truth.pairwise_correlation(a + 1e4, b), rtol=0, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_dead_channels_are_zero_and_bad_values_stay_in_their_row(kernels):
    a, b, _ = feature_pair((40, 6), torch.float32)
    clean = kernels.pairwise_correlation(a, b)
    a[:, 1], a[3, 2], b[5, 4] = 0.1, torch.inf, torch.nan
    matrix = kernels.pairwise_correlation(a, b)
    assert matrix[2].isnan().all() and matrix[:, 4].isnan().all()
    keep = torch.tensor([0, 1, 2, 3, 5])
    assert (matrix[1, keep] == 0).all()
    others = torch.tensor([0, 3, 4, 5])
    torch.testing.assert_close(matrix[others][:, keep], clean[others][:, keep], rtol=0, atol=1e-6)


def test_equal_channels_correlate_no_more_than_fully_and_runs_repeat(kernels):
    a = torch.randn(100, 40)
    matrix = kernels.pairwise_correlation(a, a)
    assert matrix.abs().max() <= 1 and torch.allclose(matrix.diagonal(), torch.ones(40), atol=1e-6)
    assert torch.equal(matrix, kernels.pairwise_correlation(a, a))


def test_samples_are_shared_by_whole_spans():
    from sdfast.kernels.pairwise_correlation import splits_of

    for tiles in (1, 7, 5000):
        for spans in (1, 3, 100):
            splits, steps = splits_of(tiles, spans, 528)
            assert (splits - 1) * steps < spans <= splits * steps
            assert splits == 1 or tiles * splits <= 528


def test_the_public_function_comes_here(kernels, monkeypatch):
    """With this backend forced, and only outside of autograd."""
    calls = []
    run = kernels.pairwise_correlation
    a, b, _ = feature_pair((30, 5, 3), torch.float16)
    expected = sdfast.pairwise_correlation(a, b)
    monkeypatch.setattr("sdfast.backends.table.load", lambda name: kernels)
    monkeypatch.setattr(kernels, "pairwise_correlation", lambda a, b: calls.append(1) or run(a, b))
    with sdfast.use_backend("triton"):
        torch.testing.assert_close(sdfast.pairwise_correlation(a, b), expected, rtol=0, atol=2e-6)
        assert calls == [1]
        sdfast.pairwise_correlation(a.float().requires_grad_(), b.float()).sum().backward()
    assert calls == [1]
