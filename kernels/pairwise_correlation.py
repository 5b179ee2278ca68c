"""Every channel of one sample matrix correlated with every channel of another: a matrix product of standard scores.

The scores are never in memory: a program centres and scales the tiles of both matrices as it loads them. Where there
are few channels, several programs share the samples of a tile, and a second kernel adds up what they found.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.comoments import comoments
from sdfast.kernels.launch import THREADS, options, processors
from sdfast.kernels.moments import bounded
from sdfast.kernels.plan import Plan, find, form_of, keep

BLOCK, DEPTH = 64, 16  # channels and samples of a tile
SPAN = 512  # samples summed in the dtype of the features before the sum goes on in float64
PROGRAMS = 4  # wanted for each multiprocessor


@triton.jit
def _scaling(moments, channels, c, DTYPE: tl.constexpr):
    """Return what makes standard scores of samples: (x - centre) * scale + rest. Scale is 0 where all are equal."""
    inside = c < channels
    mean = tl.load(moments + channels + c, mask=inside, other=0)
    m2 = tl.load(moments + 3 * channels + c, mask=inside, other=0)
    scale = tl.where(m2 == 0, 0, 1 / tl.sqrt(tl.where(m2 == 0, 1, m2)))
    centre = mean.to(DTYPE)
    # What rounding the mean leaves behind.
    rest = (centre.to(tl.float64) - mean) * scale
    return centre, scale.to(DTYPE), rest.to(DTYPE)


@triton.jit(do_not_specialize=["samples", "splits", "steps"])
def partial_products(
    a,
    b,
    moments_a,  # (6, C_a) float64
    moments_b,
    out,  # (splits, C_a, C_b): float64, or with one split the result
    samples,
    channels_a,
    channels_b,
    a_s,
    a_c,
    b_s,
    b_c,
    splits,
    steps,
    DTYPE: tl.constexpr,
    SPAN: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Write the products of one tile of channels over one stretch of samples."""
    program = tl.program_id(0)
    split = (program % splits).to(tl.int64)
    blocks = (channels_b + BLOCK - 1) // BLOCK
    i = (program // splits // blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    j = (program // splits % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    centre_a, scale_a, rest_a = _scaling(moments_a, channels_a, i, DTYPE)
    centre_b, scale_b, rest_b = _scaling(moments_b, channels_b, j, DTYPE)
    lane = tl.arange(0, DEPTH)
    a += i[:, None] * a_c
    b += j[None, :] * b_c
    in_a = (i < channels_a)[:, None]
    in_b = (j < channels_b)[None, :]

    total = tl.full([BLOCK, BLOCK], 0, tl.float64)
    first = split * steps * SPAN
    last = tl.minimum(first + steps * SPAN, samples)
    for start in range(first, last, SPAN):
        product = tl.full([BLOCK, BLOCK], 0, DTYPE)
        for offset in range(0, SPAN, DEPTH):
            s = start + offset + lane
            x_in = in_a & (s < last)[None, :]
            y_in = in_b & (s < last)[:, None]
            x = tl.load(a + s[None, :] * a_s, mask=x_in, other=0)
            y = tl.load(b + s[:, None] * b_s, mask=y_in, other=0)
            x = tl.where(x_in, (x - centre_a[:, None]) * scale_a[:, None] + rest_a[:, None], 0)
            y = tl.where(y_in, (y - centre_b[None, :]) * scale_b[None, :] + rest_b[None, :], 0)
            product = tl.dot(x, y, product, input_precision="ieee", out_dtype=DTYPE)
        total += product.to(tl.float64)

    out += (split * channels_a + i[:, None]) * channels_b + j[None, :]
    inside = in_a & in_b
    if splits == 1:
        total = bounded(total)
    tl.store(out, total, mask=inside)


@triton.jit(do_not_specialize=["splits", "size"])
def add_products(partials, out, splits, size, BLOCK: tl.constexpr):
    """Add up partial products (splits, size)."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < size
    total = tl.full([BLOCK], 0, tl.float64)
    for split in range(splits):
        total += tl.load(partials + split * size.to(tl.int64) + index, mask=inside, other=0)
    tl.store(out + index, bounded(total), mask=inside)


def splits_of(tiles: int, spans: int, programs: int) -> tuple[int, int]:
    """Return how many programs share the samples of a tile, and how many spans each takes."""
    steps = triton.cdiv(spans, max(1, min(programs // tiles, spans)))
    return triton.cdiv(spans, steps), steps


def pairwise_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlations (C_a, C_b) of sample matrices (S, C_a) and (S, C_b), both float32 or float64."""
    moments_a = comoments(a, a, None, 1, 1, False)
    moments_b = moments_a if b is a else comoments(b, b, None, 1, 1, False)
    out = a.new_empty((a.shape[1], b.shape[1]))
    tensors = a, b, moments_a, moments_b, out
    form = ("pairwise", form_of(a, b))
    plan = find(form, a)
    if plan is None:
        plan = Plan(*tensors)
        with torch.cuda.device_of(a):
            _launch(plan, *tensors)
        keep(form, plan)
    else:
        plan.repeat(*tensors)
    return out


def _launch(plan: Plan, a: Tensor, b: Tensor, moments_a: Tensor, moments_b: Tensor, out: Tensor) -> None:
    """Launch for the first time on matrices of this form."""
    (samples, channels_a), channels_b = a.shape, b.shape[1]
    double = a.dtype == torch.float64
    block = BLOCK // 2 if double else BLOCK
    tiles = triton.cdiv(channels_a, block) * triton.cdiv(channels_b, block)
    splits, steps = splits_of(tiles, triton.cdiv(samples, SPAN), PROGRAMS * processors(a))
    parts = out if splits == 1 else plan.space((splits, *out.shape), out)
    plan.launch(
        partial_products,
        splits * tiles,
        a,
        b,
        moments_a,
        moments_b,
        parts,
        samples,
        channels_a,
        channels_b,
        *a.stride(),
        *b.stride(),
        splits,
        steps,
        DTYPE=tl.float64 if double else tl.float32,
        SPAN=SPAN,
        BLOCK=block,
        DEPTH=DEPTH,
        **options(a, 2 * THREADS),
    )
    if splits > 1:
        size = out.numel()
        plan.launch(add_products, triton.cdiv(size, 256), parts, out, splits, size, BLOCK=256, **options(a))
