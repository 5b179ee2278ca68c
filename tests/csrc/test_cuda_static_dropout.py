"""The CUDA StaticDropout: NumPy's and the CPU kernel's bits, on an emulated GPU everywhere and on a real one."""

import itertools

import pytest
import torch

from sdfast.backends import table as backends
from sdfast.ops.static_dropout import GRANULARITIES
from tests.support.cuda_modes import MODES, emulated, ready
from tests.support.dropout import DTYPES, SEED, features, grid_mask, true_dropout
from tests.support.features import LAYOUTS, strided

pytestmark = pytest.mark.slow  # the emulator is built first

_C = backends.load("cpu")
# No positions, with and without whole vectors; one position; runs of no whole number of draws, of vectors, of groups;
# several dimensions; several blocks; blocks that take several rounds.
SHAPES = [
    (1, 1),
    (5, 37),
    (5, 64),
    (4, 9, 1),
    (3, 5, 50),
    (3, 5, 48),
    (2, 3, 4, 5, 7),
    (2, 16, 3, 6, 8),
    (2, 3, 2500),
    (2, 40, 2, 4),
    (9, 40, 130),
]
MASKS = (None, "coarse", "fine", "bool", "uint8", "double")


@pytest.fixture(params=MODES)
def kernels(request):
    with ready(request.param) as made:
        yield made


def apply(kernels, x, out, *args):
    """Run the kernel with `out` or, on a GPU, with a copy that is copied back."""
    if kernels.emulated:
        kernels.static_dropout(x, out, *args)
        return out
    args = [arg.cuda() if isinstance(arg, torch.Tensor) else arg for arg in args]
    x_there = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda").copy_(x)
    there = x_there if out is x else torch.full_like(x_there, torch.nan)
    kernels.module.static_dropout(x_there, there, *args)
    return there.cpu()


def weights(shape, channel_dim=1):
    weight = torch.rand(shape[channel_dim], generator=torch.Generator().manual_seed(1))
    weight[0] = 0
    return weight


