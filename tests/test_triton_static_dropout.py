"""The Triton StaticDropout: the CPU kernel's bits in the interpreter, machine code without fused multiply-adds."""

import itertools
import re

import pytest
import torch

import sdfast
from sdfast import _backend
from tests.test_comoments import LAYOUTS
from tests.test_static_dropout import DTYPES, SEED, features, grid_mask
from tests.triton_modes import TARGETS, compiling_for, interpreted

_C = _backend.load("cpu")
# No positions, one, a run that is no multiple of eight draws, several dimensions, several tiles.
SHAPES = [(5, 19), (3, 9, 1), (2, 3, 50), (2, 3, 2, 5, 3), (2, 1, 1300)]
GUIDES = list(itertools.product((None, "coarse", "fine", "bool", "uint8", "double"), (False, True)))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


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


def rounds_in_the_interpreter(dtype, rescale):
    """Tell whether a product is rounded to nearest there; the interpreter cuts bfloat16 off, as no GPU does."""
    return not (dtype == torch.bfloat16 and rescale)


@pytest.mark.parametrize("granularity", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_interpreted_equals_the_cpu_bit_by_bit(kernels, shape, granularity):
    """Every mask and weight, with dtype, layout, rescaling and place in turn."""
    for i, (kind, weighted) in enumerate(GUIDES):
        dtype, layout, rescale = DTYPES[i % 4], LAYOUTS[i // 2 % 4], i % 3 != 0
        rescale = rescale and rounds_in_the_interpreter(dtype, rescale)
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


def test_channels_may_be_last(kernels):
    x = features((2, 21, 5))
    for granularity in (0, 1, 2):
        args = (torch.tensor(SEED), 0.5, grid_mask(x.shape, "coarse", -1), torch.rand(5), granularity, True, -1)
        expected, out = torch.empty_like(x), torch.empty_like(x)
        _C.static_dropout(x, expected, *args)
        kernels.static_dropout(x, out, *args)
        assert torch.equal(out, expected)


# A fused multiply-add of float32 or float64 in the assembly of either maker.
FUSED = re.compile(r"\bfma\.rn\.f(?:32|64)|\bv_(?:pk_)?(?:fma|fmac|mad|mac)_f(?:32|64)")


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_as_they_are_launched_and_contract_nothing(target):
    from sdfast.kernels import static_dropout

    with compiling_for(target) as compiled:
        for i, (kind, granularity) in enumerate([(None, 0), ("coarse", 0), ("bool", 1), ("double", 2), ("uint8", 0)]):
            for dtype, rescale in ((DTYPES[i % 4], False), (DTYPES[(i + 1) % 4], True)):
                x = LAYOUTS[i % 4](features((4, 6, 5, 7) if i else (3, 1), dtype))
                weight = torch.ones(x.shape[1]) if i % 2 else None
                mask = None if kind is None else grid_mask(x.shape, kind)
                static_dropout(x, x, torch.tensor(0), 0.5, mask, weight, granularity, rescale, 1)
    assert len(compiled) == 10
    for i, kernel in enumerate(compiled):
        assert kernel.metadata.enable_fp_fusion is False
        if not target.startswith("gfx"):
            assert kernel.asm["cubin"] and not FUSED.search(kernel.asm["ptx"])
        else:  # rescaled, it divides, which is made of fused multiply-adds there
            assert kernel.asm["hsaco"] and (i % 2 or not FUSED.search(kernel.asm["amdgcn"]))


@pytest.mark.parametrize(("target", "assembly"), [("sm_90", "ptx"), ("gfx942", "amdgcn")])
def test_contracted_kernels_would_be_found(target, assembly):
    from sdfast.kernels import comoments

    with compiling_for(target) as compiled:
        comoments(torch.ones(4, 3, 5), torch.ones(4, 3, 5), None, 1, 1, False)
    assert FUSED.search(compiled[0].asm[assembly])


@needs_gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_gpu_equals_the_cpu_bit_by_bit(dtype):
    for shape, granularity, rescale in itertools.product([(5, 37), (2, 70, 4, 7, 7)], (0, 1, 2), (False, True)):
        for (kind, weighted), layout in itertools.product(GUIDES, LAYOUTS):
            x = features(shape, dtype)
            weight = torch.rand(shape[1]) if weighted else None
            mask = None if kind is None else grid_mask(shape, kind)
            expected = torch.empty_like(x)
            _C.static_dropout(x, expected, torch.tensor(SEED), 0.7, mask, weight, granularity, rescale, 1)
            on_gpu = [None if t is None else t.cuda() for t in (mask, weight)]
            y = layout(x).cuda()
            _backend.load("triton").static_dropout(
                y, y, torch.tensor(SEED).cuda(), 0.7, *on_gpu, granularity, rescale, 1
            )
            assert torch.equal(y.cpu(), expected)


@needs_gpu
def test_a_gpu_is_not_waited_for():
    x, mask = features((4, 6, 50)).cuda().requires_grad_(), torch.ones(4, 50).cuda()
    sdfast.static_dropout(x, mask=mask).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sdfast.static_dropout(x, mask=mask).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
