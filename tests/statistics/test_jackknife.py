"""The delete-a-group jackknife: against recomputing from raw samples, and where there is nothing to compute."""

import numpy as np
import pytest
import scipy.stats
import torch

from sdfast.ops import leave_one_out
from sdfast.statistics import KINDS, GroupedCoMoments, Jackknife, Spread, estimator_of
from sdfast.statistics.student import student_quantile, student_within
from tests import truth
from tests.support.grouped import as_tensors, clustered_pairs, grouped_truth

EXACT = 1e-9  # to brute force from raw samples


def jackknife(arrays, kind="pearson", groups=64):
    state = GroupedCoMoments(arrays[0].shape[1], groups=groups)
    state.update(*as_tensors(*arrays))
    return Jackknife(state.moments, estimator_of(kind))


def deleted(arrays, read, groups=64):
    """Return what `read` says of the raw samples, of all and without each group that has some."""
    a, b, factor, source = arrays
    group = source % groups
    keeps = [np.ones(len(a), dtype=bool), *(group != g for g in np.unique(group))]
    return [read(truth.comoments(a[keep], b[keep], factor[keep])) for keep in keeps]


def pearson_score(moments):
    _, _, _, m2_a, m2_b, c_ab = moments
    return np.append(c_ab.sum(1) / np.sqrt(m2_a * m2_b).sum(1), 1)


def read_score(kind):
    return pearson_score if kind == "pearson" else truth.layer_score


def uneven(**options):
    """Pairs of 12 videos, of which one has no pair of the second factor and another none of the first."""
    a, b, factor, source = clustered_pairs(**options)
    keep = ~((source == 3) & (factor == 1)) & ~((source == 7) & (factor == 0))
    return tuple(array[keep] for array in (a, b, factor, source))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [64, 5])
@pytest.mark.parametrize("level", [0.95, 0.5])
def test_correlations_equal_brute_force(kind, groups, level):
    arrays = uneven()
    whole, *without = deleted(arrays, lambda m: np.arctanh(truth.correlation(m, kind)), groups)
    _, *pearson = deleted(arrays, lambda m: np.arctanh(truth.correlation(m)), groups)
    _, _, factor, source = arrays
    kept = np.array(
        [[np.any((source % groups == g) & (factor == f)) for f in (0, 1)] for g in np.unique(source % groups)]
    )
    found = jackknife(arrays, kind, groups)
    assert found.z.groups.flatten().tolist() == kept.sum(0).tolist()
    for f in (0, 1):
        mine = np.array(without)[kept[:, f], f]
        error, _ = truth.jackknife(mine)
        np.testing.assert_allclose(found.z.error[f], error, rtol=EXACT, atol=0)
        expected = np.tanh(truth.ends(whole[f], mine, level, np.array(pearson)[kept[:, f], f]))
        np.testing.assert_allclose(found.correlation_interval(level)[:, f], expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [64, 5])
def test_scores_and_shares_equal_brute_force(kind, groups):
    arrays = uneven()
    found = jackknife(arrays, kind, groups)
    for spread, read in (
        (found.scores, read_score(kind)),
        (found.shares, lambda m: scipy.special.softmax(read_score(kind)(m))),
    ):
        whole, *without = deleted(arrays, read, groups)
        error, _ = truth.jackknife(without)
        np.testing.assert_allclose(spread.value, whole, rtol=EXACT)
        np.testing.assert_allclose(spread.error, error, rtol=EXACT, atol=1e-15)
        np.testing.assert_allclose(spread.interval(0.95), truth.ends(whole, without), rtol=EXACT)


def test_mutual_information_equals_brute_force_and_is_not_cut_off():
    arrays = clustered_pairs(channels=40, rho=0.0)
    whole, *without = deleted(arrays, lambda m: truth.mutual_information(truth.correlation(m)))
    expected = 12 * whole - 11 * np.mean(without, axis=0)
    np.testing.assert_allclose(jackknife(arrays).mi_corrected, expected, rtol=0, atol=EXACT)
    assert (expected < 0).any()


