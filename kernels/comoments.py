"""Co-moments of feature pairs: one pass over memory into partial moments, and their merge.

A program sums a stretch of the samples of a block of channels around a shift that is one of these samples, so that the
squares stay small and equal samples have no variance at all. Partial results are float64 and are merged in a fixed
order: a result depends on nothing but its input and the device.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.layout import join, offset_of, positions, processors

TILE = 1024  # elements of one tensor that a program loads at once: 16 bytes a thread for float32, in two loads
CHANNELS = 64  # of a tile whose channels lie side by side
PROGRAMS = 16  # for each multiprocessor: several run at once, and the last to finish do not wait long
FEW_TILES = 8  # one program does these faster than a second kernel would merge them
HALF_STEPS = 64  # additions to a float32 lane before its sum goes on in float64
LABELS = 128  # read at once
MERGED_CHUNKS, MERGED_COLUMNS = 32, 32


@triton.jit
def _shift(x, first, middle, last, inside, LANE: tl.constexpr):
    """Return the median of three samples, which no single outlier moves far, or 0 where that is not finite."""
    u = tl.load(x + first, mask=inside, other=0).to(LANE)
    v = tl.load(x + middle, mask=inside, other=0).to(LANE)
    w = tl.load(x + last, mask=inside, other=0).to(LANE)
    median = tl.maximum(tl.minimum(u, v), tl.minimum(tl.maximum(u, v), w))
    return tl.where(tl.abs(median) < float("inf"), median, 0)


@triton.jit
def _samples(x, inside, shift):
    """Load a tile around its shift, 0 outside."""
    return tl.where(inside, tl.load(x, mask=inside, other=0).to(shift.dtype) - shift, 0)


@triton.jit
def _total(lanes):
    """Sum lanes (n, p, c) to (c,) float64."""
    return tl.sum(tl.sum(lanes.to(tl.float64), axis=0), axis=0)


@triton.jit
def _pivot(means, counts):
    """Return a mean of some lane, (1, 1, c): exactly that of all where they are equal, so that it cancels."""
    largest = tl.max(tl.max(tl.where(counts > 0, means, float("-inf")), axis=0), axis=0)[None, None, :]
    return tl.where(largest == float("-inf"), 0, largest)


@triton.jit
def _mean(means, counts, count):
    """Return the mean of all samples from that of each lane, (1, 1, c)."""
    pivot = _pivot(means, counts)
    drift = _total(tl.where(counts > 0, counts * (means - pivot), 0))
    return pivot + drift[None, None, :] / count


@triton.jit
def _product(sum_xy, sum_x, sum_y, counts, gap_x, gap_y):
    """Return the centred sum of products of all lanes, (c,): within each lane and between their means."""
    within = sum_xy - sum_x * sum_y / tl.maximum(counts, 1)
    return _total(within + counts * gap_x * gap_y)


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
    out,  # (chunks, 6, F, C) float64
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
    factors,
    steps,
    chunks,
    LABELLED: tl.constexpr,
    POOL: tl.constexpr,
    LANE: tl.constexpr,
    FOLD: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_L: tl.constexpr,
):
    """Write the co-moments of one chunk of tiles, one factor and one block of channels."""
    program = tl.program_id(0)
    blocks = (channels + BLOCK_C - 1) // BLOCK_C
    factor = program % factors
    block = program // factors % blocks
    chunk = (program // factors // blocks).to(tl.int64)

    n_lane = tl.arange(0, BLOCK_N)[:, None, None]
    p_lane = tl.arange(0, BLOCK_P)[None, :, None]
    c = block.to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)[None, None, :]
    in_c = c < channels
    a += c * a_c
    b += c * b_c

    n_tiles = (batch + BLOCK_N - 1) // BLOCK_N
    p_tiles = 1 if POOL else (size + BLOCK_P - 1) // BLOCK_P
    first = chunk * steps
    last = tl.minimum(first + steps, n_tiles.to(tl.int64) * p_tiles)

    # Three samples of this factor, as far apart as the chunk has them.
    n_0 = first // p_tiles * BLOCK_N
    n_2 = tl.minimum((last - 1) // p_tiles * BLOCK_N + BLOCK_N, batch) - 1
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
    middle_a, last_a = offset_of(n_0 * 0 + size // 2, sizes, strides_a), offset_of(n_0 * 0 + size - 1, sizes, strides_a)
    middle_b, last_b = offset_of(n_0 * 0 + size // 2, sizes, strides_b), offset_of(n_0 * 0 + size - 1, sizes, strides_b)
    shift_a = _shift(a, n_0 * a_n, n_1 * a_n + middle_a, n_2 * a_n + last_a, in_c, LANE)
    shift_b = _shift(b, n_0 * b_n, n_1 * b_n + middle_b, n_2 * b_n + last_b, in_c, LANE)

    # Pooled samples are lanes (n, 1, c) in float64, positions are lanes (n, p, c).
    WIDE: tl.constexpr = tl.float64 if POOL else LANE
    LANES: tl.constexpr = 1 if POOL else BLOCK_P
    counts = tl.full([BLOCK_N, LANES, 1], 0, tl.int32)
    sum_a = tl.full([BLOCK_N, LANES, BLOCK_C], 0, WIDE)
    sum_b = tl.full([BLOCK_N, LANES, BLOCK_C], 0, WIDE)
    sum_aa = tl.full([BLOCK_N, LANES, BLOCK_C], 0, WIDE)
    sum_bb = tl.full([BLOCK_N, LANES, BLOCK_C], 0, WIDE)
    sum_ab = tl.full([BLOCK_N, LANES, BLOCK_C], 0, WIDE)
    origin_a = tl.full([BLOCK_N if POOL else 1, 1, BLOCK_C if POOL else 1], 0, tl.float64)
    origin_b = tl.full([BLOCK_N if POOL else 1, 1, BLOCK_C if POOL else 1], 0, tl.float64)
    for tile in range(first, last):
        n = tile // p_tiles * BLOCK_N + n_lane
        member = n < batch
        if LABELLED:
            member &= tl.load(labels + n * label_stride, mask=member, other=-1) == factor
        if POOL:
            pooled_a = tl.full([BLOCK_N, BLOCK_P, BLOCK_C], 0, tl.float64)
            pooled_b = tl.full([BLOCK_N, BLOCK_P, BLOCK_C], 0, tl.float64)
            for start in range(0, size, BLOCK_P * FOLD):
                part_a = tl.full([BLOCK_N, BLOCK_P, BLOCK_C], 0, LANE)
                part_b = tl.full([BLOCK_N, BLOCK_P, BLOCK_C], 0, LANE)
                for i in tl.static_range(FOLD):
                    p = start + i * BLOCK_P + p_lane
                    inside = member & (p < size) & in_c
                    part_a += _samples(a + n * a_n + offset_of(p, sizes, strides_a), inside, shift_a)
                    part_b += _samples(b + n * b_n + offset_of(p, sizes, strides_b), inside, shift_b)
                pooled_a += part_a.to(tl.float64)
                pooled_b += part_b.to(tl.float64)
            da = tl.sum(pooled_a, axis=1)[:, None, :] / size
            db = tl.sum(pooled_b, axis=1)[:, None, :] / size
            # Pooled samples may be constant though the positions are not: a second shift, the lane's first sample.
            origin_a = tl.where(member & (counts == 0), da, origin_a)
            origin_b = tl.where(member & (counts == 0), db, origin_b)
            da = tl.where(member, da - origin_a, 0)
            db = tl.where(member, db - origin_b, 0)
        else:
            p = tile % p_tiles * BLOCK_P + p_lane
            member = member & (p < size)
            inside = member & in_c
            da = _samples(a + n * a_n + offset_of(p, sizes, strides_a), inside, shift_a)
            db = _samples(b + n * b_n + offset_of(p, sizes, strides_b), inside, shift_b)
        counts += member.to(tl.int32)
        sum_a += da
        sum_b += db
        sum_aa += da * da
        sum_bb += db * db
        sum_ab += da * db

    count = tl.sum(tl.sum(tl.sum(counts, axis=0), axis=0), axis=0).to(tl.float64)
    counts = counts.to(tl.float64)
    samples = tl.maximum(count, 1)
    sum_a = sum_a.to(tl.float64)
    sum_b = sum_b.to(tl.float64)
    lane_a = origin_a + sum_a / tl.maximum(counts, 1)
    lane_b = origin_b + sum_b / tl.maximum(counts, 1)
    mean_a = _mean(lane_a, counts, samples)
    mean_b = _mean(lane_b, counts, samples)
    m2_a = _product(sum_aa, sum_a, sum_a, counts, lane_a - mean_a, lane_a - mean_a)
    m2_b = _product(sum_bb, sum_b, sum_b, counts, lane_b - mean_b, lane_b - mean_b)
    c_ab = _product(sum_ab, sum_a, sum_b, counts, lane_a - mean_a, lane_b - mean_b)
    mean_a = tl.reshape(shift_a + mean_a, [BLOCK_C])
    mean_b = tl.reshape(shift_b + mean_b, [BLOCK_C])
    if chunks == 1:  # this is the result; to a merge the shift is as good as any mean of no samples
        mean_a = tl.where(count > 0, mean_a, 0)
        mean_b = tl.where(count > 0, mean_b, 0)

    row = factors.to(tl.int64) * channels
    c = block.to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)
    out += chunk * 6 * row + factor.to(tl.int64) * channels + c
    in_c = c < channels
    tl.store(out, count, mask=in_c)
    tl.store(out + row, mean_a, mask=in_c)
    tl.store(out + 2 * row, mean_b, mask=in_c)
    tl.store(out + 3 * row, _not_negative(m2_a), mask=in_c)
    tl.store(out + 4 * row, _not_negative(m2_b), mask=in_c)
    tl.store(out + 5 * row, c_ab, mask=in_c)


@triton.jit(do_not_specialize=["chunks"])
def merge_comoments(partials, out, chunks, row, BLOCK_K: tl.constexpr, BLOCK: tl.constexpr):
    """Merge partial moments (chunks, 6, row) to (6, row): Chan's formula over all chunks at once."""
    column = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    in_row = column < row
    partials += column
    k_lane = tl.arange(0, BLOCK_K)[:, None].to(tl.int64)
    pivot_a = tl.load(partials + row, mask=in_row, other=0)
    pivot_b = tl.load(partials + 2 * row, mask=in_row, other=0)

    count = tl.full([BLOCK], 0, tl.float64)
    drift_a = tl.full([BLOCK], 0, tl.float64)
    drift_b = tl.full([BLOCK], 0, tl.float64)
    for start in range(0, chunks, BLOCK_K):
        part = partials[None, :] + (start + k_lane) * 6 * row
        inside = (start + k_lane < chunks) & in_row[None, :]
        n = tl.load(part, mask=inside, other=0)
        count += tl.sum(n, axis=0)
        drift_a += tl.sum(tl.where(inside, n * (tl.load(part + row, mask=inside, other=0) - pivot_a), 0), axis=0)
        drift_b += tl.sum(tl.where(inside, n * (tl.load(part + 2 * row, mask=inside, other=0) - pivot_b), 0), axis=0)
    mean_a = tl.where(count > 0, pivot_a + drift_a / tl.maximum(count, 1), 0)
    mean_b = tl.where(count > 0, pivot_b + drift_b / tl.maximum(count, 1), 0)

    m2_a = tl.full([BLOCK], 0, tl.float64)
    m2_b = tl.full([BLOCK], 0, tl.float64)
    c_ab = tl.full([BLOCK], 0, tl.float64)
    for start in range(0, chunks, BLOCK_K):
        part = partials[None, :] + (start + k_lane) * 6 * row
        inside = (start + k_lane < chunks) & in_row[None, :]
        n = tl.load(part, mask=inside, other=0)
        gap_a = tl.where(inside, tl.load(part + row, mask=inside, other=0) - mean_a, 0)
        gap_b = tl.where(inside, tl.load(part + 2 * row, mask=inside, other=0) - mean_b, 0)
        m2_a += tl.sum(tl.load(part + 3 * row, mask=inside, other=0) + n * gap_a * gap_a, axis=0)
        m2_b += tl.sum(tl.load(part + 4 * row, mask=inside, other=0) + n * gap_b * gap_b, axis=0)
        c_ab += tl.sum(tl.load(part + 5 * row, mask=inside, other=0) + n * gap_a * gap_b, axis=0)

    out += column
    tl.store(out, count, mask=in_row)
    tl.store(out + row, mean_a, mask=in_row)
    tl.store(out + 2 * row, mean_b, mask=in_row)
    tl.store(out + 3 * row, m2_a, mask=in_row)
    tl.store(out + 4 * row, m2_b, mask=in_row)
    tl.store(out + 5 * row, c_ab, mask=in_row)


