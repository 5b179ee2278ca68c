"""Whether intervals hold the truth as often as they say, and tests find nothing where there is nothing: by simulation.

`python -m tests.support.coverage` prints the whole table.
"""

import pytest

from tests.support.coverage import (
    LAWS,
    SETTINGS,
    coverage,
    error_ratio,
    false_alarms,
    layer_coverage,
    mislabelled,
)

pytestmark = pytest.mark.slow


def wanted(videos, pairs):
    """Return from and to what percentage intervals of nominally 95 % shall hold the truth."""
    if videos <= 10:
        return 90, 100
    return (92, 97) if videos <= 20 else (93, 97)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "x".join(map(str, setting)))
@pytest.mark.parametrize("law", LAWS)
def test_intervals_hold_the_truth(law, setting):
    for cell in coverage(law, *setting, SETTINGS[setting]):
        low, high = wanted(*setting)
        margin = 2 * cell.error  # of so many data sets
        assert low - margin <= cell.covered["jackknife"] <= high + margin, cell


@pytest.mark.parametrize("videos, pairs", [(100, 10), (100, 5), (20, 5)])
def test_standard_errors_are_those_of_the_closed_form(videos, pairs):
    assert 0.93 <= error_ratio(videos, pairs) <= 1.07


@pytest.mark.parametrize("rho", [0.48, 0.52])
def test_channels_near_the_threshold_are_undetermined_rather_than_mislabelled(rho):
    with_undetermined, by_the_estimate = mislabelled(rho, 20, 5)
    assert with_undetermined <= 5 and by_the_estimate > 35


def test_families_of_channels_give_few_false_alarms():
    found = false_alarms(20, 5)
    assert found["max-T, pairs"] > 35, "where permuting pairs gives many"
    assert found["max-T, signs"] <= 7
    assert found["one channel, signs"] <= 7


def test_layers_hold_the_truth():
    for covered in layer_coverage().values():
        assert 92 <= covered <= 97
