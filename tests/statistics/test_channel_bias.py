"""channel_bias: values, routes and the errors that users read."""

import itertools
import warnings

import numpy as np
import pytest
import torch

import sdfast
from sdfast.statistics import KINDS
from tests import truth
from tests.support.features import feature_pair
from tests.support.moments import true_moments
from tests.support.tolerances import CORRELATION


@pytest.mark.parametrize("dtype", CORRELATION, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_channel_bias_equals_numpy(dtype, kind, backend):
    a, b, labels = feature_pair((40, 19, 4, 5), dtype)
    expected = truth.correlation(true_moments(a, b, labels), kind)
    with sdfast.use_backend(backend):
        bias = sdfast.channel_bias(a, b, labels, kind=kind)
    np.testing.assert_allclose(bias.corr, expected, rtol=0, atol=CORRELATION[dtype])
    np.testing.assert_allclose(bias.mi, truth.mutual_information(expected), rtol=0, atol=CORRELATION[dtype])
    assert bias.count.tolist() == labels.bincount().tolist() and bias.count.dtype == torch.int64


@pytest.mark.parametrize("kind", KINDS)
def test_direct_route_equals_the_dispatcher(kind):
    """The compiled finalisation and the torch one are two pieces of code; they must say the same."""
    a, b, labels = feature_pair((50, 33), torch.float32)
    a[:, 0], b[:, 1], a[3, 2] = 1.0, a[:, 1], torch.nan
    a[:, 3], b[0, 3] = 1.0, torch.nan
    for factor in (labels, None):
        direct = sdfast.channel_bias(a, b, factor, kind=kind)
        dispatched = sdfast.channel_bias(a.clone().requires_grad_(), b, factor, kind=kind)
        for x, y in zip(direct, dispatched, strict=True):
            torch.testing.assert_close(x, y.detach(), rtol=1e-12, atol=1e-12, equal_nan=True)
        assert direct.corr[..., 3].isnan().any() and direct.corr[..., 2].isnan().any()
        assert torch.isinf(direct.mi[..., 1]).all()
        assert kind == "intraclass" or (direct.corr[..., 0] == 0).all()


def test_compiles_without_graph_breaks():
    a, b, labels = feature_pair((12, 7, 3), torch.float32)
    compiled = torch.compile(lambda a, b, f: sdfast.channel_bias(a, b, f).corr * 2, fullgraph=True)
    torch.testing.assert_close(compiled(a, b, labels), sdfast.channel_bias(a, b, labels).corr * 2)
    torch.testing.assert_close(
        compiled(a[:9], b[:9], labels[:9]), sdfast.channel_bias(a[:9], b[:9], labels[:9]).corr * 2
    )


def test_mutual_information_can_be_trained_on():
    torch.manual_seed(0)
    a, b = torch.randn(64, 3, requires_grad=True), torch.randn(64, 3)
    before = sdfast.channel_bias(a, b).mi.sum()
    before.backward()
    after = sdfast.channel_bias(a.detach() + 0.5 * a.grad / a.grad.norm(), b).mi.sum()
    assert after > before


def test_dead_channels_have_finite_gradients():
    a = torch.ones(5, 2, requires_grad=True)
    sdfast.channel_bias(a, torch.randn(5, 2)).corr.sum().backward()
    assert a.grad.isfinite().all()


def test_vmap_is_a_clear_error_or_right():
    a, b, _ = feature_pair((3, 10, 4), torch.float32)
    try:
        stacked = torch.func.vmap(lambda x, y: sdfast.channel_bias(x, y).corr)(a, b)
    except RuntimeError as error:
        assert "sdfast::comoments" in str(error) or "vmap" in str(error)
    else:
        torch.testing.assert_close(
            stacked, torch.stack([sdfast.channel_bias(x, y).corr for x, y in zip(a, b, strict=True)])
        )


def test_negative_views_are_read_as_they_are():
    z = torch.randn(9, 3, dtype=torch.complex64)
    view = z.conj().imag
    assert view.is_neg()
    torch.testing.assert_close(sdfast.channel_bias(view, z.real).corr, -sdfast.channel_bias(z.imag, z.real).corr)


def test_numpy_in_numpy_out():
    a, b, labels = feature_pair((20, 5, 4), torch.float32)
    bias = sdfast.channel_bias(a.numpy(), b.numpy(), labels.numpy())
    assert all(isinstance(x, np.ndarray) for x in bias)
    np.testing.assert_array_equal(bias.corr, sdfast.channel_bias(a, b, labels).corr)


def test_one_pair_is_undefined_and_counted():
    bias = sdfast.channel_bias(torch.randn(1, 4), torch.randn(1, 4))
    assert bias.corr.isnan().all() and bias.mi.isnan().all() and bias.count == 1


def test_a_factor_without_pairs_is_undefined():
    bias = sdfast.channel_bias(torch.randn(5, 4), torch.randn(5, 4), torch.zeros(5, dtype=torch.int64))
    assert bias.count.tolist() == [5, 0] and bias.corr[1].isnan().all() and bias.corr[0].isfinite().all()


@pytest.mark.parametrize("scale", [2.0, -1.0, -4.0])
def test_perfect_correlation_is_infinite_information(scale):
    a = torch.randn(30, 4)
    bias = sdfast.channel_bias(a, scale * a)
    assert (bias.corr == np.sign(scale)).all() and torch.isposinf(bias.mi).all()


def test_intraclass_depends_on_scale_and_offset():
    a = torch.randn(4000, 1, dtype=torch.float64)
    a = (a - a.mean()) / a.std(correction=0)
    corr = sdfast.channel_bias(a.expand(-1, 2), torch.cat([2 * a, a + 1], dim=1), kind="intraclass").corr
    torch.testing.assert_close(corr, torch.tensor([0.8, 0.6], dtype=torch.float64))


A = torch.zeros(4, 8, 3)
FACTOR = torch.tensor([0, 1, 0, 1])

# What is refused, with which error, in which words.
REFUSED = [
    (
        dict(feats_b=torch.zeros(4, 7, 3)),
        ValueError,
        r"feats_b: expected shape \(4, 8, 3\) like feats_a, got \(4, 7, 3\)",
    ),
    (dict(feats_b=A.double()), TypeError, "feats_b: expected dtype torch.float32 like feats_a, got torch.float64"),
    (
        dict(feats_b=torch.empty(4, 8, 3, device="meta")),
        ValueError,
        "feats_b: expected device cpu like feats_a, got meta",
    ),
    (dict(feats_b=A.numpy()), TypeError, "feats_b: expected a torch.Tensor, got ndarray"),
    (dict(feats_b=None), TypeError, "feats_b: expected a torch.Tensor.*got NoneType"),
    (dict(feats_a=A.int(), feats_b=A.int()), TypeError, "feats_a: expected float64, float32.*got torch.int32"),
    (dict(feats_a=A.to(torch.complex64), feats_b=A.to(torch.complex64)), TypeError, "feats_a: expected float64"),
    (dict(feats_a=A[:0], feats_b=A[:0]), ValueError, r"feats_a: expected at least one pair, got shape \(0, 8, 3\)"),
    (dict(feats_a=A[:, :, :0], feats_b=A[:, :, :0]), ValueError, "feats_a: expected no empty dimension"),
    (dict(feats_a=A[:, 0, 0], feats_b=A[:, 0, 0]), ValueError, r"feats_a: expected shape \(N, C\)"),
    (dict(feats_a=A.to_sparse(), feats_b=A.to_sparse()), TypeError, "feats_a: expected a dense tensor, got torch.spar"),
    (dict(channel_dim="C"), TypeError, "channel_dim: expected an integer, got 'C'"),
    (dict(channel_dim=3), ValueError, "channel_dim: expected a dimension of feats_a other than the batch"),
    (dict(channel_dim=0), ValueError, "channel_dim: .* got 0"),
    (dict(channel_dim=-3), ValueError, "channel_dim: .* got -3"),
    (dict(channel_dim=4), ValueError, "channel_dim: .* got 4"),
    (dict(channel_dim=-4), ValueError, "channel_dim: .* got -4"),
    (dict(factor=FACTOR[:3]), ValueError, r"factor: expected shape \(4,\), one label a pair, got \(3,\)"),
    (dict(factor=FACTOR.float()), TypeError, "factor: expected integers or bool, got torch.float32"),
    (dict(factor=FACTOR.to("meta")), ValueError, "factor: expected device cpu like feats_a, got meta"),
    (dict(factor=[0, 1, 0, 1]), TypeError, "factor: expected a torch.Tensor of integers or bool, got list"),
    (dict(factor=FACTOR + 1), ValueError, "factor: expected labels from 0 to 1, got 2"),
    (dict(factor=FACTOR - 1), ValueError, "factor: expected labels from 0 to 1, got -1"),
    (dict(factor=FACTOR, num_factors=0), ValueError, "num_factors: expected a positive integer, got 0"),
    (dict(factor=FACTOR, num_factors=2.0), ValueError, r"num_factors: expected a positive integer, got 2\.0"),
    (dict(pool="no"), TypeError, "pool: expected True or False, got 'no'"),
    (dict(factor=FACTOR, num_factors=2**62), ValueError, r"num_factors: expected less than 2\*\*31"),
    (dict(kind="spearman"), ValueError, "kind: expected one of pearson, intraclass, got 'spearman'"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), REFUSED, ids=[f"{i}-{next(iter(row[0]))}" for i, row in enumerate(REFUSED)]
)
def test_what_does_not_fit_is_refused_by_name_on_every_route(change, error, message):
    for backend, trained in itertools.product(("cpu", "reference"), (False, True)):
        arguments = {"feats_a": A, "feats_b": A, **change}
        if trained and arguments["feats_a"].is_floating_point():  # past the direct way to the kernel
            arguments["feats_a"] = arguments["feats_a"].clone().requires_grad_()
        with sdfast.use_backend(backend), pytest.raises(error, match=message):
            sdfast.channel_bias(**arguments)
            pytest.fail(f"{backend} takes it, {trained=}")


def test_strided_labels_are_read_right():
    a, b, labels = feature_pair((12, 3), torch.float32)
    spread = torch.zeros(24, dtype=torch.int64)
    spread[::2] = labels
    torch.testing.assert_close(sdfast.channel_bias(a, b, spread[::2]).corr, sdfast.channel_bias(a, b, labels).corr)


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.bool, "i2", ">i4", "u8", "?"], ids=str)
def test_labels_of_any_integer_dtype_and_bool(kind):
    a, b, labels = feature_pair((12, 3), torch.float32)
    expected = sdfast.channel_bias(a, b, labels)
    labels = labels.to(kind) if isinstance(kind, torch.dtype) else labels.numpy().astype(kind)
    for backend, trained in itertools.product(("cpu", "reference"), (False, True)):
        with sdfast.use_backend(backend):
            bias = sdfast.channel_bias(a.clone().requires_grad_(trained), b, labels)
        assert bias.count.tolist() == expected.count.tolist()
        torch.testing.assert_close(bias.corr.detach(), expected.corr, rtol=0, atol=1e-6)