def tile_shape(size: int, channels: int, strides: dict[str, int]) -> tuple[int, int, int]:
    """Return the tile (n, p, c): longest where memory is contiguous. The batch size has no say: no kernel a size."""
    size = triton.next_power_of_2(size)
    near = min(strides, key=strides.get, default="p")
    if near == "c":
        block_c = min(triton.next_power_of_2(channels), CHANNELS)
        block_p = min(size, TILE // block_c)
        return TILE // block_c // block_p, block_p, block_c
    block_p = min(size, 4 if near == "n" else TILE)
    return TILE // block_p, block_p, 1


def chunk_steps(n_tiles: int, p_tiles: int, programs: int, pool: bool, half: bool) -> tuple[int, int]:
    """Return how many tiles a program takes and how many chunks that makes; `programs` are wanted for each channel."""
    tiles = n_tiles if pool else n_tiles * p_tiles
    few = triton.cdiv(FEW_TILES, p_tiles) if pool else FEW_TILES
    steps = max(triton.cdiv(tiles, max(programs, 1)), few)
    if half and not pool:
        steps = min(steps, HALF_STEPS)
    return steps, triton.cdiv(tiles, steps)


def comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    """Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab."""
    batch, channels = feats_a.shape[0], feats_a.shape[channel_dim]
    places = positions(feats_a, channel_dim)
    # The order of the samples makes no difference, so that of memory will do.
    dims = sorted(((feats_a.shape[d], feats_a.stride(d), feats_b.stride(d)) for d in places), key=lambda d: -d[1])
    sizes, strides_a, strides_b = zip(*(join(dims) or [(1, 0, 0)]), strict=True)
    size = feats_a[0].numel() // channels

    near = {"n": (batch, feats_a.stride(0)), "p": (size, strides_a[-1]), "c": (channels, feats_a.stride(channel_dim))}
    strides = {name: stride for name, (count, stride) in near.items() if count > 1}
    block_n, block_p, block_c = tile_shape(size, channels, strides)
    half = feats_a.element_size() == 2
    columns = triton.cdiv(channels, block_c) * num_factors
    n_tiles, p_tiles = triton.cdiv(batch, block_n), triton.cdiv(size, block_p)
    steps, chunks = chunk_steps(n_tiles, p_tiles, PROGRAMS * processors(feats_a) // columns, pool, half)

    out = torch.empty((6, num_factors, channels), dtype=torch.float64, device=feats_a.device)
    partials = out if chunks == 1 else out.new_empty((chunks, *out.shape))
    with torch.cuda.device_of(feats_a):
        partial_comoments[(chunks * columns,)](
            feats_a,
            feats_b,
            factor,
            0 if factor is None else factor.stride(0),
            partials,
            batch,
            channels,
            size,
            sizes,
            strides_a,
            strides_b,
            feats_a.stride(0),
            feats_a.stride(channel_dim),
            feats_b.stride(0),
            feats_b.stride(channel_dim),
            num_factors,
            steps,
            chunks,
            LABELLED=factor is not None,
            POOL=pool,
            LANE=tl.float32 if half else tl.float64,
            FOLD=min(8, triton.next_power_of_2(p_tiles)) if half else 1,
            BLOCK_N=block_n,
            BLOCK_P=block_p,
            BLOCK_C=block_c,
            BLOCK_L=LABELS,
            num_warps=4,
        )
        if chunks > 1:
            row = num_factors * channels
            merge_comoments[(triton.cdiv(row, MERGED_COLUMNS),)](
                partials, out, chunks, row, BLOCK_K=MERGED_CHUNKS, BLOCK=MERGED_COLUMNS, num_warps=4
            )
    return out