@pytest.mark.parametrize("granularity", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_layouts_equal_numpy_bit_by_bit(kernels, shape, granularity):
    """Every dtype, mask, weight and layout; rescaling, place and the number of processors in turn."""
    cases = itertools.product(DTYPES, MASKS, (None, weights(shape)))
    for i, (dtype, kind, weight) in enumerate(cases):
        x, mask, rescale = features(shape, dtype), None if kind is None else grid_mask(shape, kind), i % 3 != 0
        expected = true_dropout(x, SEED, 0.7, mask, weight, GRANULARITIES[granularity], rescale)
        kernels.use((1, 40)[i // 2 % 2], order=i)
        for k, layout in enumerate(LAYOUTS):
            laid = layout(x.clone())
            out = laid if (i // 3 + k) % 2 else torch.full_like(laid, torch.nan)
            args = (torch.tensor(SEED), 0.7, mask, weight, granularity, rescale, 1)
            assert torch.equal(apply(kernels, laid, out, *args), expected), (dtype, kind, layout, rescale)


@pytest.mark.parametrize("granularity", [0, 1, 2])
def test_equals_the_cpu_kernel_bit_by_bit(kernels, granularity):
    for i, (dtype, kind, weighted) in enumerate(itertools.product(DTYPES, MASKS, (False, True))):
        for shape in [(5, 37), (3, 5, 50), (2, 16, 3, 6, 8)]:
            x = LAYOUTS[i % 4](features(shape, dtype))
            mask = None if kind is None else grid_mask(shape, kind)
            args = (torch.tensor(SEED), 0.3, mask, weights(shape) if weighted else None, granularity, True, 1)
            expected = torch.empty_like(x)
            _C.static_dropout(x, expected, *args)
            assert torch.equal(apply(kernels, x, torch.full_like(x, torch.nan), *args), expected)


@pytest.mark.parametrize("shape", [(3, 50, 6), (3, 50, 16), (2, 4, 5, 8)], ids=str)
def test_channels_may_be_last(kernels, shape):
    x, weight = features(shape), weights(shape, -1)
    for granularity, kind in itertools.product((0, 1, 2), (None, "coarse", "fine")):
        mask = None if kind is None else grid_mask(shape, kind, channel_dim=-1)
        expected = true_dropout(x, SEED, 0.5, mask, weight, GRANULARITIES[granularity], True, channel_dim=-1)
        args = (torch.tensor(SEED), 0.5, mask, weight, granularity, True, -1)
        assert torch.equal(apply(kernels, x, torch.full_like(x, torch.nan), *args), expected)


@pytest.mark.parametrize("seed", [0, -1, 2**32, 2**63 - 1, -(2**63)])
def test_seeds_and_probabilities_of_any_size(kernels, seed):
    x = features((2, 2, 40))
    for p, layout in itertools.product((0.0, 1e-5, 0.3, 1.0), LAYOUTS):
        out = apply(kernels, layout(x), torch.empty_like(x), torch.tensor(seed), p, None, None, 0, True, 1)
        assert torch.equal(out, true_dropout(x, seed, p, rescale=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_was_not_finite_is_zero_where_it_is_dropped_and_stays_where_not(kernels, dtype):
    x = features((3, 40, 33), dtype)
    x[0, 0], x[1, 1], x[2, 2, ::2] = torch.nan, torch.inf, -torch.inf
    for rescale, layout in itertools.product((False, True), LAYOUTS):
        args = (torch.tensor(SEED), 0.5, None, None, 0, rescale, 1)
        y, expected = apply(kernels, layout(x), torch.empty_like(x), *args), true_dropout(x, SEED, 0.5, rescale=rescale)
        assert torch.equal(y.nan_to_num(12345.0), expected.nan_to_num(12345.0))


def test_layouts_of_input_and_output_may_differ_and_gaps_stay():
    x = features((3, 16, 5, 8))
    expected = true_dropout(x, SEED, 0.5, rescale=True)
    args = (torch.tensor(SEED), 0.5, None, None, 0, True, 1)
    for layout_x, layout_out in itertools.product(LAYOUTS, LAYOUTS):
        out = layout_out(torch.zeros_like(x))
        emulated().static_dropout(layout_x(x), out, *args)
        assert torch.equal(out, expected)
        if layout_out is strided:
            assert out._base.isnan().sum() == out._base.numel() - x.numel()


def test_entries_without_positions_share_blocks():
    module, x = emulated(), features((4096, 24))
    module.set_processors(1)
    before, out, weight = module.blocks(), torch.full_like(x, torch.nan), weights(x.shape)
    module.static_dropout(x, out, torch.tensor(SEED), 0.5, None, weight, 0, True, 1)
    assert module.blocks() - before <= 16
    assert torch.equal(out, true_dropout(x, SEED, 0.5, None, weight, "element", True))


def test_more_blocks_than_a_grid_has_are_refused():
    x = torch.ones(1, 8).expand(2**31, 8)
    with pytest.raises(RuntimeError, match="features too large for one launch"):
        emulated().static_dropout(x, x, torch.tensor(SEED), 0.5, torch.ones(1).expand(2**31), None, 0, True, 1)


def test_rows_are_not_touched_in_place_where_the_mask_is_zero():
    """What is not marked is neither read nor written."""
    x, mask = features((2, 8, 64)), torch.zeros(2, 64)
    mask[0, :8] = 1
    for layout in LAYOUTS[:2]:
        y = layout(x.clone())
        emulated().static_dropout(y, y, torch.tensor(SEED), 1.0, mask, None, 0, True, 1)
        assert (y[0, :, :8] == 0).all() and torch.equal(y[0, :, 8:], x[0, :, 8:]) and torch.equal(y[1], x[1])
