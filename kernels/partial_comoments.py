"""Co-moments of a stretch of the samples of a block of channels.

A program sums around a shift that is one of its samples, so that the squares stay small and equal samples have no
variance at all. What it finds is float64.
"""

import triton
import triton.language as tl

from sdfast.kernels.double_float import hold
from sdfast.kernels.labels import is_of, labelled
from sdfast.kernels.layout import plain, size_of
from sdfast.kernels.moments import write
from sdfast.kernels.samples import shift_of, shift_to_pool
from sdfast.kernels.spans import begin_of, end_of, sum_spans


@triton.jit
def _total(lanes):
    """Sum lanes (n, p, c) to (c,) float64."""
    return tl.sum(tl.sum(lanes.to(tl.float64), axis=0), axis=0)


@triton.jit
def _number(counts):
    """Sum what threads count, float64."""
    return tl.sum(tl.sum(tl.sum(counts.to(tl.int64), axis=0), axis=0), axis=0).to(tl.float64)


@triton.jit
def _not_negative(m2):
    """Return a sum of squares without what rounding took too much; NaN stays."""
    return tl.where(m2 < 0, 0, m2)


@triton.jit(do_not_specialize=["factors", "row", "length", "pieces", "spans", "steps", "chunks"])
def partial_comoments(
    a,
    b,
    labels,
    outputs,
    layout,
    factors,
    row,  # to `chunks` of `Work`
    length,
    pieces,
    spans,
    steps,
    chunks,
    KIND: tl.constexpr,
    POOL: tl.constexpr,
    LANE: tl.constexpr,
    DOUBLED: tl.constexpr,  # two lanes make a sum
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
    work = (row, length, pieces)
    first = chunk * steps
    last = tl.minimum(first + steps, spans)

    # Three samples of this factor, as far apart as the chunk has them.
    n_0 = (begin_of(first, work) // n_steps).to(tl.int64) * TILE.n
    n_2 = ((end_of(last - 1, work) - 1) // n_steps).to(tl.int64) * TILE.n + TILE.n - 1
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
    else:
        shift_a = shift_of(a, layout.strides[0], layout, n_0, n_1, n_2, c, LANE)
        shift_b = shift_of(b, layout.strides[1], layout, n_0, n_1, n_2, c, LANE)

    counts, totals, origin_a, origin_b = sum_spans(
        a, b, labels, layout, factor, c, n_0, first, last, work, shift_a, shift_b, POOL, LANE, DOUBLED, TILE
    )
    count = _number(counts)
    holds = hold(totals, origin_a, origin_b, count) if DOUBLED else True
    if not POOL:
        shift_a, shift_b = shift_a.to(tl.float64), shift_b.to(tl.float64)
        origin_a, origin_b = shift_a, shift_b
    if not holds:  # what is too large, too small or not finite is summed as it is elsewhere
        _, totals, _, _ = sum_spans(
            a, b, labels, layout, factor, c, n_0, first, last, work, shift_a, shift_b, POOL, tl.float64, False, TILE
        )

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
