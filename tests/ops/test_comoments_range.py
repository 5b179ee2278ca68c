"""Half precision to its limits: what float32 squares lose or overflow, and constants that are as large as can be."""

import itertools

import pytest
import torch

import sdfast
from sdfast.ops import comoments
from tests import truth
from tests.support.features import channels_last, contiguous, feature_pair, transposed
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import CORRELATION, MOMENTS

SHAPES = [(200, 40), (2, 3), (20, 40, 3, 7), (20, 9, 3, 50)]
SCALES = [1e-39, 1e-30, 1e-23, 1e-20, 1e-15, 1e18, 1e19, 1e30, 1e37]


@pytest.mark.parametrize("scale", SCALES)
def test_bfloat16_is_right_over_its_whole_range(isa, scale):
    for shape, pool in itertools.product(SHAPES, (True, False)):
        a, b, labels = feature_pair(shape, torch.float64)
        a, b = ((x * scale).bfloat16() for x in (a, b))
        b[:, 0] = b[:, 0] / scale  # of the size of ordinary features: channels know nothing of each other
        for layout, factor in itertools.product((contiguous, channels_last, transposed), (None, labels)):
            corr = sdfast.channel_bias(layout(a), layout(b), factor, pool=pool).corr.reshape(-1, shape[1])
            expected = truth.correlation(true_moments(a, b, factor, pool=pool))
            torch.testing.assert_close(
                corr, torch.from_numpy(expected), rtol=0, atol=CORRELATION[torch.bfloat16], equal_nan=True
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_constant_channels_at_the_limit_have_no_variance(isa, dtype):
    most = torch.finfo(dtype).max
    for shape, value, pool in itertools.product(SHAPES[1:], (most, -most, torch.finfo(dtype).tiny), (True, False)):
        x = torch.full(shape, value, dtype=dtype)
        for layout in (contiguous, channels_last):
            bias = sdfast.channel_bias(layout(x), layout(x), pool=pool)
            assert (bias.corr == 0).all() and (bias.mi == 0).all()
            assert (comoments(x, -x, pool=pool)[3:] == 0).all()


def test_the_largest_and_the_least_of_bfloat16_share_a_channel(isa):
    values = torch.tensor([0.0, 1e-39, -3e38, 3e38, 1e-20, 5e18, 0.0, 1.0]).bfloat16()
    for shape in ((8, 5), (8, 5, 40)):
        a = values.view(8, *[1] * (len(shape) - 1)).expand(shape)
        b = a.roll(1, 0)
        assert_moments(comoments(a, b) / 1e38, true_moments(a, b) / 1e38, MOMENTS[torch.bfloat16])


def test_what_cancels_below_the_squares_of_float32_is_not_taken_for_zero(isa):
    """Beside channels that are zero throughout, which nothing has to be summed anew for."""
    a = torch.zeros(24, 70, 33).bfloat16()
    a[1::4, 3::7], a[3::4, 3::7] = 1e-30, -1e-30
    for layout, pool in itertools.product((contiguous, channels_last), (True, False)):
        corr = sdfast.channel_bias(layout(a), layout(2 * a), pool=pool).corr
        alive = torch.arange(70) % 7 == 3
        assert (corr[alive] > 0.99999).all() and (corr[~alive] == 0).all()


def test_a_late_value_is_found_among_zeros(isa):
    """In the last place of the last run."""
    for shape in ((9, 40), (600, 40), (3, 40, 4, 50), (2, 40, 1)):
        a = torch.zeros(shape).bfloat16()
        a[(-1, 7, *(-1,) * (len(shape) - 2))] = 1e-30
        for layout in (contiguous, channels_last, transposed):
            corr = sdfast.channel_bias(layout(a), layout(a), pool=False).corr
            assert corr[7] == 1 and corr.count_nonzero() == 1
