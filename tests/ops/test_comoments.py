"""The co-moments operator against NumPy float64: every instruction set, dtype and layout."""

import itertools
import math

import pytest
import torch

import sdfast
from sdfast.backends import table as backends
from sdfast.ops.comoments import comoments
from tests.support.cpu_kernels import (
    COMOMENTS_SHAPES,
    assert_a_bad_value_stays_in_its_channel,
    assert_an_outlier_does_not_spoil_halves,
    assert_comoments_of_all_layouts,
    assert_constant_channels_have_no_variance,
    assert_equal_features_correlate_exactly,
    assert_large_means_lose_nothing,
)
from tests.support.features import channels_last, contiguous, feature_pair, transposed
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import MOMENTS

_C = backends.load("cpu")


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("shape", COMOMENTS_SHAPES, ids=str)
def test_all_layouts_agree_with_numpy(isa, shape, dtype):
    assert_comoments_of_all_layouts(shape, dtype)


@pytest.mark.parametrize("pool", [True, False])
def test_channel_dim_and_many_factors(isa, pool):
    a, b, _ = feature_pair((30, 6, 50), torch.float32)
    labels = torch.arange(30) % 5
    expected = true_moments(a, b, labels, num_factors=7, channel_dim=2, pool=pool)
    for channel_dim in (2, -1):
        assert_moments(comoments(a, b, labels, 7, channel_dim, pool), expected, MOMENTS[torch.float32])


@pytest.mark.parametrize("shape", [(64, 300, 4, 7, 7), (6000, 130), (3, 2, 300000), (9000, 40, 3)], ids=str)
def test_threads_share_the_work(isa, shape):
    """Large enough for two threads, split by channels or by samples."""
    a, b, labels = feature_pair(shape, torch.float32)
    before = torch.get_num_threads()
    for pool, factor in itertools.product((True, False), (None, labels)):
        expected = true_moments(a, b, factor, pool=pool)
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                assert _C.max_threads() == threads, "the extension must share torch's OpenMP"
                for layout in (contiguous, channels_last):
                    assert_moments(comoments(layout(a), layout(b), factor, pool=pool), expected, 1e-11)
        finally:
            torch.set_num_threads(before)


@pytest.mark.parametrize("outlier_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_large_means_lose_nothing(isa, dtype, outlier_first):
    assert_large_means_lose_nothing(dtype, outlier_first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [contiguous, transposed])
def test_an_outlier_first_does_not_spoil_halves(isa, dtype, layout):
    assert_an_outlier_does_not_spoil_halves(dtype, layout)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_a_bad_value_stays_in_its_channel(isa, dtype, bad):
    assert_a_bad_value_stays_in_its_channel(dtype, bad)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_constant_channels_have_no_variance_at_all(isa, dtype):
    assert_constant_channels_have_no_variance(dtype)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_equal_features_correlate_exactly(isa, dtype):
    assert_equal_features_correlate_exactly(dtype)


def test_half_conversion_is_exact(isa):
    """Every finite float16 and bfloat16 bit pattern, as one sample each, read as a mean of itself."""
    for dtype in (torch.float16, torch.bfloat16):
        values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
        values = values[values.isfinite() & (values.abs() < 1e9)]
        for x in (values[None], values[None, :, None].expand(-1, -1, 40)):
            moments = comoments(x, x)
            torch.testing.assert_close(moments[1, 0], values.double(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_means_of_halves_keep_what_float32_would_round_off(isa, dtype):
    """Values near 1000 whose sums float32 holds; it does not hold their mean."""
    for shape in ((49, 3), (49, 3, 33)):
        x = (1000 + 4 * (torch.arange(math.prod(shape)) % 7 < 2)).view(shape).to(dtype)
        for pool in (True, False):
            expected = torch.from_numpy(true_moments(x, x, pool=pool)[1])
            torch.testing.assert_close(comoments(x, x, pool=pool)[1], expected, rtol=1e-9, atol=0)


def test_no_correlation_is_beyond_one(isa):
    """Those of channels that are multiples of each other would be, every third time; information would be NaN."""
    torch.manual_seed(0)
    for dtype, shape in itertools.product(MOMENTS, [(9, 1000), (5, 300, 7)]):
        a = torch.randn(shape).to(dtype)
        for times in (3, -7):
            bias = sdfast.channel_bias(a.float(), times * a.float(), pool=False)
            assert (bias.corr.abs() <= 1).all() and not bias.mi.isnan().any()
            rest = sdfast.ops.correlations_without(
                comoments(a.float(), times * a.float(), torch.arange(len(a)) % 2), True
            )
            assert (rest[1].abs() <= 1).all()


def test_expanded_views_count_every_position():
    a, b, _ = feature_pair((6, 4), torch.float32)
    wide_a, wide_b = a[:, :, None].expand(-1, -1, 30), b[:, :, None].expand(-1, -1, 30)
    assert_moments(comoments(wide_a, wide_b, pool=False), true_moments(wide_a, wide_b, pool=False), 1e-12)


def test_operator_passes_opcheck():
    a, b, labels = feature_pair((6, 5, 3, 2), torch.float32)
    for args in [
        (a, b, labels, 2, 1, True),
        (a, b, None, 1, -1, False),
        (a.bfloat16(), b.bfloat16(), labels, 2, 1, True),
    ]:
        torch.library.opcheck(torch.ops.sdfast.comoments, args)
    a.requires_grad_()
    torch.library.opcheck(torch.ops.sdfast.comoments, (a, b, labels, 2, 1, True))


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("channel_dim", [1, 2])
@pytest.mark.parametrize("with_factor", [True, False])
def test_gradients(pool, channel_dim, with_factor):
    a, b, _ = feature_pair((6, 2, 3), torch.float64)
    labels = torch.arange(6) % 2 if with_factor else None

    def run(a, b):
        return torch.ops.sdfast.comoments(a, b, labels, 2 if with_factor else 1, channel_dim, pool)

    assert torch.autograd.gradcheck(run, (a.requires_grad_(), b.requires_grad_()))


def test_fakes_know_shape_and_dtype():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        moments = comoments(torch.empty(4, 8, 3, dtype=torch.bfloat16), torch.empty(4, 8, 3, dtype=torch.bfloat16))
    assert moments.shape == (6, 1, 8) and moments.dtype == torch.float64
