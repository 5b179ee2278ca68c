"""Tests by sign flips: against all signs enumerated on raw samples, SciPy's adjustments, and laws of no correlation."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from sdfast.statistics import GroupedCoMoments, content_correlation, sign_flip_test
from sdfast.statistics import sign_flips as room
from sdfast.statistics.sign_flips import benjamini_hochberg, group_products
from tests.support.grouped import as_tensors, clustered_pairs

EXACT = 1e-9


def grouped(arrays, groups=64):
    state = GroupedCoMoments(arrays[0].shape[1], groups=groups)
    state.update(*as_tensors(*arrays))
    return state.moments


def products(arrays):
    """Return the sums (K, F C) of each source's products about the means, from raw samples."""
    a, b, factor, source = arrays
    sums = []
    for f in (0, 1):
        mine = factor == f
        product = (a - a[mine].mean(0)) * (b - b[mine].mean(0))
        sums.append([product[mine & (source == g)].sum(0) for g in np.unique(source)])
    return np.concatenate(sums, axis=1)


def extremity(statistic, alternative):
    return {"two-sided": np.abs(statistic), "greater": statistic, "less": -statistic}[alternative]


@pytest.mark.parametrize("alternative", room.ALTERNATIVES)
@pytest.mark.parametrize("adjust", room.ADJUSTMENTS)
@pytest.mark.parametrize("videos", [2, 5, 9])
def test_all_signs_equal_brute_force(alternative, adjust, videos):
    arrays = clustered_pairs(videos=videos, rho=0.2, channels=4)
    sums = products(arrays)
    flipped = np.array([sum(sign * row for sign, row in zip(signs, sums, strict=True)) for signs in
                        itertools.product((1, -1), repeat=videos)])  # fmt: skip
    scale = np.sqrt((sums**2).sum(0)) if adjust == "maxT" else 1.0
    seen, flipped = extremity(sums.sum(0) / scale, alternative), extremity(flipped / scale, alternative)
    flipped = flipped.max(axis=1, keepdims=True) if adjust == "maxT" else flipped
    expected = (flipped >= seen - 1e-10).mean(axis=0)
    if adjust == "bh":
        expected = scipy.stats.false_discovery_control(expected)
    found = sign_flip_test(grouped(arrays), alternative=alternative, adjust=adjust)
    np.testing.assert_allclose(found.flatten(), expected, rtol=0, atol=1e-15)
    assert found.dtype == torch.float64


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_products_equal_raw_samples(offset):
    a, b, factor, source = clustered_pairs()
    a, b = (np.round(x * 2**20) / 2**20 for x in (a, b))  # so that adding the offset rounds nothing off
    expected = products((a, b, factor, source))
    moments = grouped((a + offset, b - offset, factor, source))
    found = group_products(moments[:, :12])
    np.testing.assert_allclose(found.flatten(1), expected, rtol=0, atol=EXACT)
    np.testing.assert_allclose(group_products(moments).sum(0).flatten(), expected.sum(0), rtol=0, atol=EXACT)


@pytest.mark.parametrize("alternative", room.ALTERNATIVES)
@pytest.mark.parametrize("adjust", room.ADJUSTMENTS)
def test_drawn_signs_are_near_all_signs_and_count_what_was_seen(alternative, adjust, monkeypatch):
    moments = grouped(clustered_pairs(videos=12, rho=0.1, channels=6))
    everything = sign_flip_test(moments, alternative=alternative, adjust=adjust)
    monkeypatch.setattr(room, "ALL_SIGNS", 0)
    drawn = sign_flip_test(moments, alternative=alternative, adjust=adjust, flips=9999)
    # Three standard errors of 9999 draws; BH multiplies them by at most the number of channels.
    np.testing.assert_allclose(drawn, everything, atol=0.015 * (4 if adjust == "bh" else 1))
    assert sign_flip_test(moments, flips=9).min() >= 0.1, "what was seen is one of ten"


def test_chunks_seeds_and_groups_make_no_difference(monkeypatch):
    moments = grouped(clustered_pairs(videos=20, channels=5))
    first, again, other = (sign_flip_test(moments, flips=500, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    monkeypatch.setattr(room, "_CHUNK", 700)
    assert torch.equal(sign_flip_test(moments, flips=500, seed=1), first)
    assert torch.equal(sign_flip_test(moments[:, torch.arange(64) < 20], flips=500, seed=1), first)


@pytest.mark.parametrize("adjust", room.ADJUSTMENTS)
def test_strong_correlations_are_found_and_constants_are_not(adjust):
    a, b, factor, source = clustered_pairs(videos=30, rho=0.9, channels=4)
    a[:, 1], a[7, 2] = 3.0, np.nan
    p = sign_flip_test(grouped((a, b, factor, source)), adjust=adjust)
    assert (p[:, [0, 3]] < 0.01).all() and (p[:, 1] == 1).all()
    assert p[factor[7], 2].isnan() and p[1 - factor[7], 2] < 0.01
    less = sign_flip_test(grouped((a, b, factor, source)), alternative="less", adjust=adjust)
    assert (less[:, [0, 3]] > 0.99).all()


def test_without_pairs_there_is_nothing_to_say():
    a, b, factor, source = clustered_pairs()
    p = sign_flip_test(grouped((a, b, 0 * factor, source)))
    assert p[0].isfinite().all() and p[1].isnan().all()
    assert sign_flip_test(GroupedCoMoments(3).moments).isnan().all()


def test_benjamini_hochberg_equals_scipy():
    p = np.random.default_rng(0).uniform(size=200) ** 2
    np.testing.assert_allclose(benjamini_hochberg(torch.from_numpy(p)), scipy.stats.false_discovery_control(p))


def test_correlation_by_content_is_the_share_of_content():
    """Features s of content and the rest of style, in pairs that never have the same of K styles."""
    styles, share = 4, 0.3
    rng = np.random.default_rng(0)
    content, of_style = rng.normal(size=200_000), rng.normal(size=(styles, 400))
    of_style -= of_style.mean(axis=0)
    of_style /= of_style.std(axis=0)
    first = rng.integers(0, styles, 200_000)
    second = (first + rng.integers(1, styles, 200_000)) % styles
    feature = np.arange(200_000) % 400
    a, b = (np.sqrt(share) * content + np.sqrt(1 - share) * of_style[style, feature] for style in (first, second))
    corr = torch.tensor(np.corrcoef(a, b)[0, 1])
    assert corr.item() == pytest.approx(share - (1 - share) / (styles - 1), abs=0.01)
    assert content_correlation(corr, styles).item() == pytest.approx(share, abs=0.01)


def test_errors_name_the_argument():
    moments = grouped(clustered_pairs())
    for message, options in (
        ("alternative: expected one of 'two-sided', 'greater', 'less', got 'both'", {"alternative": "both"}),
        ("adjust: expected one of None, 'bh', 'maxT', got 'holm'", {"adjust": "holm"}),
        ("flips: expected a positive integer, got 0", {"flips": 0}),
    ):
        with pytest.raises(ValueError, match=message):
            sign_flip_test(moments, **options)
    with pytest.raises(ValueError, match=r"num_styles: expected an integer from 2 on, got 1"):
        content_correlation(torch.zeros(1), 1)
