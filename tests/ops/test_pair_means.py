"""Averages over positions of both features, against NumPy; gradients against those of torch's own average."""

import numpy as np
import pytest
import torch

import sdfast
from sdfast.ops import pair_means
from tests.support.features import LAYOUTS, feature_pair
from tests.support.tolerances import MOMENTS

SHAPES = [(5, 7), (3, 4, 6), (300, 5, 4), (6, 16, 2, 3, 4)]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_numpy(shape, layout, backend):
    a, b, _ = feature_pair(shape, torch.float32)
    with sdfast.use_backend(backend):
        found = pair_means(layout(a), layout(b))
    assert found.shape == (2, *shape[:2]) and found.dtype == torch.float64
    for mine, x in zip(found, (a, b), strict=True):
        expected = x.double().numpy().reshape(*shape[:2], -1).mean(2)
        np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_dtypes(dtype):
    a, b, _ = feature_pair((4, 6, 50), dtype)
    np.testing.assert_allclose(pair_means(a, b)[1], b.double().mean(2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "channel_dim"), [((4, 3), 1), ((4, 3, 2, 5), 1), ((4, 5, 3), -1), ((4, 2, 3, 5), 2)])
def test_gradients(shape, channel_dim):
    a, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    call = lambda a, b: pair_means(a, b, channel_dim)  # noqa: E731
    assert torch.autograd.gradcheck(call, (a, b)) and torch.autograd.gradgradcheck(call, (a, b))


def test_operator():
    a, b = torch.randn(2, 4, 3, 5, requires_grad=True).unbind()
    torch.library.opcheck(torch.ops.sdfast.pair_means, (a.detach().requires_grad_(), b.detach(), 1))


def test_compiles():
    a, b = torch.randn(2, 4, 3, 5)
    found = torch.compile(pair_means, fullgraph=True, backend="aot_eager")(a, b)
    torch.testing.assert_close(found, pair_means(a, b))


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"feats_b: expected shape \(3, 2\) like feats_a, got \(3, 4\)"):
        pair_means(torch.ones(3, 2), torch.ones(3, 4))
