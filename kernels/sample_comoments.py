"""The co-moments of pooled samples, of which there are few: each is a part of one pair, merged with all others."""

import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.labels import Labels, is_of, labelled
from sdfast.kernels.launch import options
from sdfast.kernels.moments import MERGED, MERGED_COLUMNS, MERGING, Outputs, added, merge, merged, write
from sdfast.kernels.plan import Plan

AT_ONCE = 1024  # samples that a program loads at once
IN_TURN = 4096  # that it takes before others share them with it
LARGE = 1 << 15  # bytes of a sample before it was pooled; to take all of these takes a 10th of the time to read them


@triton.jit(do_not_specialize=["samples", "channels", "factors", "steps", "chunks"])
def sample_comoments(
    a,  # (samples, channels) float64
    b,
    labels,
    outputs,
    samples,
    channels,
    factors,
    steps,
    chunks,
    KIND: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the co-moments of one chunk of samples, one factor and a block of channels."""
    program = tl.program_id(0)
    factor = program % factors
    blocks = (channels + BLOCK - 1) // BLOCK
    c = program // factors % blocks * BLOCK + tl.arange(0, BLOCK)
    chunk = program // factors // blocks
    zero = tl.full([BLOCK], 0, tl.float64)
    moments = (zero, zero, zero, zero, zero, zero)
    first = tl.cast(chunk, tl.int64) * steps * BLOCK_N
    for start in range(first, tl.minimum(first + steps * BLOCK_N, samples), BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)[:, None]
        inside = n < samples
        if labelled(labels):
            inside = is_of(factor, labels, n, inside)
        inside &= (c < channels)[None, :]
        at = n * channels + c[None, :]
        mean_a = tl.load(a + at, mask=inside, other=0)
        mean_b = tl.load(b + at, mask=inside, other=0)
        none = tl.full([BLOCK_N, BLOCK], 0, tl.float64)
        moments = added(moments, merged(inside.to(tl.float64), mean_a, mean_b, none, none, none))
    row = factors.to(tl.int64) * channels
    column = tl.cast(factor, tl.int64) * channels + c
    write(moments, column, c < channels, row, channels, tl.cast(chunk, tl.int64), chunks, outputs, KIND)


def of_samples(
    plan: Plan, a: Tensor, b: Tensor, labels: Labels, rows: int, pooled_from: int, outputs: Outputs, kind: int
) -> None:
    """Write what follows from samples (N, C), float64 and contiguous, each pooled from so many bytes of a tensor."""
    samples, channels = a.shape[:2]
    in_turn = samples if pooled_from >= LARGE else max(IN_TURN, triton.cdiv(samples, MERGED))
    steps = triton.cdiv(in_turn, AT_ONCE)
    chunks = triton.cdiv(samples, steps * AT_ONCE)
    parts = outputs.moments if chunks == 1 else plan.space((chunks, 6, rows, channels), a)
    plan.launch(
        sample_comoments,
        chunks * triton.cdiv(channels, MERGED_COLUMNS) * rows,
        a,
        b,
        labels,
        outputs._replace(moments=parts),
        samples,
        channels,
        rows,
        steps,
        chunks,
        KIND=kind,
        BLOCK_N=AT_ONCE,
        BLOCK=MERGED_COLUMNS,
        **options(a, MERGING),
    )
    if chunks > 1:
        merge(plan, parts, outputs, channels, kind)
