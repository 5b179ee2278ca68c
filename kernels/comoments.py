"""Co-moments of feature pairs, correlation and mutual information: one pass over memory, then a merge of the parts.

A program sums a stretch of the samples of a block of channels around a shift that is one of these samples, so that the
squares stay small and equal samples have no variance at all. Partial results are float64 and are merged in a fixed
order: a result depends on nothing but its input and the device.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.launch import THREADS, options, processors, registers
from sdfast.kernels.layout import Layout, Strides, join, plain, positions, size_of
from sdfast.kernels.moments import INTRACLASS, MOMENTS, PEARSON, Outputs, merge, write
from sdfast.kernels.pooling import pool_positions, splits_of
from sdfast.kernels.samples import around, lanes, pooled, shift_of, tile_of

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


@triton.jit
def _add(sums, da, db, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Add samples (n, p, c), their squares and their products to what each thread holds of them."""
    return (
        sums[0] + lanes(da, N_TIMES, P_TIMES, VECTOR),
        sums[1] + lanes(db, N_TIMES, P_TIMES, VECTOR),
        sums[2] + lanes(da * da, N_TIMES, P_TIMES, VECTOR),
        sums[3] + lanes(db * db, N_TIMES, P_TIMES, VECTOR),
        sums[4] + lanes(da * db, N_TIMES, P_TIMES, VECTOR),
    )


