"""The Triton kernels as machine code for GPUs that are not there: as they are launched, and what it shows."""

import re

import pytest
import torch

from tests.support.dropout import DTYPES, features, grid_mask
from tests.support.features import channels_last as last
from tests.support.features import contiguous, feature_pair, strided, transposed
from tests.support.triton_assembly import (
    assembly,
    instructions,
    length,
    loads,
    loads_in_loops,
    machine_code,
    narrow,
    on_their_way,
    spilled,
)
from tests.support.triton_modes import TARGETS, compiling_for

F32, BF16, F16, F64 = torch.float32, torch.bfloat16, torch.float16, torch.float64
# Shape, dtype, layout, pooled, labelled. Runs of 392 are no multiple of 16 elements, but of 16 bytes.
STREAMS = [
    ((64, 16, 8, 7, 7), F32, contiguous, False, False),
    ((64, 16, 8, 7, 7), BF16, contiguous, True, False),
    ((64, 16, 8, 7, 7), F32, last, True, False),
    ((64, 72, 2, 5, 5), BF16, last, False, False),
    ((640, 512), F32, contiguous, True, False),
    ((2, 3, 40000), F32, contiguous, True, False),
    ((2, 40, 9000), BF16, last, True, False),
    ((2000, 16, 8, 7, 7), BF16, contiguous, True, True),
]
OTHERS = [
    ((64, 64, 4, 7, 7), F16, last, True, True),
    ((64, 16, 7, 7), BF16, contiguous, True, True),
    ((640, 513), F64, contiguous, True, True),
    ((40, 6, 5, 3, 4), F32, strided, False, False),
    ((40, 6, 5, 3, 4), BF16, transposed, True, True),
    ((3, 1), F32, contiguous, True, False),
]
# All are compiled for, which takes its time; one of them in a quick run.
GPUS = [name if name == "sm_90" else pytest.param(name, marks=pytest.mark.slow) for name in TARGETS]
KERNELS = {"partial_comoments", "merge_comoments", "pool_stretches", "sample_comoments"}


def compiled_for(target, shape, dtype, layout, pool, labelled, kind=None):
    from sdfast import kernels

    a, b, labels = feature_pair(shape, dtype)
    args = (layout(a), layout(b), labels if labelled else None, 1 + labelled, 1, pool)
    with compiling_for(target) as compiled:
        kernels.comoments(*args) if kind is None else kernels.channel_bias(*args, kind == "pearson")
    return compiled


@pytest.mark.parametrize("target", GPUS)
def test_comoments_spill_nothing_and_load_128_bits(target):
    names = set()
    for case in STREAMS:
        compiled = compiled_for(target, *case)
        for kernel in compiled:
            names.add(kernel.name)
            assert spilled(kernel) == 0 and kernel.metadata.enable_fp_fusion, (kernel.name, case)
        found = loads_in_loops(compiled[0])  # the one that reads the features
        assert found and not narrow(found), (compiled[0].name, case, found)
    assert names == KERNELS


def test_loads_go_ahead_of_the_sums():
    """What an H200 has to await at a time to be busy: 4.8 TB/s for an assumed 0.7 us, on 132 multiprocessors."""
    for case in (*STREAMS, ((64, 64, 4, 7, 7), F16, last, True, True)):
        assert on_their_way(compiled_for("sm_90", *case)[0]) >= 24 * 1024, case


MOST = {(F32, False): 255, (BF16, False): 370, (F32, True): 255, (BF16, True): 400}


