"""The bootstrap of groups: against resampling the raw samples, and against SciPy's own."""

import numpy as np
import pytest
import scipy.stats
import torch

from sdfast.statistics import KINDS, GroupedCoMoments, Jackknife, bootstrap_interval, estimator_of
from sdfast.statistics import bootstrap as room
from sdfast.statistics.bootstrap import draw_weights, resample
from tests import truth
from tests.support.grouped import as_tensors, clustered_pairs, grouped_truth

EXACT = 1e-9  # to brute force from raw samples


def jackknife(arrays, kind="pearson", groups=64):
    state = GroupedCoMoments(arrays[0].shape[1], groups=groups)
    state.update(*as_tensors(*arrays))
    return Jackknife(state.moments, estimator_of(kind))


def resampled(arrays, weights):
    """Return the co-moments (B, 6, F, C) of raw samples, those of each source as often as its weight says."""
    a, b, factor, source = arrays
    _, group = np.unique(source, return_inverse=True)
    found = []
    for weight in weights.numpy().astype(int):
        rows = np.repeat(np.arange(len(a)), weight[group])
        found.append(truth.comoments(a[rows], b[rows], factor[rows]))
    return np.array(found)


def assert_moments(moments, expected):
    np.testing.assert_array_equal(moments[0], expected[0])
    np.testing.assert_allclose(moments, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_resampled_moments_equal_raw_samples(offset):
    a, b, factor, source = clustered_pairs(videos=7)
    a, b = (np.round(x * 2**20) / 2**20 for x in (a, b))  # so that adding the offset rounds nothing off
    weights = draw_weights(50, 7, seed=3)
    near = resample(torch.from_numpy(grouped_truth(a, b, factor, source, 7)), weights)
    expected = resampled((a, b, factor, source), weights).swapaxes(0, 1)
    assert_moments(near, expected)
    far = resample(torch.from_numpy(grouped_truth(a + offset, b - offset, factor, source, 7)), weights)
    shift = np.array([0, offset, -offset, 0, 0, 0]).reshape(6, 1, 1, 1)
    np.testing.assert_allclose(far.numpy() - shift, expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("of", ["correlation", "scores", "shares"])
@pytest.mark.parametrize("kind", KINDS)
def test_percentiles_equal_brute_force(kind, of):
    arrays = clustered_pairs()
    moments = resampled(arrays, draw_weights(200, 12, seed=5))
    if of == "correlation":
        values = np.array([truth.correlation(m, kind) for m in moments])
    else:
        score = truth.layer_score if kind == "intraclass" else pearson_score
        values = np.array([score(m) for m in moments])
        values = scipy.special.softmax(values, axis=-1) if of == "shares" else values
    expected = np.quantile(values, [0.05, 0.95], axis=0)
    found = bootstrap_interval(jackknife(arrays, kind), 0.9, of=of, resamples=200, seed=5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def pearson_score(moments):
    _, _, _, m2_a, m2_b, c_ab = moments
    return np.append(c_ab.sum(1) / np.sqrt(m2_a * m2_b).sum(1), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_bca_equals_the_formula_on_raw_samples(kind):
    arrays = clustered_pairs()
    a, b, factor, source = arrays
    values = np.array([truth.correlation(m, kind) for m in resampled(arrays, draw_weights(400, 12, seed=1))])
    whole = truth.correlation(truth.comoments(a, b, factor), kind)
    keeps = [source != g for g in range(12)]
    without = np.array([truth.correlation(truth.comoments(a[k], b[k], factor[k]), kind) for k in keeps])
    influence = without.mean(0) - without
    acceleration = (influence**3).sum(0) / (6 * (influence**2).sum(0) ** 1.5)
    bias = scipy.stats.norm.ppf((values < whole).mean(0))
    z = bias + scipy.stats.norm.ppf([0.025, 0.975])[:, None, None]
    tails = scipy.stats.norm.cdf(bias + z / (1 - acceleration * z))
    expected = np.empty((2, 2, 3))
    for end, f, c in np.ndindex(expected.shape):
        expected[end, f, c] = np.quantile(values[:, f, c], tails[end, f, c])
    found = bootstrap_interval(jackknife(arrays, kind), method="bca", resamples=400, seed=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("method, theirs", [("bootstrap", "percentile"), ("bca", "BCa")])
def test_intervals_are_near_those_of_scipy(method, theirs):
    """With pairs as groups SciPy can do it too; both draw 9999 times, each its own."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40))
    x = x + y
    state = GroupedCoMoments(1, num_factors=1)
    state.update(torch.from_numpy(x)[:, None], torch.from_numpy(y)[:, None])
    low, high = bootstrap_interval(Jackknife(state.moments, estimator_of("pearson")), method=method, resamples=9999)

    def pearson(x, y, axis):
        x, y = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
        return (x * y).sum(axis) / np.sqrt((x * x).sum(axis) * (y * y).sum(axis))

    other = scipy.stats.bootstrap((x, y), pearson, paired=True, vectorized=True, method=theirs, rng=rng)
    assert low.item() == pytest.approx(other.confidence_interval.low, abs=0.015)
    assert high.item() == pytest.approx(other.confidence_interval.high, abs=0.015)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("videos", [3, 12])
def test_a_channel_that_fires_in_one_video_only_leaves_no_rounding(kind, videos):
    a, b, factor, source = clustered_pairs(videos=videos)
    silent = (source != 1)[:, None]
    a, b = (0.1 * np.where(silent, 0, np.abs(x)) for x in (a, b))
    a[:, 2], b[:, 2] = np.where(source == 1, a[:, 2], 0.3), np.where(source == 1, b[:, 2], 0.3)  # silent is not only 0
    weights = draw_weights(100, videos, seed=0)
    moments = resample(torch.from_numpy(grouped_truth(a, b, factor, source, videos)), weights)
    corr = estimator_of(kind).correlation(moments)
    missing = weights[:, 1] == 0
    assert 0 < missing.sum() < 100 and (corr[missing] == 0).all()
    expected = [truth.correlation(m, kind) for m in resampled((a, b, factor, source), weights)]
    expected = np.where(missing[:, None, None], 0, expected)  # where NumPy itself has rounding of 0.3
    np.testing.assert_allclose(corr, expected, rtol=0, atol=EXACT)


def test_in_chunks_or_whole_is_the_same(monkeypatch):
    found = jackknife(clustered_pairs(channels=9))
    whole = {of: bootstrap_interval(found, of=of, resamples=100) for of in room.READINGS}
    monkeypatch.setattr(room, "_CHUNK", 3000)
    for of in room.READINGS:
        np.testing.assert_allclose(bootstrap_interval(found, of=of, resamples=100), whole[of], rtol=0, atol=1e-12)


def test_seeds_are_kept_to():
    found = jackknife(clustered_pairs())
    first, again, other = (bootstrap_interval(found, resamples=100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("method", room.METHODS)
def test_undefined_and_constant_channels(method):
    a, b, factor, source = clustered_pairs(channels=4)
    a[:, 0], b[:, 1], a[7, 2] = 3.0, 2 * a[:, 1], np.nan
    found = bootstrap_interval(jackknife((a, b, factor, source)), method=method, resamples=200)
    assert (found[..., 0] == 0).all() and found[..., 3].isfinite().all()
    np.testing.assert_allclose(found[..., 1], 1, rtol=0, atol=1e-12)
    assert found[:, factor[7], 2].isnan().all() and found[:, 1 - factor[7], 2].isfinite().all()


@pytest.mark.parametrize("method", room.METHODS)
def test_resamples_without_a_factor_do_not_count(method):
    a, b, factor, source = clustered_pairs(videos=8)
    factor = (source < 2).astype(int)  # only two videos have pairs of factor 1: often none is drawn
    found = bootstrap_interval(jackknife((a, b, factor, source)), method=method, resamples=500)
    assert found.isfinite().all() and (found[0] <= found[1]).all()
    factor = (source < 1).astype(int)
    found = bootstrap_interval(jackknife((a, b, factor, source)), method=method, resamples=500)
    assert found[:, 0].isfinite().all() and found[:, 1].isnan().all()


def test_errors_name_the_argument():
    found = jackknife(clustered_pairs())
    for message, options in (
        ("level: expected a probability between 0 and 1, got 95", {"level": 95}),
        ("of: expected one of correlation, scores, shares, got 'mi'", {"of": "mi"}),
        ("method: expected one of bootstrap, bca, got 'fisher'", {"method": "fisher"}),
        ("resamples: expected a positive integer, got 0", {"resamples": 0}),
    ):
        with pytest.raises(ValueError, match=message):
            bootstrap_interval(found, **options)
