"""The Triton co-moments and what follows from them: NumPy's numbers in the interpreter, and how they are launched."""

import itertools
import sys

import numpy as np
import pytest
import torch

from sdfast.backends import table as backends
from sdfast.statistics import estimator_of, mutual_information
from tests import truth
from tests.support.features import LAYOUTS, channels_last, contiguous, feature_pair, large_mean, transposed
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import CORRELATION, MOMENTS
from tests.support.triton_modes import launching, specialising

SHAPES = [(1, 1), (2, 1), (7, 10), (100, 2), (5, 3, 1), (9, 2, 17), (3, 1, 150), (2, 2, 2, 3, 5)]
_C = backends.load("cpu")


def run(kernels, a, b, factor=None, num_factors=2, channel_dim=1, pool=True):
    return kernels.comoments(a, b, factor, 1 if factor is None else num_factors, channel_dim, pool)


@pytest.mark.parametrize(
    ("shape", "pool"), [(shape, pool) for shape in SHAPES for pool in (True, False)[: len(shape) - 1]], ids=str
)
def test_interpreted_equals_numpy(kernels, shape, pool):
    """Each dtype and layout, with labels and without, in turn."""
    for i, (dtype, layout) in enumerate(itertools.product(MOMENTS, LAYOUTS)):
        a, b, labels = feature_pair(shape, dtype)
        factor = labels if (i + i // 4) % 2 else None
        moments = run(kernels, layout(a), layout(b), factor, pool=pool)
        assert_moments(moments, true_moments(a, b, factor, pool=pool), MOMENTS[dtype])


def test_layouts_may_differ(kernels):
    a, b, labels = feature_pair((5, 3, 4, 2), torch.float32)
    expected = true_moments(a, b, labels, pool=False)
    for layout_a, layout_b in itertools.permutations(LAYOUTS, 2):
        assert_moments(run(kernels, layout_a(a), layout_b(b), labels, pool=False), expected, 1e-12)


@pytest.mark.parametrize("pool", [True, False])
def test_channel_dim_and_many_factors(kernels, pool):
    a, b, _ = feature_pair((15, 6, 10), torch.float32)
    labels = torch.arange(30)[::2] % 5
    expected = true_moments(a, b, labels, num_factors=7, channel_dim=2, pool=pool)
    assert_moments(run(kernels, a, b, labels, 7, -1, pool), expected, 1e-12)


@pytest.mark.parametrize("outlier_first", [False, True])
def test_large_means_lose_nothing(kernels, outlier_first):
    a, b = (x[:, :2] for x in large_mean(torch.float32, outlier_first))
    expected = truth.correlation(true_moments(a, b))
    kernels.TILE = 4096
    for layout in (contiguous, transposed):
        corr = truth.correlation(run(kernels, layout(a), layout(b)).numpy())
        np.testing.assert_allclose(corr, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_an_outlier_first_does_not_spoil_halves(kernels, dtype):
    a, b, _ = feature_pair((20000, 2), dtype, seed=2)
    a[0], b[0] = 400, -400
    kernels.TILE = 4096
    corr = truth.correlation(run(kernels, a, b, pool=False).numpy())
    np.testing.assert_allclose(corr, truth.correlation(true_moments(a, b)), rtol=0, atol=CORRELATION[dtype])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, inside the interpreter
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_bad_value_stays_in_its_channel_and_factor(kernels, bad):
    a, b, _ = feature_pair((6, 4, 5), torch.float32)
    labels = torch.arange(6) % 2
    for pool, layout in itertools.product((True, False), LAYOUTS[:2]):
        clean = run(kernels, layout(a), b, labels, pool=pool)
        spoilt = a.clone()
        spoilt[1, 2, 3] = bad
        moments = run(kernels, layout(spoilt), b, labels, pool=pool)
        assert moments[3, 1, 2].isnan() and np.isnan(truth.correlation(moments.numpy())[1, 2])
        moments[:, 1, 2] = clean[:, 1, 2]
        torch.testing.assert_close(moments, clean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
def test_what_is_constant_has_no_variance_at_all(kernels, dtype):
    """A channel of one value, one value a factor, and a pattern of positions that all samples share."""
    a, b, _ = feature_pair((8, 3, 6), dtype)
    labels = torch.arange(8) % 2
    a[:, 0], a[:, 1], a[:, 2] = 0.1, (labels + 0.1)[:, None].to(dtype), a[0, 2]
    for layout in LAYOUTS[:2]:
        pooled = run(kernels, layout(a), b, labels, pool=True)
        assert (pooled[[3, 5]] == 0).all()
        assert (run(kernels, layout(a), b, labels, pool=False)[[3, 5], :, :2] == 0).all()


def test_equal_features_correlate_exactly_and_runs_repeat(kernels):
    a, b, _ = feature_pair((9, 3, 20), torch.float32)
    moments = run(kernels, a, a.clone(), pool=False)
    assert torch.equal(moments[3], moments[5]) and torch.equal(moments[4], moments[5])
    assert torch.equal(run(kernels, a, b), run(kernels, a, b))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_positions_without_end_are_shared(kernels, monkeypatch, layout):
    """Few samples and channels: the positions of a sample are split, and nothing is lost by that."""
    splits = []
    pool = kernels.pool_positions
    monkeypatch.setattr(
        kernels, "pool_positions", lambda *args, **kwargs: splits.append(args[5]) or pool(*args, **kwargs)
    )
    for dtype, shape in ((torch.float32, (2, 2, 700)), (torch.bfloat16, (3, 2, 25, 32))):
        a, b, labels = feature_pair(shape, dtype)
        a[:, 0] = a[0, 0]  # a pattern of positions that all samples share
        for factor in (None, labels):
            moments = run(kernels, layout(a), layout(b), factor)
            assert_moments(moments, true_moments(a, b, factor), MOMENTS[dtype])
            assert (moments[[3, 5], :, 0] == 0).all()
    a, b = (layout(x.float() + 1e4) for x in (a, b))
    corr = truth.correlation(run(kernels, a, b).numpy())
    np.testing.assert_allclose(corr, truth.correlation(true_moments(a, b)), rtol=0, atol=1e-9)
    assert len(splits) == 5 and min(splits) >= 4


@pytest.mark.parametrize("pool", [True, False])
def test_labels_of_no_factor_count_nowhere(kernels, pool):
    a, b, _ = feature_pair((20, 3, 5), torch.float32)
    labels = torch.arange(20) % 4 - 1
    known = (labels == 0) | (labels == 1)
    moments = run(kernels, a, b, labels, 2, pool=pool)
    assert_moments(moments, true_moments(a[known], b[known], labels[known], pool=pool), 1e-12)


def test_a_merge_of_equal_means_has_no_variance(kernels):
    """Whatever the counts, and whatever stands for the mean of chunks without samples."""
    counts = torch.randint(1, 1000, (50, 1, 1, 40), generator=torch.Generator().manual_seed(0)).double()
    counts[:7, :, :, :5] = 0
    means = torch.linspace(0.1, 1e5, 40, dtype=torch.float64).expand(50, 2, 1, 40).clone()
    means[(counts == 0).expand_as(means)] = -3.7
    out = torch.empty(6, 1, 40, dtype=torch.float64)
    partials = torch.cat([counts, means, torch.zeros(50, 3, 1, 40)], dim=1)
    kernels.merge(kernels.Plan(), partials, kernels.Outputs(out), 40, 0)
    assert (out[3:] == 0).all() and torch.equal(out[1:3], means[-1]) and torch.equal(out[0], counts.sum(0)[0])


def finished(kernels, a, b, factor, pearson, num_factors=2, pool=True):
    return kernels.channel_bias(a, b, factor, 1 if factor is None else num_factors, 1, pool, pearson)


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow):RuntimeWarning")  # NumPy's
@pytest.mark.parametrize("pearson", [True, False])
@pytest.mark.parametrize("shape", [(1, 3), (8, 7), (100, 7), (20, 7, 6)], ids=str)
def test_finished_results_are_those_of_the_cpu(kernels, shape, pearson):
    """In one kernel and after a merge: constants, NaN, equal features, opposite ones, one pair, no pair."""
    a, b, labels = feature_pair(shape, torch.float64)
    if shape[1] == 7:
        a[:, 0], b[:, 1], b[:, 2], a[0, 3] = 1.0, a[:, 1], -4 * a[:, 2], torch.nan
        a[:, 4], b[0, 4] = 1.0, torch.nan
        a[:, 5], b[:, 5] = 0.0, 0.0
        a[:, 6], b[:, 6] = a[:, 6] * 1e150, b[:, 6] * 1e-150
    for factor, num_factors in ((None, 1), (labels, 2), (labels * 0, 3)):
        expected = _C.channel_bias(a, b, factor, num_factors, 1, True, pearson)
        actual = finished(kernels, a, b, factor, pearson, num_factors)
        for x, y in zip(actual, expected, strict=True):
            assert x.dtype == y.dtype
            torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("pearson", [True, False])
def test_finished_moments_equal_the_reference_to_the_last_digits(kernels, pearson):
    """The same moments through the kernel's last stage and the torch formula, correlations down to 1e-9 included."""
    generator = torch.Generator().manual_seed(0)
    corr = torch.cat([torch.logspace(-9, 0, 50, dtype=torch.float64), 1 - torch.logspace(-15, -1, 14).double()])
    m2_a, m2_b = torch.rand(2, 64, dtype=torch.float64, generator=generator) + 0.5
    moments = torch.stack([torch.full_like(corr, 10), corr, corr, m2_a, m2_b, corr * (m2_a * m2_b).sqrt()])
    moments = torch.cat([moments, moments * torch.tensor([1, 1, 1, 1, 1, -1])[:, None]], dim=1)[:, None]
    mi, corr = torch.empty(2, 1, 128, dtype=torch.float64)
    outputs = kernels.Outputs(mi, mi, corr, torch.empty(1, dtype=torch.int64))
    kernels.merge(kernels.Plan(), moments[None], outputs, 128, 1 if pearson else 2)
    expected = estimator_of("pearson" if pearson else "intraclass").correlation(moments)
    torch.testing.assert_close(corr, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(mi, mutual_information(corr), rtol=1e-12, atol=0)
    assert outputs.number.item() == 10


@pytest.fixture
def launches(monkeypatch):
    """What would be launched on a GPU of 132 multiprocessors."""
    monkeypatch.setattr(sys.modules["sdfast.kernels.comoments"], "processors", lambda x: 132)
    with launching() as launches:
        yield launches


def on_meta(shape, dtype=torch.float32, layout=contiguous):
    return layout(torch.empty(shape, dtype=dtype, device="meta"))


@pytest.mark.parametrize("shape", [(32, 512), (8, 64), (32, 64, 4, 7, 7), (16, 512, 49)], ids=str)
def test_small_inputs_take_one_launch(launches, shape):
    from sdfast import kernels

    x = on_meta(shape)
    for factor in (None, torch.empty(shape[0], dtype=torch.int64, device="meta")):
        launches.clear()
        kernels.channel_bias(x, x, factor, 2, 1, True, True)
        assert [name for name, _ in launches] == ["partial_comoments"]


LARGE = [
    (1, 1, 10**8),
    (1, 64, 10**6),
    (2, 3, 10**7),
    (8, 64, 16, 112, 112),
    (64, 3, 10**6),
    (32, 512, 8, 14, 14),
    (1024, 512, 49),
    (10**6, 3, 7),
    (10**7, 2),
    (4 * 10**5, 64),
    (64, 10**6),
]


@pytest.mark.parametrize("layout", LAYOUTS[:3])
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_large_inputs_keep_all_multiprocessors_busy_in_few_launches(launches, shape, layout):
    from sdfast import kernels

    for dtype, pool in itertools.product((torch.float32, torch.bfloat16), (True, False)):
        x = on_meta(shape, dtype, layout)
        launches.clear()
        kernels.channel_bias(x, x, None, 1, 1, pool, True)
        assert launches[0][1] >= 3 * 132, (dtype, pool, launches)
        assert len(launches) <= 2, (dtype, pool, launches)


@pytest.mark.parametrize(
    ("shape", "layout"), [((512, 512), contiguous), ((4096, 64), contiguous), ((64, 16, 8, 7, 7), channels_last)]
)
def test_a_megabyte_keeps_all_multiprocessors_busy(launches, shape, layout):
    from sdfast import kernels

    x = on_meta(shape, layout=layout)
    kernels.channel_bias(x, x, None, 1, 1, False, True)
    assert launches[0][1] >= 132 and len(launches) <= 2, launches


@pytest.mark.parametrize("samples", [64, 1337, 4096, 50_000])
def test_pooled_and_labelled_takes_two_launches(launches, samples):
    from sdfast import kernels

    x, labels = on_meta((samples, 512, 8, 7, 7)), torch.empty(samples, dtype=torch.int64, device="meta")
    for num_factors in (2, 10):
        launches.clear()
        kernels.channel_bias(x, x, labels, num_factors, 1, True, True)
        assert [name for name, _ in launches] == ["pool_stretches", "sample_comoments"]
        assert min(programs for _, programs in launches) >= 132


def test_work_is_split_into_bounded_chunks():
    spans = sys.modules["sdfast.kernels.spans"]
    for n_tiles, p_tiles, programs, few, half, labelled in itertools.product(
        (1, 7, 5000), (1, 30, 100), (0, 1, 40), (1, 8), (True, False), (True, False)
    ):
        work = spans.share_out(n_tiles, p_tiles, programs, few, half, labelled)
        rows = n_tiles * p_tiles // work.row
        assert work.row == (p_tiles if labelled else n_tiles * p_tiles)
        assert (work.pieces - 1) * work.length < work.row <= work.pieces * work.length, "no span is empty"
        assert work.spans == rows * work.pieces
        assert (work.chunks - 1) * work.steps < work.spans <= work.chunks * work.steps, "no chunk is empty"
        assert not half or work.length <= spans.HALF_STEPS
        assert work.chunks <= spans.MERGED


@pytest.mark.parametrize("size", [1, 3, 7, 49, 98, 196, 392, 1568, 2100, 3136, 6272, 40000, 200704])
def test_tiles_leave_little_empty(size):
    samples = sys.modules["sdfast.kernels.samples"]
    for width, near in itertools.product((2, 4, 8), "pc"):
        tile = samples.tile_of(near, size, 48, 4096 // width, 16 // width, False)
        assert tile.n * tile.p * tile.c == 4096 // width and 48 % tile.c in (0, 48)
        assert -size % tile.p <= max(size / 16, -size % (samples.RUN if near == "p" else samples.LINES)), tile


def test_positions_are_split_into_bounded_stretches():
    pooling = sys.modules["sdfast.kernels.pooling"]
    for tiles in (1, 16, 17, 33, 1000, 65537, 10**6):
        splits, steps = pooling.splits_of(tiles)
        assert (splits - 1) * steps < tiles <= splits * steps, "no stretch is empty"
        assert splits <= pooling.STRETCHES and (steps <= pooling.STRETCH or tiles > 65536)


def positions_first(x):
    return x.movedim(-1, 0).contiguous().movedim(0, -1)


@pytest.mark.parametrize("layout", [*LAYOUTS[:3], positions_first])
@pytest.mark.parametrize("shape", [(40,), (8, 300), (3, 70000)], ids=str)
def test_another_batch_size_needs_no_other_kernel(shape, layout):
    """In one pass, in parts that are merged or pooled by stretches: each kernel has but one form for all of them."""
    from sdfast import kernels

    for dtype, pool, labelled in itertools.product((torch.float32, torch.bfloat16), (True, False), (True, False)):
        with specialising() as forms:
            for batch in (2, 3, 16, 17, 64, 1000, 40000):
                x = on_meta((batch, *shape), dtype, layout)
                labels = torch.empty(batch, dtype=torch.int64, device="meta") if labelled else None
                kernels.channel_bias(x, x, labels, 2, 1, pool, True)
        assert 0 < len(forms) == len({name for name, _ in forms}), (dtype, pool, labelled, forms)
