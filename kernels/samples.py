"""Samples as a program sees them: tiles (n, p, c) around a shift, summed in the registers of each thread first."""

from typing import NamedTuple

import triton
import triton.language as tl

from sdfast.kernels.layout import THREADS, offset_of

CHANNELS = 64  # of a tile whose channels lie side by side
NEAR = 64  # pairs of a tile that lie side by side, where there are positions, too


@triton.jit
def shift_of(x, first, middle, last, inside, LANE: tl.constexpr):
    """Return the median of three samples, which no single outlier moves far, or 0 where that is not finite."""
    u = tl.load(x + first, mask=inside, other=0).to(LANE)
    v = tl.load(x + middle, mask=inside, other=0).to(LANE)
    w = tl.load(x + last, mask=inside, other=0).to(LANE)
    median = tl.maximum(tl.minimum(u, v), tl.minimum(tl.maximum(u, v), w))
    return tl.where(tl.abs(median) < float("inf"), median, 0)


@triton.jit
def around(x, inside, shift):
    """Load a tile around its shift, 0 outside."""
    return tl.where(inside, tl.load(x, mask=inside, other=0).to(shift.dtype) - shift, 0)


@triton.jit
def lanes(x, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Sum what one thread holds of a tile (n, p, c): its vector of positions and its repeats along n and p."""
    N: tl.constexpr = x.shape[0] // N_TIMES
    P: tl.constexpr = x.shape[1] // (P_TIMES * VECTOR)
    x = tl.reshape(x, [N_TIMES, N, P_TIMES, P, VECTOR, x.shape[2]])
    return tl.sum(tl.sum(tl.sum(x, axis=4), axis=2), axis=0)


@triton.jit
def position_sums(
    a,
    b,
    member,  # (n, 1, c)
    first,  # int64
    last,
    size,
    sizes,
    strides_a,
    strides_b,
    shift_a,
    shift_b,
    C_VECTOR: tl.constexpr,
    P_VECTOR: tl.constexpr,
    P_TIMES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sum the tiles [first, last) of positions around the shifts; returns two (n, 1, c) float64."""
    P: tl.constexpr = BLOCK_P // (P_TIMES * P_VECTOR)
    p_lane = tl.arange(0, BLOCK_P)[None, :, None]
    sum_a = tl.full([BLOCK_N, P, BLOCK_C], 0, tl.float64)
    sum_b = tl.full([BLOCK_N, P, BLOCK_C], 0, tl.float64)
    for tile in range(first, last):
        p = tile * BLOCK_P + p_lane
        inside = member & (p < size)
        da = around(a + offset_of(p, sizes, strides_a) * C_VECTOR, inside, shift_a)
        db = around(b + offset_of(p, sizes, strides_b) * C_VECTOR, inside, shift_b)
        sum_a += lanes(da, 1, P_TIMES, P_VECTOR).to(tl.float64)
        sum_b += lanes(db, 1, P_TIMES, P_VECTOR).to(tl.float64)
    return tl.sum(sum_a, axis=1)[:, None, :], tl.sum(sum_b, axis=1)[:, None, :]


class Tile(NamedTuple):
    """How a tile (n, p, c) is spread over the threads of a program."""

    n: int
    p: int
    c: int
    n_times: int  # how often a thread comes back along n
    p_times: int


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
    return Tile(n, p, c, n // n_rows, p // p_rows)