@pytest.mark.parametrize("number", [2, 3, 7, 8, 9])
def test_leaving_out_merges_the_others(number):
    arrays = clustered_pairs(videos=number)
    grouped = torch.from_numpy(grouped_truth(*arrays, groups=number))
    a, b, factor, source = arrays
    for g in range(number):
        others = source != g
        expected = truth.comoments(a[others], b[others], factor[others])
        np.testing.assert_allclose(leave_one_out(grouped)[:, g], expected, rtol=1e-12, atol=1e-12)
    assert (leave_one_out(grouped[:, :1]) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_tripled_pairs_change_nothing(kind):
    arrays = clustered_pairs()
    once, thrice = jackknife(arrays, kind), jackknife(tuple(np.repeat(x, 3, axis=0) for x in arrays), kind)
    np.testing.assert_allclose(thrice.correlation_interval(0.95), once.correlation_interval(0.95), rtol=0, atol=1e-12)
    np.testing.assert_allclose(thrice.scores.interval(0.95), once.scores.interval(0.95), rtol=0, atol=1e-12)
    np.testing.assert_allclose(thrice.mi_corrected, once.mi_corrected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.1])
def test_a_channel_that_fires_in_one_video_only_is_exact(kind, scale):
    a, b, factor, source = clustered_pairs()
    silent = (source != 4)[:, None]
    a, b = (scale * np.where(silent, 0, np.abs(x)) for x in (a, b))
    found = jackknife((a, b, factor, source), kind)
    others = [g for g in range(12) if g != 4]
    assert (found.correlation.without[4] == 0).all(), "nothing is left, not even rounding"
    assert (found.correlation.without[others] != 0).all()
    assert (found.z.largest_part > 0.9).all(), "one video carries all of it"
    _, *without = deleted((a, b, factor, source), lambda m: np.arctanh(truth.correlation(m, kind)))
    np.testing.assert_allclose(found.z.error, truth.jackknife(without)[0], rtol=EXACT)


def test_largest_part_flags_the_group_that_carries_the_variance():
    a, b, factor, source = clustered_pairs(videos=20)
    a[source == 9, 1] *= 100
    parts = jackknife((a, b, factor, source)).z.largest_part
    assert (parts[:, 1] > 0.5).all() and (parts[:, [0, 2]] < 0.5).all()
    spread = Spread(torch.tensor(0.0), torch.tensor([1.0, 2.0, 6.0]), torch.ones(3, dtype=torch.bool))
    assert spread.largest_part.item() == pytest.approx(9 / 14)


@pytest.mark.parametrize("scale", [1.0, 4e-82])
def test_freedom_is_two_or_more_however_few_carry_the_variance(scale):
    """The fourth powers of the smaller ones are too small for a float64."""
    values = scale * torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 5.0]).double()
    spread = Spread(torch.tensor(0.0).double(), values, torch.ones(6, dtype=torch.bool))
    assert spread.freedom == 2
    assert spread.half_width(0.95) / spread.error == pytest.approx(scipy.stats.t.ppf(0.975, 2))


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_extreme_means_keep_their_digits(offset):
    arrays = clustered_pairs()
    a, b, factor, source = arrays
    a, b = np.round(a * 2**20) / 2**20, np.round(b * 2**20) / 2**20  # so that adding the offset rounds nothing off
    plain = jackknife((a, b, factor, source))
    far = jackknife((a + offset, b - offset, factor, source))
    np.testing.assert_allclose(far.correlation_interval(0.95), plain.correlation_interval(0.95), rtol=0, atol=EXACT)
    np.testing.assert_allclose(far.scores.interval(0.95), plain.scores.interval(0.95), rtol=0, atol=EXACT)