def test_numpy_arrays_of_any_strides_and_byte_order():
    a, b, labels = (x.numpy() for x in feature_pair((12, 3, 4), torch.float32))
    records = np.zeros(a.shape, [("a", "f4"), ("between", "i1"), ("b", "f4")])
    records["a"], records["b"] = a, b
    read_only = a.copy()
    read_only.flags.writeable = False
    expected = sdfast.channel_bias(a, b, labels).corr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for arrays in (
            (a[::-1], b[::-1], labels[::-1]),
            (a.astype(">f4"), b, labels),
            (records["a"], records["b"], labels.astype("u1")),
            (read_only, b, labels.tolist()),
        ):
            np.testing.assert_allclose(sdfast.channel_bias(*arrays).corr, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(feats_a=A.int().numpy()), "feats_a: expected float64, float32 or float16 features, got int32"),
        (dict(feats_b=A.numpy().astype(object)), "feats_b: expected float64, float32 or float16 features, got object"),
        (dict(feats_b=A), r"feats_b: expected a numpy\.ndarray like feats_a, got Tensor"),
        (dict(factor=np.array([0.5, 0, 1, 1])), "factor: expected integers or bool, got float64"),
    ],
)
def test_bad_numpy_input_names_the_argument(change, message):
    with pytest.raises(TypeError, match=message):
        sdfast.channel_bias(**{"feats_a": A.numpy(), "feats_b": A.numpy(), **change})