@triton.jit(do_not_specialize=["factors", "steps", "chunks"])
def partial_comoments(
    a,
    b,
    labels,  # (N,), or None
    label_stride,
    outputs,
    layout,
    factors,
    steps,
    chunks,
    KIND: tl.constexpr,
    POOL: tl.constexpr,
    LANE: tl.constexpr,
    TILE: tl.constexpr,
    SEARCH: tl.constexpr,  # labels read at once
):
    """Write the co-moments of one chunk of tiles, one factor and one block of channels."""
    program = tl.program_id(0)
    batch = plain(layout.batch)
    channels = layout.channels * layout.c_vector
    size = size_of(layout)
    blocks = (channels + TILE.c - 1) // TILE.c
    factor = program % factors
    chunk = program // factors // blocks
    c = (program // factors % blocks).to(tl.int64) * TILE.c + tl.arange(0, TILE.c)[None, None, :]

    n_tiles = (batch + TILE.n - 1) // TILE.n
    p_tiles = ((size + TILE.p - 1) // TILE.p).to(tl.int32)
    n_steps = 1 if POOL else p_tiles  # tiles of the same pairs
    first = chunk * steps
    last = tl.minimum(first + steps, n_tiles * n_steps)

    # Three samples of this factor, as far apart as the chunk has them.
    n_0 = (first // n_steps).to(tl.int64) * TILE.n
    n_2 = tl.minimum(((last - 1) // n_steps).to(tl.int64) * TILE.n + TILE.n, batch) - 1
    n_1 = (n_0 + n_2) // 2
    if labels is not None:
        low, middle, high = n_2, n_2, n_0
        for begin in range(n_0, n_2 + 1, SEARCH):
            index = begin + tl.arange(0, SEARCH)
            found = tl.load(labels + index * label_stride, mask=index <= n_2, other=-1) == factor
            low = tl.minimum(low, tl.min(tl.where(found, index, n_2), axis=0))
            middle = tl.minimum(middle, tl.min(tl.where(found & (index >= n_1), index, n_2), axis=0))
            high = tl.maximum(high, tl.max(tl.where(found, index, n_0), axis=0))
        n_0, n_1, n_2 = low, tl.minimum(middle, high), high
    shift_a = shift_of(a, layout.strides[0], layout, n_0, n_1, n_2, c, LANE)
    shift_b = shift_of(b, layout.strides[1], layout, n_0, n_1, n_2, c, LANE)

    share = 1 / size.to(tl.float64)
    # Sums of as many lanes as there are threads: of pooled samples in float64.
    VECTOR: tl.constexpr = 1 if POOL else layout.p_vector
    P_TIMES: tl.constexpr = 1 if POOL else TILE.p_times
    P: tl.constexpr = 1 if POOL else TILE.p // (P_TIMES * VECTOR)
    zeros = tl.full([TILE.n // TILE.n_times, P, TILE.c], 0, tl.float64 if POOL else LANE)
    sums = (zeros, zeros, zeros, zeros, zeros)
    counts = tl.full([TILE.n // TILE.n_times, 1, 1], 0, tl.int32)
    origin_a, origin_b = shift_a.to(tl.float64), shift_b.to(tl.float64)
    for tile in tl.range(first, last, num_stages=TILE.stages):
        n = tl.cast(tile // n_steps, tl.int64) * TILE.n + tl.arange(0, TILE.n)[:, None, None]
        member = n < batch
        if labels is not None:
            member &= tl.load(labels + n * label_stride, mask=member, other=-1) == factor
        if POOL:
            inside = member & (c < channels)
            da, db = pooled(a, b, layout, n, c, inside, 0, p_tiles, share, shift_a, shift_b, TILE)
            # Pooled samples may be constant though the positions are not: a second shift, the first sample.
            if tile == n_0 // TILE.n:
                origin_a = tl.sum(tl.where(n == n_0, da, 0), axis=0)[None, :, :]
                origin_b = tl.sum(tl.where(n == n_0, db, 0), axis=0)[None, :, :]
            da = tl.where(member, da - origin_a, 0)
            db = tl.where(member, db - origin_b, 0)
            found = member.to(tl.int32)
        else:
            start = tl.cast(tile % n_steps, tl.int64) * TILE.p
            p = start + tl.arange(0, TILE.p)[None, :, None]
            inside = member & (p < size) & (c < channels)
            da = around(a, layout.strides[0], layout, n, c, p, inside, shift_a)
            db = around(b, layout.strides[1], layout, n, c, p, inside, shift_b)
            found = tl.where(member, tl.minimum(size - start, TILE.p), 0).to(tl.int32)
        counts += lanes(found, TILE.n_times, 1, 1)
        sums = _add(sums, da, db, TILE.n_times, P_TIMES, VECTOR)

    count = tl.sum(tl.sum(tl.sum(counts.to(tl.int64), axis=0), axis=0), axis=0).to(tl.float64)
    samples = tl.maximum(count, 1)
    total_a, total_b = _total(sums[0]), _total(sums[1])
    mean_a, mean_b = total_a / samples, total_b / samples
    m2_a = _not_negative(_total(sums[2]) - total_a * mean_a)
    m2_b = _not_negative(_total(sums[3]) - total_b * mean_b)
    c_ab = _total(sums[4]) - total_a * mean_b

    mean_a = tl.where(count > 0, mean_a + tl.reshape(origin_a, [TILE.c]), 0)
    mean_b = tl.where(count > 0, mean_b + tl.reshape(origin_b, [TILE.c]), 0)
    # Found anew: what is kept beside a loop takes registers from it.
    part, place = program // (factors * blocks), program % (factors * blocks)
    c = (place // factors).to(tl.int64) * TILE.c + tl.arange(0, TILE.c)
    moments = (count + tl.full([TILE.c], 0, tl.float64), mean_a, mean_b, m2_a, m2_b, c_ab)
    column = (place % factors).to(tl.int64) * channels + c
    row = factors.to(tl.int64) * channels
    write(moments, column, c < channels, row, channels, part.to(tl.int64), chunks, outputs, KIND)


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
    sizes, *p_strides = zip(*(join(sorted(dims, key=lambda dim: -dim[1])) or [(1, 0, 0)]), strict=True)
    batch, channels = feats_a.shape[0], feats_a.shape[channel_dim]
    pairs = zip((feats_a, feats_b), p_strides, strict=True)
    strides = tuple(Strides(x.stride(0), x.stride(channel_dim), p) for x, p in pairs)
    return Layout(batch, channels, feats_a.numel() // (batch * channels), sizes, strides)


def _launch(feats_a, feats_b, layout: Layout, factor, num_factors, pool, outputs: Outputs, kind) -> None:
    """Run the kernels that write `outputs`."""
    width = feats_a.element_size()
    vectors = layout.vectors(feats_a, feats_b)
    pool = pool and layout.size > 1
    # Without vectors a thread has enough to hold with eight elements.
    elements, few = min(TILE // width, 8 * THREADS * max(vectors)), FEW_TILES
    if pool and layout.near() == "p" and elements // 4 < layout.size <= elements // 2:
        # Two samples fit. With four, all threads wait for each other's sums half as often.
        elements, few = 2 * elements, FEW_TILES // 2
    if pool and vectors[1] == 8:
        elements //= 2  # the sums of eight channels a thread take the registers
    tile = tile_of(layout.near(), layout.size, layout.channels, elements, max(vectors))
    n_tiles, p_tiles = triton.cdiv(layout.batch, tile.n), triton.cdiv(layout.size, tile.p)
    packed = layout.in_vectors(*vectors)
    constants = {"LANE": tl.float32 if width == 2 else tl.float64, "TILE": tile, **options(feats_a)}
    splits, stretch = splits_of(p_tiles)
    if pool and splits > 1:
        a, b = pool_positions(feats_a, feats_b, layout, packed, splits, stretch, **constants)
        return _launch(a, b, layout_of(a, b, 1), factor, num_factors, True, outputs, kind)

    columns = triton.cdiv(layout.channels, tile.c) * num_factors
    programs = PROGRAMS * processors(feats_a) // columns
    steps, chunks = chunk_steps(n_tiles, p_tiles, programs, few, pool, width == 2)
    parts = outputs.moments
    if chunks > 1:
        parts = parts.new_empty((chunks, 6, num_factors, layout.channels))
    partial_comoments[(chunks * columns,)](
        feats_a,
        feats_b,
        factor,
        0 if factor is None else factor.stride(0),
        outputs._replace(moments=parts),
        packed,
        num_factors,
        steps,
        chunks,
        KIND=kind,
        POOL=pool,
        SEARCH=LABELS,
        **constants,
        **registers(feats_a),
    )
    if chunks > 1:
        merge(parts, outputs, layout.channels, kind)


def comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    """Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab. Pairs of no factor count nowhere."""
    shape = (6, num_factors, feats_a.shape[channel_dim])
    out = torch.empty(shape, dtype=torch.float64, device=feats_a.device)
    with torch.cuda.device_of(feats_a):
        layout = layout_of(feats_a, feats_b, channel_dim)
        _launch(feats_a, feats_b, layout, factor, num_factors, pool, Outputs(out), MOMENTS.value)
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
    outputs = Outputs(mi, mi, corr, number)  # where moments would go nothing is written of them
    kind = PEARSON if pearson else INTRACLASS
    with torch.cuda.device_of(feats_a):
        layout = layout_of(feats_a, feats_b, channel_dim)
        _launch(feats_a, feats_b, layout, factor, num_factors, pool, outputs, kind.value)
    return mi, corr, number