def test_channels_without_variance_or_noise_have_intervals_without_width():
    a, b, factor, source = clustered_pairs()
    a[:, 0], b[:, 1], b[:, 2] = 3.0, 2 * a[:, 1] + 1, -a[:, 2]
    found = jackknife((a, b, factor, source))
    low, high = found.correlation_interval(0.95)
    for ends in (low, high):
        np.testing.assert_allclose(ends, [[0, 1, -1]] * 2, rtol=0, atol=1e-7)
    assert (found.z.largest_part[:, 0] == 0).all()
    assert (found.mi_corrected[:, 0] == 0).all() and (found.correlation.value[:, 1:].abs() == 1).all()
    assert found.mi_corrected[:, 1:].isinf().all()
    assert found.scores.error.isfinite().all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_channel_is_undefined_alone_and_in_all_deletions(kind, bad):
    a, b, factor, source = clustered_pairs()
    clean = jackknife((a[:, [0, 2]], b[:, [0, 2]], factor, source), kind)
    a[7, 1] = bad
    found = jackknife((a, b, factor, source), kind)
    broken, other = factor[7], 1 - factor[7]
    interval = found.correlation_interval(0.95)
    assert interval[:, broken, 1].isnan().all() and interval[:, other, 1].isfinite().all()
    np.testing.assert_allclose(interval[..., [0, 2]], clean.correlation_interval(0.95), rtol=1e-12)
    assert found.mi_corrected[broken, 1].isnan() and found.mi_corrected[other].isfinite().all()
    # Leaving out the group that broke it does not bring the channel back into the score.
    np.testing.assert_allclose(found.scores.interval(0.95), clean.scores.interval(0.95), rtol=1e-12)
    np.testing.assert_allclose(found.shares.error, clean.shares.error, rtol=1e-12)


@pytest.mark.parametrize(
    "videos, pairs", [(1, 8), (0, 8), (2, 2), (3, 2)], ids=["one group", "none", "pair", "3 pairs"]
)
def test_too_few_groups_or_pairs_say_nothing(videos, pairs):
    arrays = clustered_pairs(videos=max(videos, 1), pairs=pairs)
    found = jackknife(arrays) if videos else Jackknife(GroupedCoMoments(3).moments, estimator_of("pearson"))
    if videos == 3:  # without one of three pairs all is on a line: an error without bound, but no error to raise
        low, high = found.correlation_interval(0.95)
        assert ((low <= found.correlation.value + 1e-12) & (found.correlation.value <= high + 1e-12)).all()
        assert not found.mi_corrected.isfinite().any()
        return
    assert found.correlation_interval(0.95).isnan().all()
    assert found.scores.interval(0.95)[:, :2].isnan().all() and found.shares.interval(0.95).isnan().all()
    assert not found.mi_corrected.isfinite().any()  # inf of two pairs, which are always on a line


def test_one_factor_missing_leaves_the_other():
    a, b, factor, source = clustered_pairs()
    found = jackknife((a, b, factor * 0, source))
    interval = found.correlation_interval(0.95)
    assert interval[:, 0].isfinite().all() and interval[:, 1].isnan().all()


def test_interval_holds_the_estimate_and_widens_with_the_level():
    found = jackknife(clustered_pairs())
    wide, narrow = found.correlation_interval(0.99), found.correlation_interval(0.9)
    corr = found.correlation.value
    assert (wide[0] < narrow[0]).all() and (narrow[0] < corr).all() and (corr < narrow[1]).all()
    assert (narrow[1] < wide[1]).all()


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, float("nan")])
def test_levels_are_probabilities(level):
    with pytest.raises(ValueError, match="level: expected a probability between 0 and 1"):
        jackknife(clustered_pairs()).correlation_interval(level)


def test_difference_of_estimates_is_that_of_their_deletions():
    found = jackknife(clustered_pairs())
    nothing = found.scores - found.scores
    assert (nothing.value == 0).all() and (nothing.error == 0).all()


@pytest.mark.parametrize("freedom", [*range(1, 20), 63, 64, 127, 1000])
def test_student_quantiles_equal_scipy(freedom):
    for probability in (0.025, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9995):
        expected = scipy.stats.t.ppf(probability, freedom)
        assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_student_quantile_names_what_is_wrong():
    with pytest.raises(ValueError, match="probability: expected a number between 0 and 1, got 1"):
        student_quantile(1, 3)
    with pytest.raises(ValueError, match="freedom: expected a positive integer, got 0"):
        student_quantile(0.9, 0)
    with pytest.raises(ValueError, match="freedom: expected a positive integer, got 0"):
        student_within(1.0, 0)
