"""The CUDA co-moments against NumPy float64: on an emulated GPU everywhere, on a real one where there is one."""

import itertools

import numpy as np
import pytest
import torch

from sdfast.statistics import KINDS, estimator_of, mutual_information
from tests import truth
from tests.support.cuda_modes import MODES, emulated, ready
from tests.support.features import LAYOUTS, contiguous, feature_pair, large_mean, transposed
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import CORRELATION, MOMENTS

pytestmark = pytest.mark.slow  # the emulator is built first

# C = 1, 63, 250; N = 1, 2; runs shorter than a vector, of several, of no whole number of vectors, of many blocks.
SHAPES = [
    (1, 1),
    (2, 1),
    (7, 63),
    (33, 248),
    (300, 6),
    (5, 3, 1),
    (9, 16, 17),
    (3, 2, 1000),
    (2, 1, 5000),
    (4, 24, 7, 7),
    (40, 24, 3, 4),
    (3, 10, 2, 3, 5),
    (2, 5, 4, 8, 8),
]


@pytest.fixture(params=MODES)
def kernels(request):
    with ready(request.param) as made:
        yield made


def run(kernels, a, b, factor=None, num_factors=2, channel_dim=1, pool=True):
    return kernels.comoments(a, b, factor, 1 if factor is None else num_factors, channel_dim, pool)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_layouts_agree_with_numpy(kernels, shape, dtype):
    """With one processor and with so many that each block has little to do."""
    a, b, labels = feature_pair(shape, dtype)
    for pool, factor in itertools.product((True, False), (None, labels)):
        expected = true_moments(a, b, factor, pool=pool)
        for i, layout in enumerate(LAYOUTS):
            kernels.use((1, 40)[i % 2], order=i)
            assert_moments(run(kernels, layout(a), layout(b), factor, pool=pool), expected, MOMENTS[dtype])


def test_layouts_may_differ(kernels):
    a, b, labels = feature_pair((5, 4, 4, 4), torch.float32)
    for pool in (True, False):
        expected = true_moments(a, b, labels, pool=pool)
        for layout_a, layout_b in itertools.permutations(LAYOUTS, 2):
            assert_moments(run(kernels, layout_a(a), layout_b(b), labels, pool=pool), expected, 1e-12)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_vectors_are_loaded_only_where_they_are_aligned(kernels, dtype):
    """Views that start an element later, and rows whose ends have gaps of NaN."""
    a, b, labels = feature_pair((6, 16, 33), dtype)
    for layout, pool in itertools.product(LAYOUTS[:2], (True, False)):
        for view in (lambda x: x[..., 1:], lambda x: x[:, 1:], lambda x: x[:, :9, :32], lambda x: x[:, 3:11, 8:24]):
            x, y = view(layout(a)), view(layout(b))
            assert_moments(run(kernels, x, y, labels, pool=pool), true_moments(x, y, labels, pool=pool), MOMENTS[dtype])


