"""Pooling by itself, without labels: these then cost next to nothing, as pooled samples are few.

Each program sums a stretch of the positions of some samples: all of them, or fewer where positions are without end. The
means over the stretches have the mean that the features have over the positions, and so the co-moments kernel goes on
with them as with any features.
"""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.layout import Layout, plain, size_of
from sdfast.kernels.plan import Plan
from sdfast.kernels.samples import in_channels, members, pooled, shift_to_pool

STRETCH = 32  # tiles of a program
STRETCHES = 4096  # of a sample at most: few enough for one program to sum what they wrote


@triton.jit(do_not_specialize=["splits", "steps"])
def pool_stretches(
    a,
    b,
    means_a,  # (N, C, splits) float64
    means_b,
    layout,
    splits,
    steps,
    LANE: tl.constexpr,
    DOUBLED: tl.constexpr,  # two lanes make a sum
    TILE: tl.constexpr,
):
    """Write the means of one stretch of positions, some samples and a block of channels."""
    program = tl.program_id(0)
    batch = plain(layout.batch)
    channels = layout.channels * layout.c_vector
    blocks = (channels + TILE.c - 1) // TILE.c
    split = program % splits
    n = (program // splits // blocks).to(tl.int64) * TILE.n + tl.arange(0, TILE.n)[:, None, None]
    c = (program // splits % blocks).to(tl.int64) * TILE.c + tl.arange(0, TILE.c)[None, None, :]
    member = in_channels(members(n, batch, TILE), c, channels, TILE)

    shift_a = shift_to_pool(a, layout.strides[0], layout, batch, c, LANE)
    shift_b = shift_to_pool(b, layout.strides[1], layout, batch, c, LANE)
    size = size_of(layout)
    first = split * steps
    end = tl.minimum(first + steps, ((size + TILE.p - 1) // TILE.p).to(tl.int32))
    share = splits.to(tl.float64) / size
    mean_a, mean_b = pooled(a, b, layout, n, c, member, first, end, share, shift_a, shift_b, LANE, DOUBLED, TILE)
    if DOUBLED:
        both = mean_a + mean_b
        if tl.max(tl.max(tl.max((both - both != 0).to(tl.int32), axis=0), axis=0), axis=0) > 0:
            # Two float32 overflow where a float64 does not.
            mean_a, mean_b = pooled(
                a, b, layout, n, c, member, first, end, share, shift_a, shift_b, tl.float64, False, TILE
            )
    at = (n * channels + c) * splits + split
    tl.store(means_a + at, mean_a, mask=member)
    tl.store(means_b + at, mean_b, mask=member)


def splits_of(tiles: int) -> tuple[int, int]:
    """Return how many programs share the positions of a sample, and how many tiles each takes.

    The batch size has no say, so that another one needs no other kernel.
    """
    splits = min(triton.cdiv(tiles, STRETCH), STRETCHES)
    steps = triton.cdiv(tiles, splits)
    return triton.cdiv(tiles, steps), steps


def pool_positions(
    plan: Plan,
    feats_a: Tensor,
    feats_b: Tensor,
    layout: Layout,
    packed: Layout,
    splits: int,
    steps: int,
    **constants: Any,
) -> tuple[Tensor, Tensor]:
    """Return two (N, C, splits) float64, the means of stretches: to be pooled instead, or the pooled samples."""
    tile, shape = constants["TILE"], (layout.batch, layout.channels, splits)
    # Two tensors, not the halves of one: whether a half is aligned would depend on the batch size.
    means_a, means_b = (plan.space(shape, x) for x in (feats_a, feats_b))
    programs = splits * triton.cdiv(layout.channels, tile.c) * triton.cdiv(layout.batch, tile.n)
    plan.launch(pool_stretches, programs, feats_a, feats_b, means_a, means_b, packed, splits, steps, **constants)
    return means_a, means_b
