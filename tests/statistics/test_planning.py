"""Classes that may be undetermined, how many sources a width takes, and the bias of mutual information."""

import numpy as np
import pytest
import scipy.special
import torch

from sdfast.statistics import CLASSES, channel_classes, mutual_information_bias, needed_sources

NAN = float("nan")


@pytest.mark.parametrize(
    "dynamic, static, expected",
    [
        ((0.6, 0.9), (0.6, 0.9), "joint"),
        ((0.6, 0.9), (0.1, 0.4), "dynamic"),
        ((0.1, 0.4), (0.6, 0.9), "static"),
        ((0.1, 0.4), (0.1, 0.4), "residual"),
        ((0.4, 0.6), (0.6, 0.9), "undetermined"),
        ((0.6, 0.9), (0.4, 0.6), "undetermined"),
        ((NAN, NAN), (0.6, 0.9), "undetermined"),
        ((0.5, 0.6), (0.1, 0.4), "undetermined"),  # 0.5 itself does not exceed the threshold
        ((0.1, 0.5), (0.1, 0.5), "residual"),
    ],
)
def test_classes_follow_from_the_intervals(dynamic, static, expected):
    interval = torch.tensor([dynamic, static], dtype=torch.float64).T.unsqueeze(2)
    found = channel_classes(interval, 0.5, torch.tensor([False]))
    assert found.dtype == torch.int64 and CLASSES[found] == expected
    assert CLASSES[channel_classes(interval, 0.5, torch.tensor([True]))] == "residual"


def test_needed_sources_shrink_with_the_square_of_the_width():
    assert needed_sources(0.02, 0.01, 50) == 200
    assert needed_sources(0.03, 0.01, 7) == 63, "an exact multiple, but for its last bit"
    assert needed_sources(0.0101, 0.01, 50) == 52
    assert needed_sources(0.005, 0.01, 50) == 13
    assert needed_sources(0.0, 0.01, 50) == 0


@pytest.mark.parametrize(
    "message, arguments",
    [
        ("half_width: expected a finite number from 0 on, got nan", (NAN, 0.01, 50)),
        ("half_width: expected a finite number from 0 on, got -1", (-1, 0.01, 50)),
        ("half_width: expected a finite number from 0 on, got inf", (float("inf"), 0.01, 50)),
        ("wanted: expected a positive number, got 0", (0.1, 0, 50)),
        ("sources: expected a positive integer, got 0", (0.1, 0.1, 0)),
    ],
)
def test_errors_name_the_argument(message, arguments):
    with pytest.raises(ValueError, match=message):
        needed_sources(*arguments)


def test_bias_of_mutual_information_is_the_formula():
    count = np.array([3, 4, 5, 20, 1000, 10**6])
    expected = (scipy.special.psi((count - 1) / 2) - scipy.special.psi((count - 2) / 2)) / 2
    np.testing.assert_allclose(mutual_information_bias(torch.from_numpy(count)), expected, rtol=0, atol=1e-12)
    assert mutual_information_bias(torch.tensor([0, 1, 2])).isnan().all()


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_bias_of_mutual_information_is_that_of_normal_pairs(rho):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 10, 100_000))
    y = rho * x + np.sqrt(1 - rho**2) * y
    x, y = x - x.mean(0), y - y.mean(0)
    corr = (x * y).sum(0) / np.sqrt((x * x).sum(0) * (y * y).sum(0))
    plugged = -0.5 * np.log1p(-(corr**2))
    bias = plugged.mean() + 0.5 * np.log1p(-(rho**2))
    error = plugged.std() / np.sqrt(100_000)
    assert mutual_information_bias(torch.tensor(10)).item() == pytest.approx(bias, abs=4 * error)
