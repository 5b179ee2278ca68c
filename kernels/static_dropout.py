"""StaticDropout in one pass, the same bits as every backend: forward and backward, in place or not.

A program takes a tile (channels, positions) of one sample. Eight draws share a Philox counter, and so a thread makes
eight neighbours' draws at once. Nothing may be contracted to a fused multiply-add that is not one here: it would round
thresholds differently. `fused=False` sees to that.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.launch import on_nvidia, options
from sdfast.kernels.layout import Layout, Strides, join, place_of, plain, positions
from sdfast.kernels.plan import Plan, find, form_of, keep

TILE = 8192  # bytes: four loads and at least one counter a thread, whose work hides that of finding the tile
CHANNELS = 64  # of a tile whose channels lie side by side
MASKED_RUN = 128  # positions of a tile: where a mask is sampled once for several channels
ELEMENT, CHANNEL, REGION = 0, 1, 2
# 2^23. A float32 from here to twice this is an integer, which its last bits say: a threshold that is added to it is
# rounded, halves to even, and a draw has but to take the place of those bits to be compared with that.
_WHOLE, _WHOLE_BITS = tl.constexpr(8388608.0), tl.constexpr(0x4B000000)


@triton.jit
def _philox(seed, offset):
    """Return the four words of Philox4x32-10, uint32, of a 64-bit key and 64-bit counters."""
    c0 = (offset & 0xFFFFFFFF).to(tl.uint32)
    c1 = ((offset >> 32) & 0xFFFFFFFF).to(tl.uint32)
    c2 = c0 ^ c0
    c3 = c0 ^ c0
    k0 = (seed & 0xFFFFFFFF).to(tl.uint32)
    k1 = ((seed >> 32) & 0xFFFFFFFF).to(tl.uint32)
    for _ in tl.static_range(10):
        product0 = c0.to(tl.uint64) * 0xD2511F53
        product1 = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (product1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c1 = product1.to(tl.uint32)
        c2 = (product0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c3 = product0.to(tl.uint32)
        k0 += 0x9E3779B9
        k1 += 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def _side_by_side(w0, w1, w2, w3):
    """Return the draws of counters (..., g) as (..., 8 g): the halves of the words in order, the low one first."""
    words = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))
    return tl.interleave(words & 0xFFFF, words >> 16)


@triton.jit
def _draw_at(seed, flat):
    """Return draw flat % 8 of counter flat // 8."""
    w0, w1, w2, w3 = _philox(seed, flat // 8)
    word = flat % 8 // 2
    low = tl.where(word == 0, w0, w1)
    high = tl.where(word == 2, w2, w3)
    bits = tl.where(word < 2, low, high)
    return tl.where(flat % 2 == 0, bits & 0xFFFF, bits >> 16)


class Grid(NamedTuple):
    """How a mask lies over the positions; what lies end to end in the features need not in the mask."""

    sizes: tuple[int, ...]  # of the positions
    counts: tuple[int, ...]  # of values along these
    strides: tuple[int, ...]
    n: int  # the stride of the batch


@triton.jit
def _nearest(i, size, grid):
    """Return the index of the value of a mask nearest to index i of features; centres are aligned, in integers.

    Where dimensions are joined the mask has as many values as there are features, and the product might not fit.
    """
    return tl.where(grid == size, i, (2 * i + 1) * grid // (2 * tl.cast(size, i.dtype)))


@triton.jit
def _sampled(mask, grid, n, p):
    """Load the nearest value of a mask at flattened positions, float32."""
    offset = n * grid.n
    for d in tl.static_range(len(grid.sizes) - 1, -1, -1):
        i = p % grid.sizes[d]
        offset += _nearest(i, grid.sizes[d], grid.counts[d]).to(tl.int64) * grid.strides[d]
        p = p // grid.sizes[d]
    return tl.load(mask + offset).to(tl.float32)


@triton.jit
def _keep_scale(chances, RECIPROCAL: tl.constexpr):
    """Return 65536 / chances, rounded to the nearest, of integers up to 65536; what it is for 0 is of no matter.

    NVIDIA's approximate reciprocal is off by one or two units in the last place. Of such a one Newton's step makes the
    nearest float32 (Markstein, IBM Journal of Research and Development 34, 1990), and 65536 is a power of two.
    """
    if RECIPROCAL:
        near = tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [chances], tl.float32, True, 1)
        return 65536.0 * tl.fma(near, tl.fma(-chances, near, 1.0), near)
    else:
        return tl.div_rn(65536.0, chances)


@triton.jit
def drop(
    x,
    out,
    seed,  # () int64
    p_drop,
    mask,  # or None
    weight,  # (C,) float32, or None
    layout,  # of x and out
    grid,
    SWAPPED: tl.constexpr,  # the channels are in the place of the positions
    GRANULARITY: tl.constexpr,
    RESCALE: tl.constexpr,
    RECIPROCAL: tl.constexpr,  # the GPU has an instruction for it
    IN_PLACE: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Write one tile of one sample; where channels and positions are swapped, of several samples."""
    program = tl.program_id(0)
    batch = plain(layout.batch)
    channels = layout.channels * layout.c_vector
    rows = batch if SWAPPED else channels
    size = tl.cast(layout.size, INDEX) * layout.p_vector
    p_tiles = (size + BLOCK_P - 1) // BLOCK_P
    tiles = (rows + BLOCK_C - 1) // BLOCK_C
    p_tile = program % p_tiles
    row = (program // p_tiles % tiles).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]
    if SWAPPED:
        n, c = row, row * 0
    else:
        n, c = (program // p_tiles // tiles).to(tl.int64), row
    p = (p_tile.to(INDEX) * BLOCK_P + tl.arange(0, BLOCK_P))[None, :]
    inside = (row < rows) & (p < size)

    threshold = tl.full([1, 1], 0, tl.float32) + p_drop
    if weight is not None:
        if SWAPPED:
            threshold *= tl.load(weight + p, mask=p < size, other=0)
        else:
            threshold *= tl.load(weight + c, mask=c < channels, other=0)
    threshold *= 65536
    if mask is not None:
        if SWAPPED:  # one value a sample
            threshold = threshold * tl.load(mask + n * grid.n, mask=n < batch, other=0).to(tl.float32)
        else:
            threshold = threshold * _sampled(mask, grid, n, tl.minimum(p, size - 1))
    limit = threshold + _WHOLE
    needed = True
    if IN_PLACE:
        needed = tl.max(tl.max(limit, axis=0), axis=0) > _WHOLE
    if needed:
        # The features are under way while numbers are drawn: compilers would move their loads down, but not over this.
        value = tl.load(x + place_of(n, c, p, layout, layout.strides[0]), mask=inside, other=0)
        tl.debug_barrier()
        key = tl.load(seed)
        if GRANULARITY == 0:
            groups = (size + 7) // 8
            group = (p_tile.to(tl.int64) * (BLOCK_P // 8) + tl.arange(0, BLOCK_P // 8))[None, :]
            w0, w1, w2, w3 = _philox(key, (n * channels + c) * groups + group)
            draw = _side_by_side(w0, w1, w2, w3)
        elif GRANULARITY == 1:
            draw = _draw_at(key, n * channels + c)
        else:
            draw = _draw_at(key, n + c * 0)
        if RESCALE:
            factor = _keep_scale(8454144.0 - limit, RECIPROCAL)  # 65536 more than what is in the limit
            if value.dtype == tl.float64:
                value = value * factor.to(tl.float64)
            else:
                value = (value.to(tl.float32) * factor).to(value.dtype)
        drawn = (draw | _WHOLE_BITS).to(tl.float32, bitcast=True)
        kept = tl.where(drawn < limit, 0, value)
        tl.store(out + place_of(n, c, p, layout, layout.strides[1]), kept, mask=inside)


def static_dropout(
    x: Tensor,
    out: Tensor,
    seed: Tensor,
    p: float,
    mask: Tensor | None,
    channel_weight: Tensor | None,
    granularity: int,
    rescale: bool,
    channel_dim: int,
) -> None:
    """Write x with each element dropped at probability p * mask * channel_weight to `out`, which may be x."""
    if x.numel() == 0:
        return
    tensors = x, out, seed, mask, channel_weight
    form = (p, granularity, rescale, channel_dim, form_of(*tensors))
    plan = find(form, x)
    if plan is not None:
        plan.repeat(*tensors)
        return
    plan = Plan(*tensors)
    with torch.cuda.device_of(x):
        _launch(plan, x, out, seed, p, mask, channel_weight, granularity, rescale, channel_dim)
    keep(form, plan)


def _launch(
    plan: Plan,
    x: Tensor,
    out: Tensor,
    seed: Tensor,
    p: float,
    mask: Tensor | None,
    channel_weight: Tensor | None,
    granularity: int,
    rescale: bool,
    channel_dim: int,
) -> None:
    """Launch for the first time on tensors of this form."""
    batch, channels = x.shape[0], x.shape[channel_dim]
    places = positions(x, channel_dim)
    sizes, strides_x, strides_out = zip(
        *(join([(x.shape[d], x.stride(d), out.stride(d)) for d in places]) or [(1, 0, 0)]), strict=True
    )
    size = x[0].numel() // channels
    x_c, out_c = x.stride(channel_dim), out.stride(channel_dim)
    masked = [(1, 1, 0)]
    if mask is not None:
        given = mask
        mask = mask.squeeze(1) if mask.ndim > 1 + len(places) else mask
        mask = mask.view(torch.uint8) if mask.dtype == torch.bool else mask
        masked = join_masked([(x.shape[d], mask.shape[i], mask.stride(i)) for i, d in enumerate(places, 1)]) or masked

    swapped = size == 1 and granularity == ELEMENT
    if swapped:  # the channels take the place of the positions; the mask has one value a sample
        if mask is not None:
            middle: tuple[slice | int, ...] = (slice(None), *(g // 2 for g in mask.shape[1:]))
            mask = mask[middle]
        masked = [(channels, 1, 0)]
        sizes, strides_x, strides_out = (channels,), (x_c,), (out_c,)
        size, channels, x_c, out_c = channels, 1, 0, 0
    if mask is not None:
        plan.view(mask, given)
    lengths, counts, steps = zip(*masked, strict=True)
    grid = Grid(lengths, counts, steps, 0 if mask is None else mask.stride(0))

    strides = Strides(x.stride(0), x_c, strides_x), Strides(out.stride(0), out_c, strides_out)
    layout = Layout(batch, channels, size, sizes, strides)
    block_c, block_p = tile_shape(channels, size, x_c, strides_x[-1], mask is not None, x.element_size())
    if swapped:  # several samples a program, whatever the batch size
        block_c = TILE // x.element_size() // block_p
    rows = triton.cdiv(batch, block_c) if swapped else batch * triton.cdiv(channels, block_c)
    wide = 2 * size * max(grid.counts) >= 2**31
    plan.launch(
        drop,
        rows * triton.cdiv(size, block_p),
        x,
        out,
        seed,
        float(p),
        mask,
        channel_weight,
        layout.in_vectors(*layout.vectors(x, out)),
        grid,
        SWAPPED=swapped,
        GRANULARITY=granularity,
        RESCALE=rescale,
        RECIPROCAL=on_nvidia(x) and not triton.knobs.runtime.interpret,
        IN_PLACE=out is x and (mask is not None or channel_weight is not None),
        INDEX=tl.int64 if wide else tl.int32,
        BLOCK_C=block_c,
        BLOCK_P=block_p,
        **options(x, fused=False),
    )


def join_masked(dims: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return dimensions (size, grid, stride of the mask), those joined that the mask can be read along as one.

    It can where it has one value for both, or one for each position and these lie end to end.
    """
    joined: list[tuple[int, int, int]] = []
    for size, grid, stride in dims:
        if size == 1 and grid == 1:
            continue
        if joined:
            outer_size, outer_grid, outer_stride = joined[-1]
            one = grid == 1 and outer_grid == 1
            each = grid == size and outer_grid == outer_size and outer_stride == stride * size
            if one or each:
                joined[-1] = (outer_size * size, outer_grid * grid, stride)
                continue
        joined.append((size, grid, stride))
    return joined


def tile_shape(
    channels: int, size: int, channel_stride: int, last_stride: int, masked: bool, width: int
) -> tuple[int, int]:
    """Return the tile (channels, positions): longest where memory is contiguous, whole counters of eight draws."""
    size = max(triton.next_power_of_2(size), 8)
    tile = TILE // width
    if channels > 1 and channel_stride < last_stride:
        block_c = min(triton.next_power_of_2(channels), CHANNELS)
        return block_c, min(size, tile // block_c)
    block_p = min(size, MASKED_RUN if masked else tile)
    return min(triton.next_power_of_2(channels), tile // block_p), block_p
