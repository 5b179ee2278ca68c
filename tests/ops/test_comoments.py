"""The co-moments operator against NumPy float64: every instruction set, dtype and layout."""

import itertools

import numpy as np
import pytest
import torch

from sdfast.backends import table as backends
from sdfast.ops.comoments import comoments
from tests import truth as reference
from tests.support.tolerances import CORRELATION, MOMENTS

_C = backends.load("cpu")

# C = 1, 63, 1000; N = 1, 2; runs below, at and beyond a vector; several position dimensions.
SHAPES = [
    (1, 1),
    (2, 1),
    (7, 63),
    (33, 1000),
    (300, 70),
    (5, 3, 1),
    (9, 16, 17),
    (17, 33, 15),
    (3, 2, 1000),
    (2, 1, 5000),
    (4, 65, 7, 7),
    (40, 24, 3, 4),
    (3, 40, 2, 3, 5),
    (2, 5, 4, 8, 8),
]


@pytest.fixture(params=_C.available_isas())
def isa(request):
    before = _C.isa()
    _C.set_isa(request.param)
    yield request.param
    _C.set_isa(before)


def feature_pair(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = (torch.randn(shape, generator=generator) * 2 + 3).to(dtype)
    b = (0.5 * a.float() + torch.randn(shape, generator=generator)).to(dtype)
    return a, b, torch.randint(0, 2, shape[:1], generator=generator)


def contiguous(x):
    return x


def channels_last(x):
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def transposed(x):
    return x.permute(*reversed(range(x.ndim))).contiguous().permute(*reversed(range(x.ndim)))


def strided(x):
    # The gaps hold NaN: reading one shows.
    wide = torch.full([2 * s for s in x.shape], torch.nan, dtype=x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view.copy_(x)
    return view


LAYOUTS = [contiguous, channels_last, transposed, strided]


def truth(a, b, factor=None, **kwargs):
    factor = None if factor is None else factor.numpy()
    return reference.comoments(a.double().numpy(), b.double().numpy(), factor, **kwargs)


def assert_moments(actual, expected, tolerance):
    """Compare with each moment's own scale: means with the spread, products with the variances."""
    actual = actual.numpy()
    count, _, _, m2_a, m2_b, _ = expected
    np.testing.assert_array_equal(actual[0], count)
    spread = np.sqrt((m2_a + m2_b) / np.maximum(count, 1))
    for row in (1, 2):
        scale = np.maximum(np.abs(expected[row]), spread)
        assert np.all(np.abs(actual[row] - expected[row]) <= tolerance * np.maximum(scale, 1e-9))
    for row, scale in ((3, m2_a), (4, m2_b), (5, np.sqrt(m2_a * m2_b))):
        error = np.abs(actual[row] - expected[row])
        assert np.all(error <= tolerance * np.maximum(scale, 1e-6)), error.max()


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_layouts_agree_with_numpy(isa, shape, dtype):
    a, b, labels = feature_pair(shape, dtype)
    for pool, factor in itertools.product((True, False), (None, labels)):
        expected = truth(a, b, factor, pool=pool)
        for layout_a, layout_b in itertools.product(LAYOUTS, LAYOUTS):
            assert_moments(comoments(layout_a(a), layout_b(b), factor, pool=pool), expected, MOMENTS[dtype])


@pytest.mark.parametrize("pool", [True, False])
def test_channel_dim_and_many_factors(isa, pool):
    a, b, _ = feature_pair((30, 6, 50), torch.float32)
    labels = torch.arange(30) % 5
    expected = truth(a, b, labels, num_factors=7, channel_dim=2, pool=pool)
    for channel_dim in (2, -1):
        assert_moments(comoments(a, b, labels, 7, channel_dim, pool), expected, MOMENTS[torch.float32])


@pytest.mark.parametrize("shape", [(64, 300, 4, 7, 7), (6000, 130), (3, 2, 300000), (9000, 40, 3)], ids=str)
def test_threads_share_the_work(isa, shape):
    """Large enough for two threads, split by channels or by samples."""
    a, b, labels = feature_pair(shape, torch.float32)
    before = torch.get_num_threads()
    for pool, factor in itertools.product((True, False), (None, labels)):
        expected = truth(a, b, factor, pool=pool)
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                assert _C.max_threads() == threads, "the extension must share torch's OpenMP"
                for layout in (contiguous, channels_last):
                    assert_moments(comoments(layout(a), layout(b), factor, pool=pool), expected, 1e-11)
        finally:
            torch.set_num_threads(before)


def large_mean(dtype, outlier_first):
    """mean/std = 1e4, as float32 activations after a large bias have it."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(4096, 8, generator=generator)
    b = 0.6 * a + 0.8 * torch.randn(4096, 8, generator=generator)
    a, b = (a + 1e4).to(dtype), (b - 1e4).to(dtype)
    if outlier_first:
        a[0], b[0] = -3e4, 5e4
    return a, b


@pytest.mark.parametrize("outlier_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_large_means_lose_nothing(isa, dtype, outlier_first):
    a, b = large_mean(dtype, outlier_first)
    expected = reference.correlation(truth(a, b))
    for layout in (contiguous, transposed):  # columns and runs
        corr = reference.correlation(comoments(layout(a), layout(b)).numpy())
        np.testing.assert_allclose(corr, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [contiguous, transposed])
def test_an_outlier_first_does_not_spoil_halves(isa, dtype, layout):
    """The shift starts at the first sample; here it is 200 standard deviations off."""
    a, b, _ = feature_pair((20000, 8), dtype, seed=2)
    a[0], b[0] = 400, -400
    corr = reference.correlation(comoments(layout(a), layout(b)).numpy())
    np.testing.assert_allclose(corr, reference.correlation(truth(a, b)), rtol=0, atol=CORRELATION[dtype])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_a_bad_value_stays_in_its_channel(isa, dtype, bad):
    for shape, pool in itertools.product([(20, 70), (3, 40, 37)], (True, False)):
        a, b, _ = feature_pair(shape, dtype)
        clean = comoments(a, b, pool=pool)
        for layout in LAYOUTS:
            spoilt = a.clone()
            spoilt[(-1, 5, *(-1,) * (a.ndim - 2))] = bad
            moments = comoments(layout(spoilt), layout(b), pool=pool)
            assert np.isnan(reference.correlation(moments.numpy())[0, 5]) and moments[3, 0, 5].isnan()
            others = [c for c in range(shape[1]) if c != 5]
            torch.testing.assert_close(moments[..., others], clean[..., others], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_constant_channels_have_no_variance_at_all(isa, dtype):
    for shape, pool in itertools.product([(21, 50), (6, 50, 7, 7), (9, 3, 100)], (True, False)):
        a, b, _ = feature_pair(shape, dtype)
        a[:, 1] = 0.1
        for layout in LAYOUTS:
            moments = comoments(layout(a), layout(b), pool=pool)
            assert (moments[[3, 5], 0, 1] == 0).all()


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_equal_features_correlate_exactly(isa, dtype):
    for shape in [(50, 40), (5, 20, 7, 7)]:
        a, _, _ = feature_pair(shape, dtype)
        moments = comoments(a, a.clone(), pool=False)
        assert torch.equal(moments[3], moments[5]) and torch.equal(moments[4], moments[5])


def test_half_conversion_is_exact(isa):
    """Every finite float16 and bfloat16 bit pattern, as one sample each, read as a mean of itself."""
    for dtype in (torch.float16, torch.bfloat16):
        values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
        values = values[values.isfinite() & (values.abs() < 1e9)]
        for x in (values[None], values[None, :, None].expand(-1, -1, 40)):
            moments = comoments(x, x)
            torch.testing.assert_close(moments[1, 0], values.double(), rtol=1e-7, atol=0)


def test_expanded_views_count_every_position():
    a, b, _ = feature_pair((6, 4), torch.float32)
    wide_a, wide_b = a[:, :, None].expand(-1, -1, 30), b[:, :, None].expand(-1, -1, 30)
    assert_moments(comoments(wide_a, wide_b, pool=False), truth(wide_a, wide_b, pool=False), 1e-12)


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
