"""Correlations of resampled groups, against the co-moments that torch makes of the same sums."""

import pytest
import torch

import sdfast
from sdfast.backends import load
from sdfast.ops import resampled_correlations
from sdfast.statistics import KINDS, estimator_of
from sdfast.statistics import bootstrap as room
from tests.support.grouped import clustered_pairs, grouped_truth


def sums_of(channels, offset=0.0, groups=12):
    a, b, factor, source = clustered_pairs(videos=groups, channels=channels)
    a[source != 4, 0] = b[source != 4, 0] = 0  # fires in one group only
    b[:, -1] = a[:, -1] = 3.0  # never varies
    grouped = torch.from_numpy(grouped_truth(a + offset, b - offset, factor, source, groups))
    total = torch.from_numpy(grouped_truth(a + offset, b - offset, factor, source * 0, 1))[:, 0]
    return room._group_sums(grouped, total)


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("channels", [2, 9, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_plain_torch(isa, kind, channels, offset):
    estimator, weights = estimator_of(kind), room.draw_weights(300, 12, seed=1)
    sums, origin = sums_of(channels, offset)
    found = room._correlations(weights, sums, origin, estimator)
    expected = estimator.correlation(room._drawn(weights, sums, origin))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12, equal_nan=True)
    silent = weights[:, 4] == 0
    if kind == "pearson":
        assert silent.any() and (found[silent, :, 0] == 0).all(), "nothing is left of a channel that did not fire"
        assert (found[:, :, -1] == 0).all()


def test_what_is_not_finite_stays_in_its_channel(isa):
    sums, origin = sums_of(20)
    sums[3, 3, :, 7] = torch.nan
    found = room._correlations(torch.ones(4, 12).double(), sums, origin, estimator_of("pearson"))
    assert found[..., 7].isnan().all() and found[..., [6, 8]].isfinite().all()


def test_other_backends_leave_it_to_be_composed():
    sums, origin = sums_of(3)
    with sdfast.use_backend("reference"):
        assert resampled_correlations(sums.flatten(2), origin.flatten(1), 12, True) is None


@pytest.mark.parametrize(
    "sums, origin, groups, message",
    [
        ((2, 5, 3), (2, 3), 4, "sums: expected float64 of shape"),
        ((2, 6, 3), (2, 4), 4, "origin: expected float64 of shape"),
        ((2, 6, 3), (2, 3), 0, "groups: expected a positive integer, got 0"),
    ],
)
def test_what_does_not_fit_is_named(sums, origin, groups, message):
    with pytest.raises(ValueError, match=message):
        resampled_correlations(torch.zeros(sums).double(), torch.zeros(origin).double(), groups, True)
    with pytest.raises(ValueError):
        load("cpu").resampled_correlations(torch.zeros(sums).double(), torch.zeros(origin).double(), groups, True)
