"""The Triton co-moments: NumPy's numbers in the interpreter, machine code for GPUs not there, and real launches."""

import itertools

import numpy as np
import pytest
import torch

import sdfast
from sdfast import _backend, reference
from tests.test_comoments import LAYOUTS, assert_moments, contiguous, feature_pair, large_mean, transposed, truth
from tests.tolerances import CORRELATION, MOMENTS
from tests.triton_modes import TARGETS, compiling_for, interpreted

SHAPES = [(1, 1), (2, 1), (7, 18), (200, 2), (5, 3, 1), (9, 2, 17), (3, 1, 300), (2, 2, 2, 3, 5)]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def kernels():
    """The interpreted kernels, with tiles so small that small features make many chunks."""
    with interpreted() as modules, pytest.MonkeyPatch.context() as patch:
        for name, value in (("TILE", 64), ("CHANNELS", 16), ("PROGRAMS", 1), ("FEW_TILES", 2)):
            patch.setattr(modules["comoments"], name, value)
        yield modules["comoments"]


def run(kernels, a, b, factor=None, num_factors=2, channel_dim=1, pool=True):
    return kernels.comoments(a, b, factor, 1 if factor is None else num_factors, channel_dim, pool)


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_interpreted_equals_numpy(kernels, shape, pool):
    """Each dtype and layout, with labels and without, in turn."""
    for i, (dtype, layout) in enumerate(itertools.product(MOMENTS, LAYOUTS)):
        a, b, labels = feature_pair(shape, dtype)
        factor = labels if (i + i // 4) % 2 else None
        moments = run(kernels, layout(a), layout(b), factor, pool=pool)
        assert_moments(moments, truth(a, b, factor, pool=pool), MOMENTS[dtype])


def test_layouts_may_differ(kernels):
    a, b, labels = feature_pair((5, 3, 4, 2), torch.float32)
    expected = truth(a, b, labels, pool=False)
    for layout_a, layout_b in itertools.permutations(LAYOUTS, 2):
        assert_moments(run(kernels, layout_a(a), layout_b(b), labels, pool=False), expected, 1e-12)


@pytest.mark.parametrize("pool", [True, False])
def test_channel_dim_and_many_factors(kernels, pool):
    a, b, _ = feature_pair((15, 6, 10), torch.float32)
    labels = torch.arange(30)[::2] % 5
    expected = truth(a, b, labels, num_factors=7, channel_dim=2, pool=pool)
    assert_moments(run(kernels, a, b, labels, 7, -1, pool), expected, 1e-12)


@pytest.mark.parametrize("outlier_first", [False, True])
def test_large_means_lose_nothing(kernels, outlier_first):
    a, b = (x[:, :2] for x in large_mean(torch.float32, outlier_first))
    expected = reference.correlation(truth(a, b))
    kernels.TILE = 1024
    for layout in (contiguous, transposed):
        corr = reference.correlation(run(kernels, layout(a), layout(b)).numpy())
        np.testing.assert_allclose(corr, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_an_outlier_first_does_not_spoil_halves(kernels, dtype):
    a, b, _ = feature_pair((20000, 2), dtype, seed=2)
    a[0], b[0] = 400, -400
    kernels.TILE = 1024
    corr = reference.correlation(run(kernels, a, b, pool=False).numpy())
    np.testing.assert_allclose(corr, reference.correlation(truth(a, b)), rtol=0, atol=CORRELATION[dtype])


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
        assert moments[3, 1, 2].isnan() and np.isnan(reference.correlation(moments.numpy())[1, 2])
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


def test_work_is_split_into_bounded_chunks_and_small_inputs_are_not():
    comoments = pytest.importorskip("sdfast.kernels.comoments")
    assert comoments.tile_shape(1, 512, {"n": 512, "c": 1}) == (16, 1, 64)
    assert comoments.chunk_steps(2, 1, 1000, True, False) == (8, 1), "one launch for (32, 512)"
    for n_tiles, p_tiles, programs, pool, half in itertools.product(
        (1, 7, 5000), (1, 30), (0, 1, 40), (True, False), (True, False)
    ):
        steps, chunks = comoments.chunk_steps(n_tiles, p_tiles, programs, pool, half)
        tiles = n_tiles if pool else n_tiles * p_tiles
        assert (chunks - 1) * steps < tiles <= chunks * steps, "no chunk is empty"
        assert pool or not half or steps <= comoments.HALF_STEPS


COMPILED = [
    ((64, 16, 4, 7, 7), torch.float32, contiguous, True),
    ((64, 16, 4, 7, 7), torch.bfloat16, contiguous, False),
    ((64, 70, 4, 8, 8), torch.float16, LAYOUTS[1], True),
    ((640, 512), torch.float64, contiguous, True),
    ((40, 6, 5, 3, 4), torch.float32, LAYOUTS[3], False),
    ((3, 1), torch.float32, contiguous, True),
]


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_as_they_are_launched(target):
    comoments = pytest.importorskip("sdfast.kernels.comoments")
    with compiling_for(target) as compiled:
        for i, (shape, dtype, layout, pool) in enumerate(COMPILED):
            a, b, labels = feature_pair(shape, dtype)
            comoments.comoments(layout(a), layout(b), labels if i % 2 else None, 1 + i % 2, 1, pool)
    assert {kernel.name for kernel in compiled} == {"partial_comoments", "merge_comoments"}
    assert len(compiled) > 5
    for kernel in compiled:
        assert kernel.asm["hsaco" if target.startswith("gfx") else "cubin"]


def test_another_batch_size_needs_no_other_kernel():
    comoments = pytest.importorskip("sdfast.kernels.comoments")
    with compiling_for("sm_90") as compiled:
        for batch in (65, 130, 1000):
            a, b, labels = feature_pair((batch, 8, 300), torch.float32)
            comoments.comoments(a, b, labels, 2, 1, False)
    assert len(compiled) == 6 and len({kernel.hash for kernel in compiled}) == 2


def test_the_triton_backend_serves_gpus():
    assert _backend.chosen("cuda") == "triton"
    with sdfast.use_backend("triton"):
        assert _backend.load("triton").comoments
        with pytest.raises(sdfast.BackendError, match="'triton': its kernels run on GPUs"):
            sdfast.channel_bias(torch.ones(3, 2), torch.ones(3, 2))


@needs_gpu
@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("pool", [True, False])
def test_a_gpu_equals_numpy(dtype, pool):
    for shape in [(32, 512), (64, 70, 4, 7, 7), (3, 2, 30000)]:
        a, b, labels = feature_pair(shape, dtype)
        for layout, factor in itertools.product(LAYOUTS, (None, labels)):
            on_gpu = [None if x is None else x.cuda() for x in (layout(a), layout(b), factor)]
            moments = sdfast.ops.comoments.comoments(*on_gpu, pool=pool)
            assert_moments(moments.cpu(), truth(a, b, factor, pool=pool), MOMENTS[dtype])


@needs_gpu
def test_a_gpu_is_not_waited_for_and_a_graph_captures_it():
    a, b, labels = (x.cuda() for x in feature_pair((64, 70, 500), torch.float32))
    comoments = sdfast.ops.comoments.comoments
    eager = comoments(a, b, labels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        comoments(a, b, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = comoments(a, b, labels)
    graph.replay()
    assert torch.equal(captured, eager)
