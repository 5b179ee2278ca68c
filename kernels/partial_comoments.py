"""The one pass over memory: sums of a stretch of the samples of a block of channels, and how tiles are shared out.

A program sums around a shift that is one of its samples, so that the squares stay small and equal samples have no
variance at all. What it finds is float64.
"""

from typing import NamedTuple

import triton
import triton.language as tl

from sdfast.kernels.labels import is_of, labelled
from sdfast.kernels.layout import plain, size_of
from sdfast.kernels.moments import MERGED, write
from sdfast.kernels.samples import around, in_channels, lanes, members, pooled, shift_of, shift_to_pool

HALF_STEPS = 32  # tiles summed in float32 before the sum goes on in float64


@triton.jit
def _begin(span, row, length, pieces):
    """Return the first tile of a span."""
    return span // pieces * row + span % pieces * length


@triton.jit
def _end(span, row, length, pieces):
    """Return the tile after the last of a span."""
    return tl.minimum(_begin(span, row, length, pieces) + length, (span // pieces + 1) * row)


@triton.jit
def _total(lanes):
    """Sum lanes (n, p, c) to (c,) float64."""
    return tl.sum(tl.sum(lanes.to(tl.float64), axis=0), axis=0)


@triton.jit
def _add_up(totals, sums):
    """Add sums to totals, which are float64."""
    return (
        totals[0] + sums[0].to(tl.float64),
        totals[1] + sums[1].to(tl.float64),
        totals[2] + sums[2].to(tl.float64),
        totals[3] + sums[3].to(tl.float64),
        totals[4] + sums[4].to(tl.float64),
    )


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


class Work(NamedTuple):
    """How tiles are shared out: a program takes a chunk of spans, and sums a span before it looks at the next.

    With labels all tiles of a span are of the same pairs, so that it is passed over where these are of other factors.
    """

    row: int  # tiles that spans lie in
    length: int  # tiles of a span; the last of a row may have fewer
    pieces: int  # spans of a row
    spans: int
    steps: int  # spans of a chunk
    chunks: int


@triton.jit(do_not_specialize=["factors", "row", "length", "pieces", "spans", "steps", "chunks"])
def partial_comoments(
    a,
    b,
    labels,
    outputs,
    layout,
    factors,
    row,  # of `Work`
    length,
    pieces,
    spans,
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

    p_tiles = ((size + TILE.p - 1) // TILE.p).to(tl.int32)
    n_steps = 1 if POOL else p_tiles  # tiles of the same pairs
    first = chunk * steps
    last = tl.minimum(first + steps, spans)

    # Three samples of this factor, as far apart as the chunk has them.
    n_0 = (_begin(first, row, length, pieces) // n_steps).to(tl.int64) * TILE.n
    n_2 = ((_end(last - 1, row, length, pieces) - 1) // n_steps).to(tl.int64) * TILE.n + TILE.n - 1
    n_2 = tl.minimum(n_2, batch - 1)
    n_1 = (n_0 + n_2) // 2
    if labelled(labels):
        low, middle, high = n_2, n_2, n_0
        for searched in range(n_0, n_2 + 1, SEARCH):
            index = searched + tl.arange(0, SEARCH)
            found = is_of(factor, labels, index, index <= n_2)
            low = tl.minimum(low, tl.min(tl.where(found, index, n_2), axis=0))
            middle = tl.minimum(middle, tl.min(tl.where(found & (index >= n_1), index, n_2), axis=0))
            high = tl.maximum(high, tl.max(tl.where(found, index, n_0), axis=0))
        n_0, n_1, n_2 = low, tl.minimum(middle, high), high
    if POOL:
        shift_a = shift_to_pool(a, layout.strides[0], layout, batch, c, LANE)
        shift_b = shift_to_pool(b, layout.strides[1], layout, batch, c, LANE)
        origin_a = tl.full([1, 1, TILE.c], 0, tl.float64)
        origin_b = origin_a
    else:
        shift_a = shift_of(a, layout.strides[0], layout, n_0, n_1, n_2, c, LANE)
        shift_b = shift_of(b, layout.strides[1], layout, n_0, n_1, n_2, c, LANE)
        origin_a, origin_b = shift_a.to(tl.float64), shift_b.to(tl.float64)

    share = 1 / size.to(tl.float64)
    # Sums of as many lanes as there are threads: of pooled samples in float64.
    VECTOR: tl.constexpr = 1 if POOL else layout.p_vector
    P_TIMES: tl.constexpr = 1 if POOL else TILE.p_times
    P: tl.constexpr = 1 if POOL else TILE.p // (P_TIMES * VECTOR)
    zeros = tl.full([TILE.n // TILE.n_times, P, TILE.c], 0, tl.float64 if POOL else LANE)
    sums = (zeros, zeros, zeros, zeros, zeros)
    totals = sums  # in float64 where sums are in float32
    if zeros.dtype != tl.float64:
        wide = zeros.to(tl.float64)
        totals = (wide, wide, wide, wide, wide)
    counts = tl.full([TILE.n // TILE.n_times, 1, 1], 0, tl.int32)
    for span in range(first, last):
        begin, end = _begin(span, row, length, pieces), _end(span, row, length, pieces)
        if labelled(labels) and not POOL:
            pairs = tl.cast(begin // n_steps, tl.int64) * TILE.n + tl.arange(0, TILE.n)
            wanted = is_of(factor, labels, pairs, pairs < batch)
            end = tl.where(tl.max(wanted.to(tl.int32), axis=0) > 0, end, begin)
        for tile in tl.range(begin, end, num_stages=TILE.stages):
            n = tl.cast(tile // n_steps, tl.int64) * TILE.n + tl.arange(0, TILE.n)[:, None, None]
            member = members(n, batch, TILE)
            if labelled(labels) and (POOL or TILE.n > 1):
                member = is_of(factor, labels, n, member)
            if POOL:
                inside = in_channels(member, c, channels, TILE)
                da, db = pooled(a, b, layout, n, c, inside, 0, p_tiles, share, shift_a, shift_b, LANE, TILE)
                # Pooled samples may be constant though the positions are not: they are shifted by the first of them.
                if tile == n_0 // TILE.n:
                    origin_a = tl.sum(tl.where(n == n_0, da, 0), axis=0)[None, :, :]
                    origin_b = tl.sum(tl.where(n == n_0, db, 0), axis=0)[None, :, :]
                da = tl.where(member, da - origin_a, 0)
                db = tl.where(member, db - origin_b, 0)
                found = member.to(tl.int32)
            else:
                start = tl.cast(tile % n_steps, tl.int64) * TILE.p
                p = start + tl.arange(0, TILE.p)[None, :, None]
                inside = in_channels(member & (p < size), c, channels, TILE)
                da = around(a, layout.strides[0], layout, n, c, p, inside, shift_a)
                db = around(b, layout.strides[1], layout, n, c, p, inside, shift_b)
                found = tl.where(member, tl.minimum(size - start, TILE.p), 0).to(tl.int32)
            counts += lanes(found, TILE.n_times, 1, 1)
            sums = _add(sums, da, db, TILE.n_times, P_TIMES, VECTOR)
        if zeros.dtype != tl.float64:
            totals = _add_up(totals, sums)
            sums = (zeros, zeros, zeros, zeros, zeros)
    if zeros.dtype == tl.float64:
        totals = sums

    count = tl.sum(tl.sum(tl.sum(counts.to(tl.int64), axis=0), axis=0), axis=0).to(tl.float64)
    samples = tl.maximum(count, 1)
    total_a, total_b = _total(totals[0]), _total(totals[1])
    mean_a, mean_b = total_a / samples, total_b / samples
    m2_a = _not_negative(_total(totals[2]) - total_a * mean_a)
    m2_b = _not_negative(_total(totals[3]) - total_b * mean_b)
    c_ab = _total(totals[4]) - total_a * mean_b

    mean_a = tl.where(count > 0, mean_a + tl.reshape(origin_a, [TILE.c]), 0)
    mean_b = tl.where(count > 0, mean_b + tl.reshape(origin_b, [TILE.c]), 0)
    # Found anew: what is kept beside a loop takes registers from it.
    part, place = program // (factors * blocks), program % (factors * blocks)
    c = (place // factors).to(tl.int64) * TILE.c + tl.arange(0, TILE.c)
    moments = (count + tl.full([TILE.c], 0, tl.float64), mean_a, mean_b, m2_a, m2_b, c_ab)
    column = (place % factors).to(tl.int64) * channels + c
    columns = factors.to(tl.int64) * channels
    write(moments, column, c < channels, columns, channels, part.to(tl.int64), chunks, outputs, KIND)


def share_out(n_tiles: int, p_tiles: int, programs: int, few: int, half: bool, labelled: bool) -> Work:
    """Return which tiles a program takes; `programs` are wanted for each block of channels, of `few` tiles at least."""
    tiles = n_tiles * p_tiles
    wanted = max(triton.cdiv(tiles, max(programs, 1)), few)
    rows, row = (n_tiles, p_tiles) if labelled else (1, tiles)
    pieces = triton.cdiv(row, min(wanted, HALF_STEPS) if half else wanted)
    length = triton.cdiv(row, pieces)
    pieces = triton.cdiv(row, length)
    spans = rows * pieces
    steps = max(triton.cdiv(wanted, length), triton.cdiv(spans, MERGED))
    return Work(row, length, pieces, spans, steps, triton.cdiv(spans, steps))
