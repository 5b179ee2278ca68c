"""The Triton StaticDropout: the CPU kernel's bits in the interpreter."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch

from sdfast.backends import table as backends
from tests.support.dropout import DTYPES, SEED, features, grid_mask
from tests.support.features import LAYOUTS
from tests.support.triton_modes import interpreted, launching, specialising, tl, triton

_C = backends.load("cpu")
# No positions, one, a run that is no multiple of eight draws, several dimensions, several tiles.
SHAPES = [(5, 19), (3, 9, 1), (2, 3, 50), (2, 3, 2, 5, 3), (2, 1, 2100)]
GUIDES = list(itertools.product((None, "coarse", "fine", "bool", "uint8", "double"), (False, True)))


@pytest.fixture
def kernels():
    with interpreted() as modules:
        yield modules["static_dropout"]


def both(kernels, x, out, kind, weighted, granularity, rescale, p=0.7, seed=SEED):
    """Run the CPU kernel and the interpreted one on the same arguments; returns (expected, out)."""
    weight = torch.rand(x.shape[1], generator=torch.Generator().manual_seed(1)) if weighted else None
    mask = None if kind is None else grid_mask(x.shape, kind)
    args = (torch.tensor(seed), p, mask, weight, granularity, rescale, 1)
    expected = torch.empty_like(x)
    _C.static_dropout(x, expected, *args)
    kernels.static_dropout(x, out, *args)
    return expected, out


@pytest.mark.parametrize("granularity", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_interpreted_equals_the_cpu_bit_by_bit(kernels, shape, granularity):
    """Every mask and weight, with dtype, layout, rescaling and place in turn."""
    for i, (kind, weighted) in enumerate(GUIDES):
        dtype, layout, rescale = DTYPES[i % 4], LAYOUTS[i // 2 % 4], i % 3 != 0
        x = layout(features(shape, dtype))
        out = x if i % 2 else torch.full_like(x, torch.nan)
        expected, out = both(kernels, x, out, kind, weighted, granularity, rescale)
        assert torch.equal(out, expected), (kind, weighted, dtype, layout, rescale)


@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")  # NumPy's, in the interpreter
@pytest.mark.parametrize("seed", [0, -1, 2**32, 2**63 - 1, -(2**63)])
def test_seeds_and_probabilities_of_any_size(kernels, seed):
    x = features((2, 2, 40))
    for p in (0.0, 1e-5, 0.3, 1.0):
        expected, out = both(kernels, x, torch.empty_like(x), None, False, 0, True, p, seed)
        assert torch.equal(out, expected)


def test_dropped_values_are_zero_whatever_they_were(kernels):
    x = torch.full((2, 3, 40), torch.nan)
    expected, out = both(kernels, x, torch.empty_like(x), None, False, 0, True)
    assert torch.equal(out.isnan(), expected.isnan()) and (out[~out.isnan()] == 0).all()


@pytest.mark.parametrize("off", [-2, -1, 0, 1, 2])
def test_a_step_from_any_near_reciprocal_leads_to_the_nearest(off):
    """For all there is to divide by, from as far as the instruction may be off."""
    chances = np.arange(1, 65537, dtype=np.float32)
    nearest = np.float32(1) / chances
    near = nearest + np.float32(off) * np.spacing(nearest)
    rest = (1 - chances.astype(np.float64) * near).astype(np.float32)  # with one rounding, as fused multiply-adds have
    step = near.astype(np.longdouble) * rest + near
    assert np.array_equal(65536 * step.astype(np.float32), np.float32(65536) / chances)


def test_offsets_of_32_bit_positions_have_64(kernels):
    """Of channels-last features with more than 2^31 elements a sample, or of several dimensions."""
    layout = sys.modules["sdfast.kernels.layout"]

    @triton.jit
    def write(out, first, sizes, strides, OFFSET_OF: tl.constexpr):
        lane = tl.arange(0, 2)
        tl.store(out + lane, OFFSET_OF(first + lane, sizes, strides))

    found = torch.empty(2, 2, dtype=torch.int64)
    for i, (sizes, strides) in enumerate((((2**22,), (1024,)), ((3, 2**20), (2**30, 4096)))):
        odd = tuple(layout.odd(stride) for stride in strides)
        write[(1,)](found[i], math.prod(sizes) - 2, sizes, odd, layout.offset_of)
    last = (2**22 - 1) * 1024, 2**31 + (2**20 - 1) * 4096
    assert found.tolist() == [[last[0] - 1024, last[0]], [last[1] - 4096, last[1]]]


@pytest.mark.parametrize(("size", "grid"), [(7, 3), (3, 7), (5, 5), (3 * 2**29, 3), (2**31 + 1, 2**29), (2**33, 2**33)])
def test_the_nearest_value_of_a_mask_is_found_however_large_both_are(kernels, size, grid):
    @triton.jit
    def find(out, i, size, grid, NEAREST: tl.constexpr):
        lane = tl.arange(0, 4)
        tl.store(out + lane, NEAREST(tl.load(i + lane), size, grid))

    i, found = torch.tensor([0, 1, size // 2, size - 1]), torch.empty(4, dtype=torch.int64)
    find[(1,)](found, i, size, grid, kernels._nearest)
    assert found.tolist() == [(2 * n + 1) * grid // (2 * size) for n in i.tolist()]


def test_channels_may_be_last(kernels):
    x = features((2, 21, 5))
    for granularity in (0, 1, 2):
        args = (torch.tensor(SEED), 0.5, grid_mask(x.shape, "coarse", -1), torch.rand(5), granularity, True, -1)
        expected, out = torch.empty_like(x), torch.empty_like(x)
        _C.static_dropout(x, expected, *args)
        kernels.static_dropout(x, out, *args)
        assert torch.equal(out, expected)


@pytest.mark.parametrize("channels", [64, 512, 4096])
def test_a_program_takes_several_rows_of_channels(channels):
    from sdfast.kernels import static_dropout

    x = torch.empty(4096, channels, device="meta")
    with launching() as launches:
        static_dropout(x, x, torch.empty((), dtype=torch.int64, device="meta"), 0.5, None, None, 0, True, 1)
    assert launches == [("drop", 4096 * channels // 2048)]


@pytest.mark.parametrize("shape", [(8, 5, 3), (40,)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS[:3])
def test_another_batch_size_needs_no_other_kernel(layout, shape):
    from sdfast.kernels import static_dropout

    for kind in (None, "coarse"):
        with specialising() as forms:
            for batch in (2, 3, 16, 17, 64, 1000):
                x = layout(features((batch, *shape)))
                mask = None if kind is None else grid_mask(x.shape, kind)
                static_dropout(x, torch.empty_like(x), torch.tensor(0), 0.5, mask, None, 0, True, 1)
        assert len(forms) == 1, (kind, forms)
