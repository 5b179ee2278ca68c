"""Pooling with many programs a sample: where there are few samples and channels, but positions without end.

Each program sums a stretch of the positions of some samples. What it writes has the mean over the stretches that the
features have over the positions, and so the co-moments kernel goes on with it as with any features.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.layout import Layout, offset_of
from sdfast.kernels.samples import Tile, position_sums, shift_of


@triton.jit(do_not_specialize=["batch", "splits", "steps"])
def pool_stretches(
    a,
    b,
    sums,  # (2, N, C, splits) float64
    base,  # (2, C) float64: what the sums leave out
    batch,
    channels,
    size,
    sizes,
    strides_a,
    strides_b,
    a_n,
    a_c,
    b_n,
    b_c,
    splits,
    steps,
    LANE: tl.constexpr,
    P_VECTOR: tl.constexpr,
    C_VECTOR: tl.constexpr,
    P_TIMES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write the sums of one stretch of positions, some samples and a block of channels."""
    program = tl.program_id(0)
    zero = program.to(tl.int64) * 0  # whatever is multiplied below is 64 bits wide first
    channels *= C_VECTOR
    size = (zero + size) * P_VECTOR
    blocks = (channels + BLOCK_C - 1) // BLOCK_C
    split = program % splits
    block = program // splits % blocks
    n_tile = (program // splits // blocks).to(tl.int64)

    n = n_tile * BLOCK_N + tl.arange(0, BLOCK_N)[:, None, None]
    c = block.to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)[None, None, :]
    in_c = c < channels
    member = (n < batch) & in_c
    a += c * a_c * P_VECTOR
    b += c * b_c * P_VECTOR
    a_n = (zero + a_n) * (P_VECTOR * C_VECTOR)
    b_n = (zero + b_n) * (P_VECTOR * C_VECTOR)

    middle, last = batch // 2, batch - 1
    middle_p, last_p = size // 2, size - 1
    middle_a = middle * a_n + offset_of(middle_p, sizes, strides_a) * C_VECTOR
    middle_b = middle * b_n + offset_of(middle_p, sizes, strides_b) * C_VECTOR
    last_a = last * a_n + offset_of(last_p, sizes, strides_a) * C_VECTOR
    last_b = last * b_n + offset_of(last_p, sizes, strides_b) * C_VECTOR
    shift_a = shift_of(a, zero, middle_a, last_a, in_c, LANE)
    shift_b = shift_of(b, zero, middle_b, last_b, in_c, LANE)

    p_tiles = (size + BLOCK_P - 1) // BLOCK_P
    sum_a, sum_b = position_sums(
        a + n * a_n,
        b + n * b_n,
        member,
        zero + split * steps,
        tl.minimum(zero + split * steps + steps, p_tiles),
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
    share = splits.to(tl.float64) / size
    out = sums + (n * channels + c) * splits + split
    tl.store(out, sum_a * share, mask=member)
    tl.store(out + batch.to(tl.int64) * channels * splits, sum_b * share, mask=member)
    if (split == 0) & (n_tile == 0):
        tl.store(base + c, shift_a.to(tl.float64), mask=in_c)
        tl.store(base + channels + c, shift_b.to(tl.float64), mask=in_c)


def splits_of(tile: Tile, layout: Layout, programs: int, least: int) -> tuple[int, int]:
    """Return how many programs share the positions of a sample, and how many tiles each takes, at least `least`.

    One, unless there would be fewer than a quarter of the wanted programs: a second kernel costs a few microseconds.
    """
    samples = triton.cdiv(layout.batch, tile.n) * triton.cdiv(layout.channels, tile.c)
    tiles = triton.cdiv(layout.size, tile.p)
    wanted = programs // samples
    if wanted < 4 or tiles < 2 * least:
        return 1, tiles
    steps = max(triton.cdiv(tiles, wanted), least)
    return triton.cdiv(tiles, steps), steps


def pool_positions(
    feats_a: Tensor, feats_b: Tensor, layout: Layout, tile: Tile, splits: int, steps: int, **constants
) -> tuple[Tensor, Tensor, Tensor]:
    """Return two (N, C, splits) float64 to pool instead, and (2, C) float64 to add to their means."""
    p_vector, c_vector = constants["P_VECTOR"], constants["C_VECTOR"]
    sums = feats_a.new_empty((2, layout.batch, layout.channels, splits), dtype=torch.float64)
    base = sums.new_empty((2, layout.channels))
    programs = splits * triton.cdiv(layout.channels, tile.c) * triton.cdiv(layout.batch, tile.n)
    pool_stretches[(programs,)](
        feats_a,
        feats_b,
        sums,
        base,
        layout.batch,
        layout.channels // c_vector,
        layout.size // p_vector,
        *layout.in_vectors(p_vector, c_vector),
        splits,
        steps,
        P_TIMES=tile.p_times,
        BLOCK_N=tile.n,
        BLOCK_P=tile.p,
        BLOCK_C=tile.c,
        **constants,
    )
    return sums[0], sums[1], base
