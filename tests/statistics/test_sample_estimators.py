"""channel_bias by copula and by nearest neighbours: laws whose information is known, options, and errors."""

import itertools

import numpy as np
import pytest
import torch

import sdfast
from tests import truth
from tests.support import laws

ESTIMATORS = ("gaussian", "copula", "kraskov")
SEEDS = 200  # channels, each a data set

# Nats, from integrals of the densities, and the estimator that suits the law: of few neighbours where samples lie along
# a line, since more of them blur it. At the edge of the uniform law even one blurs 1000 pairs by 0.03 nats.
KNOWN = [
    (laws.normal_pair, laws.NORMAL_INFORMATION, 1000, dict(estimator="gaussian")),
    (laws.normal_pair, laws.NORMAL_INFORMATION, 1000, dict(estimator="copula")),
    (laws.normal_pair, laws.NORMAL_INFORMATION, 1000, dict(estimator="kraskov")),
    (laws.parabola, 0.8027, 1000, dict(estimator="kraskov")),
    (laws.ring, 0.6789, 1000, dict(estimator="kraskov", neighbors=1)),
    (laws.student, 0.2242, 1000, dict(estimator="kraskov")),
    (laws.uniform_with_noise, 1.7094, 10_000, dict(estimator="kraskov", neighbors=1)),
    (laws.relu_pair, 0.2299, 1000, dict(estimator="kraskov")),
]

MONOTONE = {
    "exp": np.exp,
    "cube": lambda x: x**3,
    "asinh": np.arcsinh,
    "half cube": lambda x: np.sign(x) * np.abs(x) ** 1.5,
    "wiggle": lambda x: x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5),
    "distribution": lambda x: 1 / (1 + np.exp(-x)),
}


def information(draw, estimator, size=1000, seed=0, **options) -> np.ndarray:
    a, b = draw(np.random.default_rng(seed), (size, SEEDS))
    return sdfast.channel_bias(a, b, estimator=estimator, **options).mi


@pytest.mark.parametrize(
    ("draw", "expected", "size", "options"),
    KNOWN,
    ids=[f"{draw.__name__}-{options['estimator']}" for draw, _, _, options in KNOWN],
)
def test_known_information_is_found(draw, expected, size, options):
    assert information(draw, size=size, **options).mean() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_independent_sparse_features_share_nothing(estimator):
    assert abs(information(laws.sparse_pair, estimator).mean()) <= 0.005


@pytest.mark.parametrize("name", MONOTONE)
def test_monotone_images_of_a_normal_pair_share_as_much(name):
    def draw(rng, shape):
        a, b = laws.normal_pair(rng, shape)
        return MONOTONE[name](a), MONOTONE[name](b)

    assert information(draw, "copula", seed=1).mean() == pytest.approx(laws.NORMAL_INFORMATION, abs=0.01)
    assert (information(draw, "copula") == information(laws.normal_pair, "copula")).all()


