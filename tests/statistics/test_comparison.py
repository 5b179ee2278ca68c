"""Two models on the same pairs: the paired jackknife against raw samples, and what it refuses."""

import numpy as np
import pytest
import torch

from sdfast.statistics import KINDS, GroupedCoMoments, Jackknife, compare_groups, estimator_of, shares
from tests import truth
from tests.support.grouped import as_tensors, clustered_pairs

EXACT = 1e-9


def two_models(channels=(3, 3), **options):
    """Return the features of two models on the same pairs: half of what they see is the same."""
    seen, _, factor, source = clustered_pairs(channels=max(channels), **options)
    models = []
    for seed, number in enumerate(channels):
        a, b, _, _ = clustered_pairs(channels=number, seed=seed + 1, **options)
        models.append((a + 2 * seen[:, :number], b + 2 * seen[:, :number], factor, source))
    return models


def grouped(arrays, groups=64):
    state = GroupedCoMoments(arrays[0].shape[1], groups=groups)
    state.update(*as_tensors(*arrays))
    return state.moments


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["correlation", "scores", "shares"])
def test_differences_equal_brute_force(kind, of):
    models = two_models()
    _, _, factor, source = models[0]
    read = {
        "correlation": lambda m: truth.correlation(m, kind),
        "scores": lambda m: estimator_of(kind).layer_score(torch.from_numpy(m)).numpy(),
        "shares": lambda m: shares(estimator_of(kind).layer_score(torch.from_numpy(m))).numpy(),
    }[of]

    def difference(keep):
        one, two = (read(truth.comoments(a[keep], b[keep], factor[keep])) for a, b, _, _ in models)
        return one - two

    whole = difference(source >= 0)
    without = np.array([difference(source != g) for g in range(12)])
    error = np.sqrt(11 / 12 * ((without - without.mean(0)) ** 2).sum(0))
    found = getattr(compare_groups(*map(grouped, models), estimator_of(kind)), of)
    np.testing.assert_allclose(found.value, whole, rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.error, error, rtol=EXACT, atol=1e-15)


def test_pairing_narrows_the_interval():
    one, two = map(grouped, two_models(videos=40))
    pearson = estimator_of("pearson")
    paired = compare_groups(one, two, pearson).correlation.error
    apart = [Jackknife(moments, pearson).correlation.error for moments in (one, two)]
    ratio = paired / (apart[0].square() + apart[1].square()).sqrt()
    assert (ratio < 1).all() and ratio.mean() < 0.85


def test_a_model_does_not_differ_from_itself():
    moments = grouped(two_models()[0])
    found = compare_groups(moments, moments, estimator_of("pearson"))
    for spread in found:
        assert (spread.value == 0).all() and (spread.interval(0.95) == 0).all()


def test_layers_of_other_widths_compare_by_score_and_share():
    found = compare_groups(*map(grouped, two_models((3, 5))), estimator_of("pearson"))
    assert found.correlation is None
    assert found.scores.interval(0.95).isfinite().all() and found.shares.error.isfinite().all()


def test_other_pairs_are_refused():
    one, two = two_models()
    pearson = estimator_of("pearson")
    fewer = grouped(tuple(x[:-1] for x in two))
    last = int(((one[3] == one[3][-1]) & (one[2] == one[2][-1])).sum())  # of the source and factor of the last pair
    where = f"factor {one[2][-1]} in group {one[3][-1]}"
    message = f"expected the pairs of grouped_a, with {last} samples of {where}, got {last - 1}"
    with pytest.raises(ValueError, match=f"grouped_b: {message}"):
        compare_groups(grouped(one), fewer, pearson)
    with pytest.raises(ValueError, match=r"grouped_b: expected \(64, 2\) groups and factors .* got \(8, 2\)"):
        compare_groups(grouped(one), grouped(two, groups=8), pearson)
