"""Co-moments of feature pairs, correlation and mutual information: one pass over memory, then a merge of the parts.

A program sums a stretch of the samples of a block of channels around a shift that is one of these samples, so that the
squares stay small and equal samples have no variance at all. Partial results are float64 and are merged in a fixed
order: a result depends on nothing but its input and the device.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.layout import THREADS, Layout, join, offset_of, positions, processors, warps
from sdfast.kernels.moments import INTRACLASS, MOMENTS, PEARSON, merge, write
from sdfast.kernels.pooling import pool_positions, splits_of
from sdfast.kernels.samples import around, lanes, position_sums, shift_of, tile_of

TILE = 4096  # bytes of one tensor that a program loads at once
PROGRAMS = 16  # for each multiprocessor: several run at once, and the last to finish do not wait long
FEW_TILES = 8  # one program does these faster than a second kernel would merge them
HALF_STEPS = 32  # tiles summed in float32 before the sum goes on in float64
LABELS = 128  # read at once


@triton.jit
def _total(lanes):
    """Sum lanes (n, p, c) to (c,) float64."""
    return tl.sum(tl.sum(lanes.to(tl.float64), axis=0), axis=0)


@triton.jit
def _not_negative(m2):
    """Return a sum of squares without what rounding took too much; NaN stays."""
    return tl.where(m2 < 0, 0, m2)


@triton.jit(do_not_specialize=["batch", "factors", "steps", "chunks"])
def partial_comoments(
    a,
    b,
    labels,
    label_stride,
    base,  # (2, C) float64 to add to the means, or None
    out,  # (chunks, 6, F, C) float64, or with one chunk what `write` takes
    mi,
    corr,
    number,
    factors,
    steps,
    chunks,
    batch,
    channels,
    size,  # the number of positions
    sizes,
    strides_a,
    strides_b,
    a_n,
    a_c,
    b_n,
    b_c,
    KIND: tl.constexpr,
    LABELLED: tl.constexpr,
    POOL: tl.constexpr,
    LANE: tl.constexpr,
    P_VECTOR: tl.constexpr,
    C_VECTOR: tl.constexpr,
    N_TIMES: tl.constexpr,
    P_TIMES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_L: tl.constexpr,
):
    """Write the co-moments of one chunk of tiles, one factor and one block of channels."""
    program = tl.program_id(0)
    zero = program.to(tl.int64) * 0  # whatever is multiplied below is 64 bits wide first
    channels *= C_VECTOR
    size = (zero + size) * P_VECTOR
    blocks = (channels + BLOCK_C - 1) // BLOCK_C
    factor = program % factors
    block = program // factors % blocks
    chunk = program // factors // blocks

    n_lane = tl.arange(0, BLOCK_N)[:, None, None]
    p_lane = tl.arange(0, BLOCK_P)[None, :, None]
    c = block.to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)[None, None, :]
    in_c = c < channels
    a += c * a_c * P_VECTOR
    b += c * b_c * P_VECTOR
    a_n = (zero + a_n) * (P_VECTOR * C_VECTOR)
    b_n = (zero + b_n) * (P_VECTOR * C_VECTOR)

    n_tiles = (batch + BLOCK_N - 1) // BLOCK_N
    p_tiles = ((size + BLOCK_P - 1) // BLOCK_P).to(tl.int32)
    n_steps = 1 if POOL else p_tiles  # tiles of the same pairs
    first = (chunk * steps).to(tl.int32)
    last = tl.minimum(first + steps, n_tiles * n_steps).to(tl.int32)

    # Three samples of this factor, as far apart as the chunk has them.
    n_0 = (zero + first // n_steps) * BLOCK_N
    n_2 = tl.minimum((zero + (last - 1) // n_steps) * BLOCK_N + BLOCK_N, batch) - 1
    n_1 = (n_0 + n_2) // 2
    if LABELLED:
        low, middle, high = n_2, n_2, n_0
        for begin in range(n_0, n_2 + 1, BLOCK_L):
            index = begin + tl.arange(0, BLOCK_L)
            found = tl.load(labels + index * label_stride, mask=index <= n_2, other=-1) == factor
            low = tl.minimum(low, tl.min(tl.where(found, index, n_2), axis=0))
            middle = tl.minimum(middle, tl.min(tl.where(found & (index >= n_1), index, n_2), axis=0))
            high = tl.maximum(high, tl.max(tl.where(found, index, n_0), axis=0))
        n_0, n_1, n_2 = low, tl.minimum(middle, high), high
    middle_p, last_p = size // 2, size - 1
    middle_a = n_1 * a_n + offset_of(middle_p, sizes, strides_a) * C_VECTOR
    middle_b = n_1 * b_n + offset_of(middle_p, sizes, strides_b) * C_VECTOR
    last_a = n_2 * a_n + offset_of(last_p, sizes, strides_a) * C_VECTOR
    last_b = n_2 * b_n + offset_of(last_p, sizes, strides_b) * C_VECTOR
    shift_a = shift_of(a, n_0 * a_n, middle_a, last_a, in_c, LANE)
    shift_b = shift_of(b, n_0 * b_n, middle_b, last_b, in_c, LANE)

    # Sums of as many lanes as there are threads: of pooled samples in float64.
    WIDE: tl.constexpr = tl.float64 if POOL else LANE
    P: tl.constexpr = 1 if POOL else BLOCK_P // (P_TIMES * P_VECTOR)
    counts = tl.full([BLOCK_N, 1, 1], 0, tl.int32)
    sum_a = tl.full([BLOCK_N // N_TIMES, P, BLOCK_C], 0, WIDE)
    sum_b = tl.full([BLOCK_N // N_TIMES, P, BLOCK_C], 0, WIDE)
    sum_aa = tl.full([BLOCK_N // N_TIMES, P, BLOCK_C], 0, WIDE)
    sum_bb = tl.full([BLOCK_N // N_TIMES, P, BLOCK_C], 0, WIDE)
    sum_ab = tl.full([BLOCK_N // N_TIMES, P, BLOCK_C], 0, WIDE)
    origin_a = tl.full([1, 1, BLOCK_C], 0, tl.float64)
    origin_b = tl.full([1, 1, BLOCK_C], 0, tl.float64)
    for tile in range(first, last):
        n = (zero + tile // n_steps) * BLOCK_N + n_lane
        member = n < batch
        if LABELLED:
            member &= tl.load(labels + n * label_stride, mask=member, other=-1) == factor
        if POOL:
            da, db = position_sums(
                a + n * a_n,
                b + n * b_n,
                member & in_c,
                zero,
                zero + p_tiles,
                size,
                sizes,
                strides_a,
                strides_b,
                shift_a,
                shift_b,
                C_VECTOR,
                P_VECTOR,
                P_TIMES,
                BLOCK_N,
                BLOCK_P,
                BLOCK_C,
            )
            da /= size
            db /= size
            # Pooled samples may be constant though the positions are not: a second shift, one of the first samples.
            if tile == n_0 // BLOCK_N:
                origin_a = tl.max(tl.where(member, da, float("-inf")), axis=0)[None, :, :]
                origin_b = tl.max(tl.where(member, db, float("-inf")), axis=0)[None, :, :]
            da = tl.where(member, da - origin_a, 0)
            db = tl.where(member, db - origin_b, 0)
            counts += member.to(tl.int32)
            sum_a += lanes(da, N_TIMES, 1, 1)
            sum_b += lanes(db, N_TIMES, 1, 1)
            sum_aa += lanes(da * da, N_TIMES, 1, 1)
            sum_bb += lanes(db * db, N_TIMES, 1, 1)
            sum_ab += lanes(da * db, N_TIMES, 1, 1)
        else:
            start = (zero + tile % n_steps) * BLOCK_P
            p = start + p_lane
            inside = member & (p < size) & in_c
            da = around(a + n * a_n + offset_of(p, sizes, strides_a) * C_VECTOR, inside, shift_a)
            db = around(b + n * b_n + offset_of(p, sizes, strides_b) * C_VECTOR, inside, shift_b)
            counts += tl.where(member, tl.minimum(size - start, BLOCK_P), 0).to(tl.int32)
            sum_a += lanes(da, N_TIMES, P_TIMES, P_VECTOR)
            sum_b += lanes(db, N_TIMES, P_TIMES, P_VECTOR)
            sum_aa += lanes(da * da, N_TIMES, P_TIMES, P_VECTOR)
            sum_bb += lanes(db * db, N_TIMES, P_TIMES, P_VECTOR)
            sum_ab += lanes(da * db, N_TIMES, P_TIMES, P_VECTOR)

    count = tl.sum(tl.sum(tl.sum(counts.to(tl.int64), axis=0), axis=0), axis=0).to(tl.float64)
    samples = tl.maximum(count, 1)
    total_a = _total(sum_a)
    total_b = _total(sum_b)
    m2_a = _total(sum_aa) - total_a * total_a / samples
    m2_b = _total(sum_bb) - total_b * total_b / samples
    c_ab = _total(sum_ab) - total_a * total_b / samples
    mean_a = tl.reshape(shift_a + origin_a, [BLOCK_C]) + total_a / samples
    mean_b = tl.reshape(shift_b + origin_b, [BLOCK_C]) + total_b / samples

    c = block.to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_c = c < channels
    if base is not None:
        mean_a += tl.load(base + c, mask=in_c, other=0)
        mean_b += tl.load(base + channels + c, mask=in_c, other=0)
    row = factors.to(tl.int64) * channels
    write(
        count + tl.full([BLOCK_C], 0, tl.float64),
        tl.where(count > 0, mean_a, 0),
        tl.where(count > 0, mean_b, 0),
        _not_negative(m2_a),
        _not_negative(m2_b),
        c_ab,
        factor.to(tl.int64) * channels + c,
        in_c,
        row,
        channels,
        out if out is None else out + chunk.to(tl.int64) * 6 * row,
        mi,
        corr,
        number,
        KIND,
    )


def chunk_steps(n_tiles: int, p_tiles: int, programs: int, few: int, pool: bool, half: bool) -> tuple[int, int]:
    """Return how many tiles a program takes and how many chunks that makes; `programs` are wanted for each channel."""
    tiles = n_tiles if pool else n_tiles * p_tiles
    few = triton.cdiv(few, p_tiles) if pool else few
    steps = max(triton.cdiv(tiles, max(programs, 1)), few)
    if half and not pool:
        steps = min(steps, HALF_STEPS)
    return steps, triton.cdiv(tiles, steps)


def layout_of(feats_a: Tensor, feats_b: Tensor, channel_dim: int) -> Layout:
    """Return how both lie in memory. The order of the samples makes no difference, so that of memory will do."""
    dims = [(feats_a.shape[d], feats_a.stride(d), feats_b.stride(d)) for d in positions(feats_a, channel_dim)]
    sizes, p_a, p_b = zip(*(join(sorted(dims, key=lambda dim: -dim[1])) or [(1, 0, 0)]), strict=True)
    batch, channels = feats_a.shape[0], feats_a.shape[channel_dim]
    (n_a, c_a), (n_b, c_b) = ((x.stride(0), x.stride(channel_dim)) for x in (feats_a, feats_b))
    size = feats_a.numel() // (batch * channels)
    return Layout(batch, channels, size, sizes, ((n_a, c_a, p_a), (n_b, c_b, p_b)))


def _launch(feats_a, feats_b, layout: Layout, factor, num_factors, pool, outputs, kind, base=None) -> None:
    """Run the kernels that write `outputs`."""
    width = feats_a.element_size()
    p_vector, c_vector = layout.vectors(feats_a, feats_b)
    pool = pool and layout.size > 1
    # Without vectors a thread has enough to hold with eight elements.
    elements, few = min(TILE // width, 8 * THREADS * p_vector * c_vector), FEW_TILES
    if pool and layout.near() == "p" and elements // 4 < layout.size <= elements // 2:
        # Two samples fit. With four, all threads wait for each other's sums half as often.
        elements, few = 2 * elements, FEW_TILES // 2
    programs = PROGRAMS * processors(feats_a)
    tile = tile_of(layout.near(), layout.size, layout.channels, elements, p_vector * c_vector)
    constants = {
        "LANE": tl.float32 if width == 2 else tl.float64,
        "P_VECTOR": p_vector,
        "C_VECTOR": c_vector,
        "num_warps": warps(feats_a),
    }
    if pool and base is None:
        splits, steps = splits_of(tile, layout, programs, few)
        if splits > 1:
            a, b, base = pool_positions(feats_a, feats_b, layout, tile, splits, steps, **constants)
            layout = layout_of(a, b, 1)
            return _launch(a, b, layout, factor, num_factors, True, outputs, kind, base)

    n_tiles, p_tiles = triton.cdiv(layout.batch, tile.n), triton.cdiv(layout.size, tile.p)
    columns = triton.cdiv(layout.channels, tile.c) * num_factors
    steps, chunks = chunk_steps(n_tiles, p_tiles, programs // columns, few, pool, width == 2)
    parts = None
    if chunks > 1:
        shape = (chunks, 6, num_factors, layout.channels)
        parts = torch.empty(shape, dtype=torch.float64, device=feats_a.device)
    written = outputs if parts is None else {"out": parts, "mi": None, "corr": None, "number": None}
    partial_comoments[(chunks * columns,)](
        feats_a,
        feats_b,
        factor,
        0 if factor is None else factor.stride(0),
        base,
        *written.values(),
        num_factors,
        steps,
        chunks,
        layout.batch,
        layout.channels // c_vector,
        layout.size // p_vector,
        *layout.in_vectors(p_vector, c_vector),
        KIND=kind if parts is None else MOMENTS.value,
        LABELLED=factor is not None,
        POOL=pool,
        N_TIMES=tile.n_times,
        P_TIMES=tile.p_times,
        BLOCK_N=tile.n,
        BLOCK_P=tile.p,
        BLOCK_C=tile.c,
        BLOCK_L=LABELS,
        **constants,
    )
    if parts is not None:
        merge(parts, layout.channels, outputs, kind)


def comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    """Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab. Pairs of no factor count nowhere."""
    shape = (6, num_factors, feats_a.shape[channel_dim])
    out = torch.empty(shape, dtype=torch.float64, device=feats_a.device)
    outputs = {"out": out, "mi": None, "corr": None, "number": None}
    with torch.cuda.device_of(feats_a):
        layout = layout_of(feats_a, feats_b, channel_dim)
        _launch(feats_a, feats_b, layout, factor, num_factors, pool, outputs, MOMENTS.value)
    return out


def channel_bias(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    num_factors: int,
    channel_dim: int,
    pool: bool,
    pearson: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mutual information and correlation, (F, C) float64, and the count (F,) int64; without labels no F."""
    device, channels = feats_a.device, feats_a.shape[channel_dim]
    shape = (channels,) if factor is None else (num_factors, channels)
    mi = torch.empty(shape, dtype=torch.float64, device=device)
    corr = torch.empty(shape, dtype=torch.float64, device=device)
    number = torch.empty(shape[:-1], dtype=torch.int64, device=device)
    outputs = {"out": None, "mi": mi, "corr": corr, "number": number}
    kind = PEARSON if pearson else INTRACLASS
    with torch.cuda.device_of(feats_a):
        layout = layout_of(feats_a, feats_b, channel_dim)
        _launch(feats_a, feats_b, layout, factor, num_factors, pool, outputs, kind.value)
    return mi, corr, number