def bits(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(shape, generator=generator)
    return a, 0.6 * a + torch.randn(shape, generator=generator)


def expected(estimator, a, b):
    """Return mi and corr (C,) of samples (N, C) by NumPy alone."""
    corr = truth.correlation(truth.comoments(a, b))[0]
    if estimator == "kraskov":
        return truth.kraskov(a, b), corr
    corr = truth.correlation(truth.comoments(truth.normal_scores(a), truth.normal_scores(b)))[0]
    return truth.mutual_information(corr), corr


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("estimator", ["copula", "kraskov"])
def test_every_option_of_the_features(estimator, backend):
    a, b = bits((30, 4, 3, 5))
    labels = torch.arange(30) % 3 // 2  # 20 and 10 pairs
    for pool, channel_dim, factor in itertools.product((True, False), (1, -1), (None, labels)):
        with sdfast.use_backend(backend):
            bias = sdfast.channel_bias(a, b, factor, channel_dim=channel_dim, pool=pool, estimator=estimator)
        x, y = (truth.pooled_samples(z.double().numpy(), channel_dim, pool) for z in (a, b))
        of_sample = np.repeat(np.zeros(30) if factor is None else factor.numpy(), len(x) // 30)
        rows = [expected(estimator, x[of_sample == f], y[of_sample == f]) for f in range(1 if factor is None else 2)]
        mi, corr = (np.stack(values) if factor is not None else values[0] for values in zip(*rows, strict=True))
        np.testing.assert_allclose(bias.mi, mi, rtol=0, atol=1e-9)
        np.testing.assert_allclose(bias.corr, corr, rtol=0, atol=1e-9)
        counts = [len(x)] if factor is None else [2 * len(x) // 3, len(x) // 3]
        assert bias.count.flatten().tolist() == counts and bias.count.dtype == torch.int64
        assert bias.count.ndim == (factor is not None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("estimator", ["copula", "kraskov"])
def test_every_dtype_is_read_exactly(estimator, dtype):
    a, b = (x.to(dtype) for x in bits((50, 6)))
    bias = sdfast.channel_bias(a, b, estimator=estimator)
    wide = sdfast.channel_bias(a.double(), b.double(), estimator=estimator)
    assert torch.equal(bias.mi, wide.mi) and torch.equal(bias.corr, wide.corr) and bias.mi.dtype == torch.float64


@pytest.mark.parametrize("estimator", ["copula", "kraskov"])
def test_numpy_in_numpy_out(estimator):
    a, b = bits((20, 5, 4))
    labels = torch.arange(20) % 2
    bias = sdfast.channel_bias(a.numpy(), b.numpy(), labels.numpy(), estimator=estimator)
    assert all(isinstance(x, np.ndarray) for x in bias)
    np.testing.assert_array_equal(bias.mi, sdfast.channel_bias(a, b, labels, estimator=estimator).mi)


@pytest.mark.parametrize("estimator", ["copula", "kraskov"])
def test_a_factor_without_pairs_is_undefined(estimator):
    a, b = bits((8, 3))
    bias = sdfast.channel_bias(a, b, torch.zeros(8, dtype=torch.int64), estimator=estimator)
    assert bias.mi[1].isnan().all() and bias.corr[1].isnan().all() and bias.count.tolist() == [8, 0]
    assert bias.mi[0].isfinite().all()


def test_one_pair_is_undefined_by_copula():
    bias = sdfast.channel_bias(*bits((1, 3)), estimator="copula")
    assert bias.mi.isnan().all() and bias.count == 1


@pytest.mark.parametrize("estimator", ["copula", "kraskov"])
def test_dead_and_bad_channels(estimator):
    a, b = bits((40, 4))
    a[:, 0], b[3, 1] = 0.1, torch.nan
    bias = sdfast.channel_bias(a, b, estimator=estimator)
    assert bias.mi[0] == 0 and bias.corr[0] == 0 and bias.mi[1].isnan() and bias.corr[1].isnan()
    assert bias.mi[2:].isfinite().all()


def test_neighbors_are_passed_on():
    a, b = bits((40, 4))
    found = sdfast.channel_bias(a, b, estimator="kraskov", neighbors=7).mi
    np.testing.assert_allclose(found, truth.kraskov(a.double().numpy(), b.double().numpy(), 7), rtol=0, atol=1e-12)


A, B = bits((6, 2))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(estimator="mine"), ValueError, "estimator: expected one of gaussian, copula, kraskov, got 'mine'"),
        (dict(estimator=None), ValueError, "estimator: expected one of gaussian, copula, kraskov, got None"),
        (dict(kind="intraclass"), ValueError, "kind: expected 'pearson' with estimator='kraskov', got 'intraclass'"),
        (dict(kind="spearman"), ValueError, "kind: expected one of pearson, intraclass, got 'spearman'"),
        (dict(neighbors=6), ValueError, "neighbors: expected fewer than the number of samples, 6, got 6"),
        (dict(neighbors=0), ValueError, "neighbors: expected a positive integer, got 0"),
        (dict(factor=torch.arange(6) // 4, neighbors=3), ValueError, "neighbors: expected fewer than .* 2, got 3"),
        (dict(factor=torch.arange(6)), ValueError, "factor: expected labels from 0 to 1, got 5"),
        (dict(feats_b=B[:, :1]), ValueError, r"feats_b: expected shape \(6, 2\) like feats_a, got \(6, 1\)"),
        (dict(feats_b=None), TypeError, "feats_b: expected a torch.Tensor"),
        (dict(channel_dim=0), ValueError, "channel_dim: expected a dimension of feats_a other than the batch"),
        (dict(pool="no"), TypeError, "pool: expected True or False"),
        (dict(feats_a=A.clone().requires_grad_()), ValueError, "feats_a: expected no tensor that requires grad"),
        (dict(feats_b=B.clone().requires_grad_()), ValueError, "feats_b: expected no tensor that requires grad"),
    ],
)
def test_bad_input_names_the_argument(change, error, message):
    with pytest.raises(error, match=message):
        sdfast.channel_bias(**{"feats_a": A, "feats_b": B, "estimator": "kraskov", **change})


@pytest.mark.parametrize("estimator", ["copula", "kraskov"])
def test_features_of_a_trained_network_are_fine_without_grad_mode(estimator):
    a = A.clone().requires_grad_()
    with torch.no_grad():
        bias = sdfast.channel_bias(a, B, estimator=estimator)
    assert not bias.mi.requires_grad
