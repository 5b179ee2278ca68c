"""Samples as a program sees them: tiles (n, p, c) around a shift, summed in the registers of each thread first."""

from typing import NamedTuple

import triton
import triton.language as tl

from sdfast.kernels.double_float import double, exact_sum, lanes_of, nothing, plus, total_of
from sdfast.kernels.launch import THREADS
from sdfast.kernels.layout import place_of, size_of

CHANNELS = 64  # of a tile whose channels lie side by side
STAGES = 4  # where elements are loaded several at once; single ones would take too many copies
RUN = 32  # positions of a tile that lie side by side, at least, where there are so many
LINES = 8  # positions of a tile, at least, where channels lie side by side
NEAR = 64  # pairs of a tile that lie side by side, where there are positions, too


@triton.jit
def shift_of(x, strides, layout, n_0, n_1, n_2, c, LANE: tl.constexpr):
    """Return the median of three samples, which no single outlier moves far, or 0 where that is not finite."""
    inside = c < layout.channels * layout.c_vector
    last = size_of(layout) - 1
    u = tl.load(x + place_of(n_0, c, last * 0, layout, strides), mask=inside, other=0).to(LANE)
    v = tl.load(x + place_of(n_1, c, (last + 1) // 2, layout, strides), mask=inside, other=0).to(LANE)
    w = tl.load(x + place_of(n_2, c, last, layout, strides), mask=inside, other=0).to(LANE)
    median = tl.maximum(tl.minimum(u, v), tl.minimum(tl.maximum(u, v), w))
    return tl.where(tl.abs(median) < float("inf"), median, 0)


@triton.jit
def shift_to_pool(x, strides, layout, batch, c, LANE: tl.constexpr):
    """Return what all samples of a channel are shifted by before they are summed to be pooled.

    Only float64 needs it: sums of a few 16-bit numbers in float32, and of float32 in float64, round next to nothing
    off. A shift that all programs share gives equal samples equal means, whoever pools them.
    """
    if x.dtype.element_ty == tl.float64:
        last = tl.cast(batch, tl.int64) - 1
        return shift_of(x, strides, layout, last * 0, last // 2, last, c, LANE)
    else:
        return None


@triton.jit
def around(x, strides, layout, n, c, p, inside, shift):
    """Load samples around their shift, 0 outside."""
    value = tl.load(x + place_of(n, c, p, layout, strides), mask=inside, other=0)
    if value.dtype == tl.float32 and shift.dtype == tl.float64:
        # The shift is a sample: a float32, too. Float64 takes two registers to choose from.
        return tl.where(inside, value, shift.to(tl.float32)).to(tl.float64) - shift
    else:
        return tl.where(inside, value.to(shift.dtype) - shift, 0)


@triton.jit
def apart(x, strides, layout, n, c, p, inside, shift):
    """Load float32 samples around their shift, 0 outside, in two parts, by which nothing is lost."""
    value = tl.load(x + place_of(n, c, p, layout, strides), mask=inside, other=0)
    return exact_sum(tl.where(inside, value, shift), -shift)


@triton.jit
def members(n, batch, TILE: tl.constexpr):
    """Return which samples of a tile there are; where a tile has one of them there is nothing to compare."""
    return n < batch if TILE.n > 1 else n >= 0


@triton.jit
def in_channels(inside, c, channels, TILE: tl.constexpr):
    """Return what is inside along the channels, too; where tiles fill them there is nothing to compare."""
    return inside if TILE.fills else inside & (c < channels)


@triton.jit
def lanes(x, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Sum what one thread holds of a tile (n, p, c): its vector of positions and its repeats along n and p."""
    N: tl.constexpr = x.shape[0] // N_TIMES
    P: tl.constexpr = x.shape[1] // (P_TIMES * VECTOR)
    x = tl.reshape(x, [N_TIMES, N, P_TIMES, P, VECTOR, x.shape[2]])
    return tl.sum(tl.sum(tl.sum(x, axis=4), axis=2), axis=0)


@triton.jit
def _summed(x, strides, layout, n, c, p, inside, shift, LANE: tl.constexpr, DOUBLED: tl.constexpr, TILE: tl.constexpr):
    """Return what each thread holds of a tile of positions, summed (n, p, c) float64, or in two parts."""
    if shift is None:
        values = tl.load(x + place_of(n, c, p, layout, strides), mask=inside, other=0).to(LANE)
    else:
        values = around(x, strides, layout, n, c, p, inside, shift)
    if not DOUBLED:
        return lanes(values, 1, TILE.p_times, layout.p_vector).to(tl.float64)
    elif x.dtype.element_ty == tl.float32:
        return lanes_of((values, values * 0), 1, TILE.p_times, layout.p_vector)
    else:
        values = lanes(values, 1, TILE.p_times, layout.p_vector)
        return values, values * 0


@triton.jit
def _more(x, y, DOUBLED: tl.constexpr):
    """Add what `_summed` returns."""
    return plus(x, y) if DOUBLED else x + y


@triton.jit
def _mean(sums, share, shift, DOUBLED: tl.constexpr):
    """Return the means (n, 1, c) of the sums that threads hold."""
    total = double(total_of(sums, 1)) if DOUBLED else tl.sum(sums, axis=1)
    mean = total[:, None, :] * share
    return mean if shift is None else mean + shift


@triton.jit
def pooled(
    a,
    b,
    layout,
    n,
    c,
    member,
    first,
    last,
    share,
    shift_a,
    shift_b,
    LANE: tl.constexpr,
    DOUBLED: tl.constexpr,
    TILE: tl.constexpr,
):
    """Return the means over tiles [first, last) of positions, two (n, 1, c) float64; each position has that share."""
    strides_a, strides_b = layout.strides
    lane = tl.arange(0, TILE.p)[None, :, None]
    if TILE.is_whole:  # without a loop here, loads go ahead in that of the caller
        p = tl.cast(first, tl.int64) * TILE.p + lane
        inside = member & (p < size_of(layout))
        sum_a = _summed(a, strides_a, layout, n, c, p, inside, shift_a, LANE, DOUBLED, TILE)
        sum_b = _summed(b, strides_b, layout, n, c, p, inside, shift_b, LANE, DOUBLED, TILE)
    else:
        sum_a = tl.full([TILE.n, TILE.p // (TILE.p_times * layout.p_vector), TILE.c], 0, tl.float64)
        if DOUBLED:
            sum_a = nothing(sum_a)
        sum_b = sum_a
        for tile in tl.range(first, last, num_stages=TILE.stages):
            p = tl.cast(tile, tl.int64) * TILE.p + lane
            inside = member & (p < size_of(layout))
            more_a = _summed(a, strides_a, layout, n, c, p, inside, shift_a, LANE, DOUBLED, TILE)
            more_b = _summed(b, strides_b, layout, n, c, p, inside, shift_b, LANE, DOUBLED, TILE)
            sum_a, sum_b = _more(sum_a, more_a, DOUBLED), _more(sum_b, more_b, DOUBLED)
    return _mean(sum_a, share, shift_a, DOUBLED), _mean(sum_b, share, shift_b, DOUBLED)


class Tile(NamedTuple):
    """How a tile (n, p, c) is spread over the threads of a program."""

    n: int
    p: int
    c: int
    n_times: int  # how often a thread comes back along n
    p_times: int
    is_whole: bool  # it has all positions
    fills: bool  # no tile goes beyond the channels
    stages: int  # of the loop over tiles: one is summed while loads of others are under way


def fitting(size: int, least: int, most: int) -> int:
    """Return a power of two from `least` to `most`: the largest that pads size by no 16th, or by the least there is."""
    padding, step = {}, least
    while step <= most:
        padding[step] = -size % step
        step *= 2
    few = max(min(padding.values()), size // 16)
    return max(step for step in padding if padding[step] <= few)


def tile_of(near: str, size: int, channels: int, elements: int, vector: int, whole: bool) -> Tile:
    """Return a tile of so many elements, longest where memory is contiguous; `vector` of them are loaded at once.

    A `whole` tile has all positions of a sample, if they fit; any other as many as leave little of the last one empty,
    and several channels. The batch size has no say, so that another one needs no other kernel, and as little of a tile
    as may be lies along the batch, which can be small.
    """
    most = min(triton.next_power_of_2(size), elements)
    if near == "c":
        c = min(triton.next_power_of_2(channels), CHANNELS)
        most = min(most, elements // c)
        p = fitting(size, min(most, LINES), most)
    elif near == "n":
        c, p = 1, min(most, elements // NEAR)
    else:
        p = most if whole else fitting(size, min(most, RUN), most)
        rows = max(THREADS * vector // p, 1)
        # A thread holds the sums of at most two channels.
        c = 1 if whole else fitting(channels, 1, min(elements // p, 2 * rows))
    n = elements // c // p
    # Of what all threads hold when each has one vector.
    rows = max(THREADS * vector // c, 1)
    if near == "n":
        n_rows = min(n, rows)
        p_rows = min(p, rows // n_rows)
    elif near == "c":
        p_rows = min(p, rows)
        n_rows = min(n, rows // p_rows)
    else:
        p_rows = min(p, THREADS * vector)
        n_rows = min(n, max(THREADS * vector // p_rows // c, 1))
    return Tile(n, p, c, n // n_rows, p // p_rows, p >= size, channels % c == 0, STAGES if vector > 1 else 1)
