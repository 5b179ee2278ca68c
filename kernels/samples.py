"""Samples as a program sees them: tiles (n, p, c) around a shift, summed in the registers of each thread first."""

from typing import NamedTuple

import triton
import triton.language as tl

from sdfast.kernels.launch import THREADS
from sdfast.kernels.layout import place_of, size_of

CHANNELS = 64  # of a tile whose channels lie side by side
STAGES = 4  # where elements are loaded several at once; single ones would take too many copies
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
def around(x, strides, layout, n, c, p, inside, shift):
    """Load samples around their shift, 0 outside."""
    value = tl.load(x + place_of(n, c, p, layout, strides), mask=inside, other=0)
    return tl.where(inside, value.to(shift.dtype) - shift, 0)


@triton.jit
def lanes(x, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Sum what one thread holds of a tile (n, p, c): its vector of positions and its repeats along n and p."""
    N: tl.constexpr = x.shape[0] // N_TIMES
    P: tl.constexpr = x.shape[1] // (P_TIMES * VECTOR)
    x = tl.reshape(x, [N_TIMES, N, P_TIMES, P, VECTOR, x.shape[2]])
    return tl.sum(tl.sum(tl.sum(x, axis=4), axis=2), axis=0)


@triton.jit
def _tile_sums(a, b, layout, n, c, member, tile, shift_a, shift_b, TILE: tl.constexpr):
    """Return what each thread holds of a tile of positions, two sums (n, p, c) float64."""
    VECTOR: tl.constexpr = layout.p_vector
    p = tl.cast(tile, tl.int64) * TILE.p + tl.arange(0, TILE.p)[None, :, None]
    inside = member & (p < size_of(layout))
    da = around(a, layout.strides[0], layout, n, c, p, inside, shift_a)
    db = around(b, layout.strides[1], layout, n, c, p, inside, shift_b)
    return lanes(da, 1, TILE.p_times, VECTOR).to(tl.float64), lanes(db, 1, TILE.p_times, VECTOR).to(tl.float64)


@triton.jit
def pooled(a, b, layout, n, c, member, first, last, share, shift_a, shift_b, TILE: tl.constexpr):
    """Return the means over tiles [first, last) of positions, two (n, 1, c) float64; each position has that share."""
    if TILE.is_whole:  # without a loop here, loads go ahead in that of the caller
        sum_a, sum_b = _tile_sums(a, b, layout, n, c, member, first, shift_a, shift_b, TILE)
    else:
        sum_a = tl.full([TILE.n, TILE.p // (TILE.p_times * layout.p_vector), TILE.c], 0, tl.float64)
        sum_b = tl.full([TILE.n, TILE.p // (TILE.p_times * layout.p_vector), TILE.c], 0, tl.float64)
        for tile in tl.range(first, last, num_stages=TILE.stages):
            more_a, more_b = _tile_sums(a, b, layout, n, c, member, tile, shift_a, shift_b, TILE)
            sum_a += more_a
            sum_b += more_b
    mean_a = tl.sum(sum_a, axis=1)[:, None, :] * share + shift_a
    mean_b = tl.sum(sum_b, axis=1)[:, None, :] * share + shift_b
    return mean_a, mean_b


class Tile(NamedTuple):
    """How a tile (n, p, c) is spread over the threads of a program."""

    n: int
    p: int
    c: int
    n_times: int  # how often a thread comes back along n
    p_times: int
    is_whole: bool  # it has all positions
    stages: int  # of the loop over tiles: one is summed while loads of others are under way


def tile_of(near: str, size: int, channels: int, elements: int, vector: int) -> Tile:
    """Return a tile of so many elements, longest where memory is contiguous; `vector` of them are loaded at once.

    The batch size has no say, so that another one needs no other kernel.
    """
    size = triton.next_power_of_2(size)
    c = min(triton.next_power_of_2(channels), CHANNELS) if near == "c" else 1
    p = min(size, elements // (NEAR if near == "n" else c))
    n = elements // c // p
    rows = max(THREADS * vector // c, 1)  # that all threads hold when each has one vector
    if near == "n":
        n_rows = min(n, rows)
        p_rows = min(p, rows // n_rows)
    else:
        p_rows = min(p, rows)
        n_rows = min(n, rows // p_rows)
    return Tile(n, p, c, n // n_rows, p // p_rows, p == size, STAGES if vector > 1 else 1)
