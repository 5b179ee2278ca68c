"""The static bias as a loss: against NumPy, its gradient against autograd's of the plain formula, and its use."""

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from tests import truth


def features(shape=(12, 5, 2, 3), dtype=torch.float64, seed=0):
    common, a, b = torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sign = torch.where(torch.arange(shape[1]) % 3 == 0, -1.0, 1.0).view(1, -1, *[1] * (len(shape) - 2))
    return [x.to(dtype).requires_grad_() for x in (common + a, sign * common + b)]


def composed(a, b, factor=None, eps=1e-8):
    """The same by autograd, step by step as in a paper."""
    a, b = (x.flatten(2).mean(2) if x.ndim > 2 else x for x in (a, b))

    def corr(keep):
        da, db = (x[keep] - x[keep].mean(0) for x in (a, b))
        return (da * db).sum(0) / ((da.square().sum(0) + eps) * (db.square().sum(0) + eps)).sqrt()

    if factor is None:
        return corr(slice(None)).clamp(min=0).mean()
    return corr(factor == 1).clamp(min=0).mean() - corr(factor == 0).mean()


def test_equals_numpy():
    a, b = features()
    corr = truth.correlation(truth.comoments(a.detach().numpy(), b.detach().numpy()))[0]
    assert (corr < 0).any(), "some do not count"
    assert sdfast.bias_penalty(a, b).item() == pytest.approx(np.maximum(corr, 0).mean(), abs=1e-7)


@pytest.mark.parametrize("shape", [(12, 5, 2, 3), (12, 5)], ids=str)
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_value_and_gradient_are_those_of_the_plain_formula(shape, labelled, dtype, tolerance):
    a, b = features(shape, dtype)
    factor = torch.arange(12) % 2 if labelled else None
    penalty, plain = sdfast.bias_penalty(a, b, factor), composed(a.double(), b.double(), factor)
    torch.testing.assert_close(penalty, plain, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-6)
    for found, expected in zip(torch.autograd.grad(penalty, (a, b)), torch.autograd.grad(plain, (a, b)), strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("labelled", [False, True])
def test_gradcheck(labelled):
    factor = torch.arange(12) % 2 if labelled else None
    assert torch.autograd.gradcheck(lambda a, b: sdfast.bias_penalty(a, b, factor), features())


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, "u1", "?"], ids=str)
def test_labels_of_any_integer_dtype_and_bool(kind):
    a, b = features()
    factor = torch.arange(12) % 2
    expected = sdfast.bias_penalty(a, b, factor)
    factor = factor.to(kind) if isinstance(kind, torch.dtype) else factor.numpy().astype(kind)
    assert sdfast.bias_penalty(a, b, factor).item() == expected.item()


def test_dead_channels_and_single_pairs_add_nothing():
    a, b = features()
    with torch.no_grad():
        a[:, 1], b[:, 1] = 2.0, 2.0
    penalty = sdfast.bias_penalty(a, b)
    penalty.backward()
    assert penalty.isfinite() and a.grad.isfinite().all() and b.grad.isfinite().all()
    assert sdfast.bias_penalty(a[:1], b[:1]).item() == 0
    lonely = torch.tensor([0] + [1] * 11)
    torch.testing.assert_close(sdfast.bias_penalty(a, b, lonely), sdfast.bias_penalty(a[1:], b[1:]))


def test_descending_makes_static_features_less_static():
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    clips = torch.randn(64, 6)
    still = torch.cat([clips[:, :3], torch.randn(64, 3)], dim=1)  # half of what is seen does not change
    optimizer = torch.optim.SGD(layer.parameters(), 0.5)
    losses = []
    for _ in range(60):
        losses.append(sdfast.bias_penalty(layer(clips), layer(still)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0] > 0.2 and losses[-1] < 0.3 * losses[0]


def test_errors_name_the_argument():
    a, b = features()
    with pytest.raises(ValueError, match="feats_b: expected shape"):
        sdfast.bias_penalty(a, b[:, :3])
    with pytest.raises(ValueError, match="factor: expected labels from 0 to 1, got 2"):
        sdfast.bias_penalty(a, b, torch.full((12,), 2))
    with pytest.raises(TypeError, match=r"factor: expected integers or bool, got torch\.float32"):
        sdfast.bias_penalty(a, b, torch.zeros(12))
    with pytest.raises(TypeError, match=r"feats_a: expected a torch\.Tensor, got ndarray"):
        sdfast.bias_penalty(np.ones((3, 2)), np.ones((3, 2)))