def test_as_many_dimensions_as_there_may_be():
    """None of which can be joined; with the batch one more of them."""
    memory = [torch.randn(500, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    a, b = (x.as_strided((2,) * 16, (61, 1, 53, 47, 43, 41, 37, 31, 29, 23, 19, 17, 13, 11, 7, 3)) for x in memory)
    for pool in (True, False):
        assert_moments(run(emulated(), a, b, pool=pool), true_moments(a, b, pool=pool), 1e-12)


@pytest.mark.parametrize("pool", [True, False])
def test_channel_dim_and_many_factors(kernels, pool):
    a, b, _ = feature_pair((15, 6, 10), torch.float32)
    labels = torch.arange(30)[::2] % 5
    expected = true_moments(a, b, labels, num_factors=7, channel_dim=2, pool=pool)
    assert_moments(run(kernels, a, b, labels, 7, -1, pool), expected, 1e-12)


def test_labels_of_no_factor_are_passed_over(kernels):
    a, b, _ = feature_pair((8, 5, 9), torch.float32)
    labels = torch.tensor([0, 1, -1, 0, 2, 1, 2**40, 0])
    known = (labels >= 0) & (labels < 2)
    for pool in (True, False):
        expected = true_moments(a[known], b[known], labels[known], pool=pool)
        assert_moments(run(kernels, a, b, labels, pool=pool), expected, 1e-12)


@pytest.mark.parametrize("outlier_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_large_means_lose_nothing(kernels, dtype, outlier_first):
    a, b = large_mean(dtype, outlier_first)
    expected = truth.correlation(true_moments(a, b))
    for layout in (contiguous, transposed):
        for processors in (1, 40):
            kernels.use(processors)
            corr = truth.correlation(run(kernels, layout(a), layout(b)).numpy())
            np.testing.assert_allclose(corr, expected, rtol=0, atol=1e-9)
            rows = [layout(x.T.contiguous()[None]) for x in (a, b)]
            corr = truth.correlation(run(kernels, *rows, pool=False).numpy())
            np.testing.assert_allclose(corr, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_an_outlier_first_does_not_spoil_halves(kernels, dtype):
    a, b, _ = feature_pair((20000, 8), dtype, seed=2)
    a[0], b[0] = 400, -400
    for layout in (contiguous, transposed):
        corr = truth.correlation(run(kernels, layout(a), layout(b), pool=False).numpy())
        np.testing.assert_allclose(corr, truth.correlation(true_moments(a, b)), rtol=0, atol=CORRELATION[dtype])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_bad_value_stays_in_its_channel_and_factor(kernels, bad):
    for dtype, shape in itertools.product((torch.float32, torch.bfloat16), [(6, 8), (6, 8, 40)]):
        a, b, _ = feature_pair(shape, dtype)
        labels = torch.arange(6) % 2
        for pool, layout in itertools.product((True, False), LAYOUTS[:2]):
            clean = run(kernels, layout(a), layout(b), labels, pool=pool)
            spoilt = a.clone()
            spoilt[(1, 2, *(3,) * (a.ndim - 2))] = bad
            moments = run(kernels, layout(spoilt), layout(b), labels, pool=pool)
            assert moments[3, 1, 2].isnan() and np.isnan(truth.correlation(moments.numpy())[1, 2])
            moments[:, 1, 2] = clean[:, 1, 2]
            torch.testing.assert_close(moments, clean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_what_is_constant_has_no_variance_at_all(kernels, dtype):
    """A channel of one value, one value a factor, and a pattern of positions that all samples share."""
    labels = torch.arange(20) % 2
    for size, layout, processors in itertools.product((5, 24, 49), LAYOUTS[:2], (1, 40)):
        kernels.use(processors)
        a, b, _ = feature_pair((20, 4, size), dtype)
        a[:, 0], a[:, 1], a[:, 2] = 0.1, (labels + 0.1)[:, None].to(dtype), a[0, 2]
        pooled = run(kernels, layout(a), layout(b), labels, pool=True)
        assert (pooled[[3, 5], :, :3] == 0).all() and (pooled[3, :, 3] > 0).all()
        assert (run(kernels, layout(a), layout(b), labels, pool=False)[[3, 5], :, :2] == 0).all()


def test_equal_features_correlate_exactly(kernels):
    for shape, dtype, layout in itertools.product([(50, 40), (5, 20, 7, 7)], MOMENTS, LAYOUTS[:2]):
        a, _, _ = feature_pair(shape, dtype)
        moments = run(kernels, layout(a), layout(a.clone()), pool=False)
        assert torch.equal(moments[3], moments[5]) and torch.equal(moments[4], moments[5])


@pytest.mark.parametrize("pool", [True, False])
def test_runs_repeat_whatever_the_order_of_threads_and_blocks(kernels, pool):
    for shape, layout in itertools.product([(900, 8), (9, 3, 2000)], LAYOUTS[:2]):
        a, b, labels = feature_pair(shape, torch.float32)
        runs = []
        for order in range(4):
            kernels.use(8, order)
            runs.append(run(kernels, layout(a), layout(b), labels, pool=pool))
        assert all(torch.equal(moments, runs[0]) for moments in runs)


@pytest.mark.parametrize("kind", KINDS)
def test_channel_bias_finishes_what_the_moments_say(kernels, kind):
    """In the only kernel, after a merge, after pooling; with labels and without."""
    for shape, pool in itertools.product([(32, 16), (3000, 3), (6, 4, 30)], (True, False)):
        a, b, labels = feature_pair(shape, torch.float32)
        a[:, 1] = 0.25
        for factor, num_factors in ((None, 1), (labels, 2), (labels, 3)):
            mi, corr, count = kernels.channel_bias(a, b, factor, num_factors, 1, pool, kind == "pearson")
            moments = run(kernels, a, b, factor, num_factors, pool=pool)
            expected = estimator_of(kind).correlation(moments)
            expected_count = moments[0, :, 0].long()
            if factor is None:
                expected, expected_count = expected[0], expected_count[0]
            torch.testing.assert_close(corr, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
            torch.testing.assert_close(mi, mutual_information(corr), rtol=1e-12, atol=1e-12, equal_nan=True)
            assert torch.equal(count, expected_count)


def test_small_inputs_are_one_launch_and_large_ones_at_most_three():
    module = emulated()

    def launches(processors, *args):
        module.set_processors(processors)
        before = module.launches()
        module.channel_bias(*args, True)
        return module.launches() - before

    for shape, dtype in itertools.product([(32, 512), (256, 64), (1, 1)], MOMENTS):
        a, b, labels = feature_pair(shape, dtype)
        assert launches(132, a, b, labels, 2, 1, True) == launches(132, a, b, None, 1, 1, False) == 1
    a, b, labels = feature_pair((4000, 8), torch.float32)
    assert launches(132, a, b, labels, 2, 1, True) == 2
    a, b, labels = feature_pair((8, 3, 50), torch.float32)
    assert launches(132, a, b, labels, 2, 1, True) == 2


def test_few_long_rows_are_shared_out_among_many_blocks():
    """Pooled, too: each split is a part of the sum. Of columns and of rows."""
    module = emulated()
    a, b, _ = feature_pair((2, 1, 60000), torch.float32)
    results = []
    for layout, processors in itertools.product((contiguous, transposed), (1, 132)):
        module.set_processors(processors)
        results.append(module.comoments(layout(a), layout(b), None, 1, 1, True))
        assert_moments(results[-1], true_moments(a, b), 1e-12)
    assert not torch.equal(results[0], results[1]), "a split sum rounds differently"


def test_division_by_multiplication_is_exact():
    quotient = emulated().quotient
    divisors = [*range(1, 70), 127, 1000, 2**16 - 1, 2**16 + 1, 2**30 + 1, 2**31 - 1, 2**31, 2**31 + 1, 2**40 + 7]
    for divisor in divisors:
        for x in (0, 1, divisor - 1, divisor, 3 * divisor - 1, 3 * divisor, 2**31 - 1, 2**31, 2**32 + 5, 2**50 + 3):
            assert quotient(x, divisor) == x // divisor
