"""The one pass over memory: what each thread sums of the tiles of a program, and how tiles are shared out."""

from typing import NamedTuple

import triton
import triton.language as tl

from sdfast.kernels.double_float import add_samples, double, nothing
from sdfast.kernels.labels import is_of, labelled
from sdfast.kernels.layout import plain, size_of
from sdfast.kernels.moments import MERGED
from sdfast.kernels.samples import apart, around, in_channels, lanes, members, pooled

HALF_STEPS = 32  # tiles summed in float32, or in two of them, before the sum goes on in float64


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


def share_out(n_tiles: int, p_tiles: int, programs: int, few: int, short: bool, labelled: bool) -> Work:
    """Return which tiles a program takes; `programs` are wanted for each block of channels, of `few` tiles at least."""
    tiles = n_tiles * p_tiles
    wanted = max(triton.cdiv(tiles, max(programs, 1)), few)
    rows, row = (n_tiles, p_tiles) if labelled else (1, tiles)
    pieces = triton.cdiv(row, min(wanted, HALF_STEPS) if short else wanted)
    length = triton.cdiv(row, pieces)
    pieces = triton.cdiv(row, length)
    spans = rows * pieces
    steps = max(triton.cdiv(wanted, length), triton.cdiv(spans, MERGED))
    return Work(row, length, pieces, spans, steps, triton.cdiv(spans, steps))


@triton.jit
def begin_of(span, work):
    """Return the first tile of a span."""
    row, length, pieces = work
    return span // pieces * row + span % pieces * length


@triton.jit
def end_of(span, work):
    """Return the tile after the last of a span."""
    row, length, pieces = work
    return tl.minimum(begin_of(span, work) + length, (span // pieces + 1) * row)


@triton.jit
def _five(x):
    """Return the sum of both samples, their squares and their products, all equal."""
    return x, x, x, x, x


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


@triton.jit
def _add_up(totals, sums, DOUBLED: tl.constexpr):
    """Add sums to totals, which are float64."""
    if DOUBLED:
        return (
            totals[0] + double(sums[0]),
            totals[1] + double(sums[1]),
            totals[2] + double(sums[2]),
            totals[3] + double(sums[3]),
            totals[4] + double(sums[4]),
        )
    else:
        return (
            totals[0] + sums[0].to(tl.float64),
            totals[1] + sums[1].to(tl.float64),
            totals[2] + sums[2].to(tl.float64),
            totals[3] + sums[3].to(tl.float64),
            totals[4] + sums[4].to(tl.float64),
        )


@triton.jit
def sum_spans(
    a,
    b,
    labels,
    layout,
    factor,
    c,
    n_0,  # the first pair of the factor
    first,
    last,
    work,  # row, length, pieces of `Work`
    shift_a,  # of the dtype of the lanes; where samples are pooled float64 or None
    shift_b,
    POOL: tl.constexpr,
    LANE: tl.constexpr,
    DOUBLED: tl.constexpr,  # two lanes make a sum
    TILE: tl.constexpr,
):
    """Return what each thread counts and sums, float64, of spans [first, last); of pooled samples also their shifts.

    With DOUBLED the shifts are the largest distances from the shift, by which to know whether the sums hold.
    """
    batch, channels, size = plain(layout.batch), layout.channels * layout.c_vector, size_of(layout)
    p_tiles = ((size + TILE.p - 1) // TILE.p).to(tl.int32)
    n_steps = 1 if POOL else p_tiles  # tiles of the same pairs
    share = 1 / size.to(tl.float64)
    # Sums of as many lanes as there are threads: of pooled samples in float64.
    VECTOR: tl.constexpr = 1 if POOL else layout.p_vector
    P_TIMES: tl.constexpr = 1 if POOL else TILE.p_times
    P: tl.constexpr = 1 if POOL else TILE.p // (P_TIMES * VECTOR)
    zeros = tl.full([TILE.n // TILE.n_times, P, TILE.c], 0, tl.float64 if POOL else LANE)
    origin_a = tl.full([1, 1, TILE.c], 0, tl.float64)
    origin_b = origin_a
    if DOUBLED:
        zero = nothing(zeros)
        none = (zero, zero, zero, zero, zero, zeros, zeros)
    else:
        none = _five(zeros)
    sums = none
    totals = _five(zeros.to(tl.float64))  # where sums are in float32
    counts = tl.full([TILE.n // TILE.n_times, 1, 1], 0, tl.int32)
    for span in range(first, last):
        begin, end = begin_of(span, work), end_of(span, work)
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
                da, db = pooled(a, b, layout, n, c, inside, 0, p_tiles, share, shift_a, shift_b, LANE, False, TILE)
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
                if DOUBLED:
                    da = apart(a, layout.strides[0], layout, n, c, p, inside, shift_a)
                    db = apart(b, layout.strides[1], layout, n, c, p, inside, shift_b)
                else:
                    da = around(a, layout.strides[0], layout, n, c, p, inside, shift_a)
                    db = around(b, layout.strides[1], layout, n, c, p, inside, shift_b)
                found = tl.where(member, tl.minimum(size - start, TILE.p), 0).to(tl.int32)
            counts += lanes(found, TILE.n_times, 1, 1)
            if DOUBLED:
                sums = add_samples(sums, da, db, TILE.n_times, P_TIMES, VECTOR)
            else:
                sums = _add(sums, da, db, TILE.n_times, P_TIMES, VECTOR)
        if zeros.dtype != tl.float64:
            totals = _add_up(totals, sums, DOUBLED)
            sums = (zero, zero, zero, zero, zero, sums[5], sums[6]) if DOUBLED else none
    if zeros.dtype == tl.float64:
        totals = sums
    if DOUBLED:
        return counts, totals, sums[5], sums[6]
    else:
        return counts, totals, origin_a, origin_b
