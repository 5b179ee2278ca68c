"""The kinds of correlation: what each makes of co-moments, by NumPy and by the authors' rules."""

import numpy as np
import pytest
import torch

from sdfast.statistics import KINDS, estimator_of, mutual_information
from sdfast.statistics.estimators import shares, variance
from tests import truth
from tests.support.moments import with_corr

kinds = pytest.mark.parametrize("kind", KINDS)


def raw_pairs(seed=0, number=40, num_channels=6):
    """Return feats_a, feats_b and labels of pairs that share something, off zero by a different amount each."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(number, num_channels))
    a, b = (common + rng.normal(size=common.shape) for _ in range(2))
    return a + 3, b - np.arange(num_channels), np.arange(number) % 2


def moments_of(*pairs):
    return torch.from_numpy(truth.comoments(*pairs))


@kinds
def test_correlations_equal_numpy(kind):
    moments = moments_of(*raw_pairs())
    expected = truth.correlation(moments.numpy(), kind)
    np.testing.assert_allclose(estimator_of(kind).correlation(moments), expected, rtol=1e-12)


def test_intraclass_sees_scale_and_offset_which_pearson_does_not():
    a = np.array([[-1.0], [1.0]] * 8)
    for b, expected in ((2 * a, 0.8), (a + 1, 0.6), (-a, -1.0)):
        moments = moments_of(a, b)
        assert estimator_of("intraclass").correlation(moments).item() == pytest.approx(expected)
        assert estimator_of("pearson").correlation(moments).item() == pytest.approx(np.sign(expected))


@kinds
def test_any_number_of_states_at_once(kind):
    """(6, ..., F, C): each state as if it were alone."""
    estimator, states = estimator_of(kind), [moments_of(*raw_pairs(seed)) for seed in range(6)]
    stacked = torch.stack(states, dim=1).unflatten(1, (2, 3))
    for read in (estimator.correlation, estimator.layer_score, variance):
        alone = torch.stack([read(state) for state in states]).unflatten(0, (2, 3))
        torch.testing.assert_close(read(stacked), alone, rtol=1e-14, atol=0)


@kinds
def test_too_few_pairs_dead_channels_and_bad_ones(kind):
    moments = moments_of(*raw_pairs())
    moments[3:, :, 1] = 0.0
    moments[1:3, :, 1] = 7.0
    moments[5, 0, 2] = torch.nan
    corr = estimator_of(kind).correlation(moments)
    assert (corr[:, 1] == 0).all() and corr[0, 2].isnan() and corr.isnan().sum() == 1
    for count in (0, 1):
        moments[0, 1] = count
        corr = estimator_of(kind).correlation(moments)
        assert corr[1].isnan().all() and corr[0, 0].isfinite()
        assert estimator_of(kind).layer_score(moments).isnan().tolist() == [False, True, False]


@kinds
def test_what_rounding_adds_to_a_correlation_of_one_is_cut_off(kind):
    above = 1 + 1e-12
    moments = torch.tensor([4.0, 1.0, 1.0, 1.0, 1.0, above], dtype=torch.float64).view(6, 1, 1).repeat(1, 1, 2)
    moments[5, 0, 1] = -above
    corr = estimator_of(kind).correlation(moments)
    assert corr.tolist() == [[1.0, -1.0]] and mutual_information(corr).isposinf().all()


@kinds
def test_a_bad_channel_is_left_out_of_the_score(kind):
    moments = moments_of(*raw_pairs())
    spoilt = moments.clone()
    spoilt[4, 1, 3] = torch.inf
    kept = [c for c in range(moments.shape[2]) if c != 3]
    estimator = estimator_of(kind)
    torch.testing.assert_close(estimator.layer_score(spoilt), estimator.layer_score(moments[..., kept]))


def test_layer_scores_of_intraclass_are_those_of_the_authors():
    moments = moments_of(*raw_pairs())
    np.testing.assert_allclose(estimator_of("intraclass").layer_score(moments), truth.layer_score(moments.numpy()))


def test_layer_scores_of_pearson_are_means_weighted_by_variance():
    moments = with_corr([1.0, 0.0], [0.5, 0.25], scale=[3.0, 1.0])
    torch.testing.assert_close(estimator_of("pearson").layer_score(moments).tolist(), [0.75, 0.4375, 1.0])


def test_the_variance_of_a_channel_is_that_of_all_its_clips():
    a, b, factor = raw_pairs()
    moments = moments_of(a, b, factor)
    np.testing.assert_allclose(variance(moments), np.concatenate([a, b]).var(axis=0), rtol=1e-12)


def test_shares_are_a_softmax():
    scores = np.array([0.3, -0.2, 1.0])
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(shares(torch.from_numpy(scores)), expected, rtol=1e-14)


def test_information_is_the_gaussian_bound():
    corr = torch.tensor([0.0, 0.5, -0.5, 1e-9, 1.0, -1.0], dtype=torch.float64)
    expected = truth.mutual_information(corr.numpy())
    np.testing.assert_allclose(mutual_information(corr), expected, rtol=1e-14)
    assert mutual_information(corr)[4:].tolist() == [torch.inf] * 2


@pytest.mark.parametrize("seed", range(3))
def test_dimensions_of_intraclass_are_those_of_the_authors(seed):
    scores = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, 3))
    for num_channels in (1, 33, 512):
        expected = truth.factor_dimensions(scores.numpy(), num_channels)
        np.testing.assert_array_equal(estimator_of("intraclass").dimensions(scores, num_channels), expected)


def test_dimensions_favour_the_residual_only_as_the_authors_do():
    # Three equal scores share 8 channels: 2.67 each.
    equal = torch.ones(3, dtype=torch.float64)
    assert estimator_of("intraclass").dimensions(equal, 8).tolist() == [2, 2, 4]
    assert estimator_of("pearson").dimensions(equal, 8).tolist() == [3, 3, 2]
    assert estimator_of("intraclass").percentages(equal, 8).tolist() == [25.0, 25.0, 50.0]
    assert estimator_of("pearson").percentages(equal, 8).tolist() == [33.3, 33.3, 33.3]
    # The authors' 25 / 25 / 50 at 8 channels is 27 / 27 / 45 before it is truncated.
    scores = torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64)
    assert estimator_of("intraclass").percentages(scores, 8).tolist() == [25.0, 25.0, 50.0]
    assert estimator_of("pearson").percentages(scores, 8).tolist() == [27.4, 27.4, 45.2]


@kinds
def test_dimensions_sum_to_the_channels(kind):
    generator = torch.Generator().manual_seed(0)
    for num_channels in (1, 2, 3, 7, 64, 1000):
        for _ in range(20):
            scores = torch.rand(3, generator=generator, dtype=torch.float64)
            dims = estimator_of(kind).dimensions(scores, num_channels)
            quota = num_channels * torch.softmax(scores, 0)
            assert dims.sum() == num_channels and dims.min() >= 0 and dims.dtype == torch.int64
            assert ((dims - quota).abs() < (1 if kind == "pearson" else 3)).all()
            if kind == "pearson":
                up, down = (quota % 1)[dims > quota], (quota % 1)[dims < quota]
                assert not len(up) or not len(down) or up.min() >= down.max(), "the largest remainders go up"


@kinds
def test_an_undefined_score_has_no_dimensions_and_no_percentages(kind):
    scores = torch.tensor([0.5, torch.nan, 1.0], dtype=torch.float64)
    dims = estimator_of(kind).dimensions(scores, 9)
    assert dims.tolist() == [0, 0, 0] and dims.dtype == torch.int64
    assert estimator_of(kind).percentages(scores, 9).isnan().all()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind: expected one of pearson, intraclass, got 'spearman'"):
        estimator_of("spearman")