def useful_instructions(target, dtype, pool, num_factors=0):
    """Return how many instructions a thread takes for 64 bytes of contiguous features, padding not counted as any."""
    from sdfast.kernels import comoments
    from sdfast.kernels.sample_comoments import AT_ONCE, MERGED_COLUMNS, MERGING

    size = 392
    x = torch.empty(2000, 64, size, dtype=dtype)
    labels = torch.empty(2000, dtype=torch.int64) if num_factors else None
    with compiling_for(target) as compiled:
        comoments(x, x, labels, num_factors or 1, 1, pool)
    reading, (number, bytes_read) = compiled[0], instructions(compiled[0])
    tile = next(v for v in reading.src.constants.values() if hasattr(v, "p_times"))
    taken = number * 64 / bytes_read * (-(-size // tile.p) * tile.p) / size
    if pool:  # a thread's share of a pooled sample of a channel, spread over the bytes of that
        number, _ = instructions(compiled[1])
        taken += number * MERGING / (AT_ONCE * MERGED_COLUMNS) * max(num_factors, 1) / (2 * size * dtype.itemsize / 64)
    return taken


@pytest.mark.parametrize("target", GPUS)
def test_useful_bytes_take_few_instructions(target):
    for (dtype, pool), most in MOST.items():
        assert useful_instructions(target, dtype, pool) <= most, (dtype, pool)


@pytest.mark.parametrize("target", GPUS)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_labels_of_two_factors_cost_pooling_next_to_nothing(target, dtype):
    pooled = useful_instructions(target, dtype, True)
    assert pooled < useful_instructions(target, dtype, True, 2) <= 1.1 * pooled


@pytest.mark.parametrize("target", GPUS)
def test_comoments_and_channel_bias_compile_as_they_are_launched(target):
    for i, case in enumerate(OTHERS):
        kind = (None, "pearson", "intraclass")[i % 3]
        for kernel in compiled_for(target, *case, kind):
            assert spilled(kernel) == 0, (kernel.name, case)


@pytest.mark.parametrize("target", GPUS)
def test_updates_of_a_state_compile_as_they_are_launched(target):
    from sdfast.kernels import update_comoments

    state, labels = torch.zeros(6, 5, 2, 64, dtype=F64), torch.zeros(600, dtype=torch.int64)
    with compiling_for(target) as compiled:
        for shape, factor, source in (((600, 64), labels, labels), ((600, 64, 392), labels, labels)):
            x = torch.empty(shape)
            update_comoments(state, x, x, factor, source, 1, True)
        update_comoments(state[:, :, :1].contiguous(), x, x, None, labels, 1, False)
        update_comoments(state[:, 0], x, x, labels, None, 1, False)
    assert len(compiled) >= 5
    assert all(spilled(kernel) == 0 for kernel in compiled)


@pytest.mark.parametrize("target", GPUS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_pairwise_correlation_compiles_as_it_is_launched(target, dtype):
    from sdfast.kernels import pairwise_correlation

    with compiling_for(target) as compiled:
        pairwise_correlation(torch.zeros(5000, 100, dtype=dtype), torch.zeros(5000, 30, dtype=dtype))
        pairwise_correlation(torch.zeros(50, 128, dtype=dtype), torch.zeros(50, 128, dtype=dtype))
    assert {kernel.name for kernel in compiled} >= {"partial_products", "add_products"}
    for kernel in compiled:
        assert spilled(kernel) == 0, kernel.name
        assert not re.search(r"\btf32\b", assembly(kernel)), "float32 is multiplied as float32"


# A fused multiply-add of float32 or float64 in the assembly of either maker.
FUSED = re.compile(r"\bfma\.rn\.f(?:32|64)|\bv_(?:pk_)?(?:fma|fmac|mad|mac)_f(?:32|64)")


@pytest.mark.parametrize("target", GPUS)
def test_static_dropout_spills_nothing_and_contracts_nothing(target):
    from sdfast.kernels import static_dropout

    layouts = (contiguous, last, transposed, strided)
    with compiling_for(target) as compiled:
        for i, (kind, granularity) in enumerate([(None, 0), ("coarse", 0), ("bool", 1), ("double", 2), ("uint8", 0)]):
            for dtype, rescale in ((DTYPES[i % 4], False), (DTYPES[(i + 1) % 4], True)):
                x = layouts[i % 4](features((4, 6, 5, 7) if i else (3, 1), dtype))
                weight = torch.ones(x.shape[1]) if i % 2 else None
                mask = None if kind is None else grid_mask(x.shape, kind)
                static_dropout(x, x, torch.tensor(0), 0.5, mask, weight, granularity, rescale, 1)
    assert len(compiled) == 10
    for i, kernel in enumerate(compiled):
        assert kernel.metadata.enable_fp_fusion is False and spilled(kernel) == 0
        rescaled_on_amd = "amdgcn" in kernel.asm and i % 2  # it divides, which is made of fused multiply-adds there
        reciprocals = len(re.findall(r"\brcp\.approx", assembly(kernel)))  # two make each the nearest
        pairs = len(re.findall(r"\bfma\.rn\.f32x2", assembly(kernel)))
        assert rescaled_on_amd or len(FUSED.findall(assembly(kernel))) + pairs == 2 * reciprocals
        assert (reciprocals > 0) == (i % 2 == 1 and "ptx" in kernel.asm)


@pytest.mark.parametrize("target", ["sm_90", pytest.param("sm_100", marks=pytest.mark.slow)])
def test_guided_dropout_takes_few_instructions(target):
    """Of a thread, which has 64 bytes of features, rescaled and weighted."""
    from sdfast.kernels import static_dropout

    for dtype, most in ((F32, 1040), (BF16, 1600)):
        x = features((64, 64, 8, 7, 7), dtype)
        with compiling_for(target) as compiled:
            static_dropout(x, x, torch.tensor(0), 0.5, torch.ones(64, 2, 4, 4), torch.ones(64), 0, True, 1)
        assert length(compiled[0]) <= most


@pytest.mark.parametrize("target", GPUS)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_static_dropout_loads_and_stores_128_bits(target, dtype):
    """Guided by a coarse mask, in place or not, and by none; contiguous and channels-last."""
    from sdfast.kernels import static_dropout

    seed, wide = torch.tensor(0), 4
    for layout in (contiguous, last):
        x = layout(features((4, 64, 8, 7, 7), dtype))
        with compiling_for(target) as compiled:
            static_dropout(x, x, seed, 0.5, None, None, 0, False, 1)
            static_dropout(x, torch.empty_like(x), seed, 0.5, torch.ones(4, 2, 4, 4), None, 2, False, 1)
        for kernel, mask_loads in zip(compiled, (0, 64 // dtype.itemsize), strict=True):
            assert spilled(kernel) == 0
            rest = narrow(loads(kernel))
            assert len(loads(kernel)) - len(rest) == wide, loads(kernel)
            assert len(rest) <= 1 + mask_loads, rest  # the seed
            stores = re.findall(r"\b(?:st\.global|(?:global|buffer|flat)_store)\S*", assembly(kernel))
            assert len(stores) == wide and not narrow(stores)


@pytest.mark.parametrize("target", GPUS)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_static_dropout_draws_while_features_are_under_way(target, dtype):
    from sdfast.kernels import static_dropout

    x = features((64, 64, 8, 7, 7), dtype)
    with compiling_for(target) as compiled:
        static_dropout(x, x, torch.tensor(0), 0.5, torch.ones(64, 2, 4, 4), None, 0, True, 1)
        static_dropout(x, x, torch.tensor(0), 0.5, None, None, 0, True, 1)
    for kernel in compiled:
        code = machine_code(kernel).lower()
        loads = [load.start() for load in re.finditer(r"\bldg\S*128|\b(?:global|buffer)_load_dwordx4", code)]
        philox = [place.start() for place in re.finditer(r"(?m)0xd2511f53|0xcd9e8d57|v_mad_u64_u32 .*, 0$", code)]
        assert len(loads) == 4 and max(loads) < philox[0]


@pytest.mark.parametrize("target", ["sm_90", "sm_100"])
def test_bfloat16_is_rounded_to_the_nearest(target):
    from sdfast.kernels import static_dropout

    x = features((4, 64), BF16)
    with compiling_for(target) as compiled:
        static_dropout(x, x, torch.tensor(0), 0.5, None, None, 0, True, 1)
    assert re.search(r"\bcvt\.rn\.bf16", assembly(compiled[0]))


@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
def test_what_these_tests_look_for_would_be_found(target):
    odd = compiled_for(target, (64, 16, 5, 7, 7), F32, contiguous, False, False)
    assert narrow(loads_in_loops(odd[0])), "runs of 245 cannot be loaded by 16 bytes"
    assert FUSED.search(assembly(odd[0]))
