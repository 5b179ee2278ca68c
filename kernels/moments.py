"""From co-moments to what is asked for: the merge of partial ones, correlation and mutual information.

Whichever kernel ends the work writes the result, so that a small input takes one launch.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.launch import options
from sdfast.kernels.plan import Plan

MOMENTS = tl.constexpr(0)
PEARSON = tl.constexpr(1)
INTRACLASS = tl.constexpr(2)
STATE = tl.constexpr(3)


class Outputs(NamedTuple):
    """Where a result goes: its moments (6, F, C), or mi and corr (F, C), all float64, and number (F,) int64.

    A state of earlier pairs (6, F, C), to which moments are added, takes the place of mi.

    A kernel learns by the number of chunks alone whether what it writes is moments to be merged, so that another
    number needs no other kernel: there is always a place for moments.
    """

    moments: Tensor
    mi: Tensor | None = None
    corr: Tensor | None = None
    number: Tensor | None = None


MERGED = 512  # chunks at most: a program loads all of them at once
MERGING = 256  # threads of such a program
MERGED_COLUMNS = 4  # that lie side by side: 32 bytes, the least that memory gives


@triton.jit
def bounded(corr):
    """Return a correlation without what rounding took it beyond 1; NaN stays."""
    return tl.where(corr > 1, 1, tl.where(corr < -1, -1, corr))


@triton.jit
def correlation(moments, KIND: tl.constexpr):
    """Return NaN below two samples or where a sample was not finite, 0 where the variance is zero."""
    count, mean_a, mean_b, m2_a, m2_b, c_ab = moments
    if KIND == PEARSON:
        # sqrt(m2_a * m2_b), but neither overflowing nor inexact where a = b.
        alive = (m2_a != 0) & (m2_b != 0)
        covariance = c_ab
        scale = tl.where(alive, tl.sqrt(m2_a / tl.where(alive, m2_b, 1)) * m2_b, 0)
    else:
        gap = (mean_a - mean_b) * (mean_a - mean_b) / 4
        n = tl.maximum(count, 1)
        covariance = c_ab / n - gap
        scale = (m2_a + m2_b) / (2 * n) + gap
    corr = bounded(covariance / tl.where(scale == 0, 1, scale))
    corr = tl.where((scale == 0) & (covariance == covariance), 0, corr)
    return tl.where(count < 2, float("nan"), corr)


@triton.jit
def mutual_information(corr):
    """Return -log(1 - corr^2) / 2 in nats, accurate also where corr is tiny."""
    square = tl.fma(corr, corr, corr * 0)  # rounded by itself, not inside of the difference, as all backends do
    rest = 1 - square
    # log(1 - x) from a rounded 1 - x: the rounding cancels in the quotient. 0 / 0 where nothing but 1 is left.
    lost = tl.where(rest == 1, 1, 1 - rest)
    log = tl.where(rest == 1, -square, tl.log(rest) * (square / lost))
    return -0.5 * log


@triton.jit
def added(moments, more):
    """Merge moments with more of them."""
    count, mean_a, mean_b, m2_a, m2_b, c_ab = moments
    total = count + more[0]
    share = more[0] / tl.maximum(total, 1)
    both = (count > 0) & (more[0] > 0)
    # Without samples on one side the means of the other are left as they are.
    gap_a = tl.where(both, more[1] - mean_a, 0)
    gap_b = tl.where(both, more[2] - mean_b, 0)
    weight = count * share
    return (
        total,
        tl.where(count > 0, mean_a + gap_a * share, more[1]),
        tl.where(count > 0, mean_b + gap_b * share, more[2]),
        m2_a + more[3] + gap_a * gap_a * weight,
        m2_b + more[4] + gap_b * gap_b * weight,
        c_ab + more[5] + gap_a * gap_b * weight,
    )


@triton.jit
def _add_to(state, moments, inside, row):
    """Merge moments into those of earlier pairs."""
    earlier = (
        tl.load(state, mask=inside, other=0),
        tl.load(state + row, mask=inside, other=0),
        tl.load(state + 2 * row, mask=inside, other=0),
        tl.load(state + 3 * row, mask=inside, other=0),
        tl.load(state + 4 * row, mask=inside, other=0),
        tl.load(state + 5 * row, mask=inside, other=0),
    )
    sums = added(earlier, moments)
    for i in tl.static_range(6):
        tl.store(state + i * row, sums[i], mask=inside)


@triton.jit
def write(moments, column, inside, row, channels, part, parts, outputs, KIND: tl.constexpr):
    """Write moments of some columns, factor * channels + channel, or what follows from them if they are no part."""
    if KIND != MOMENTS and parts == 1:
        if KIND == STATE:
            _add_to(outputs.mi + column, moments, inside & (moments[0] > 0), row)
        else:
            r = correlation(moments, KIND)
            tl.store(outputs.corr + column, r, mask=inside)
            tl.store(outputs.mi + column, mutual_information(r), mask=inside)
            first = inside & (column % channels == 0)
            tl.store(outputs.number + column // channels, moments[0].to(tl.int64), mask=first)
    else:
        for i in tl.static_range(6):
            tl.store(outputs.moments + (part * 6 + i) * row + column, moments[i], mask=inside)


@triton.jit
def _merged_mean(means, n, count):
    """Return the mean over all parts, around one of theirs: equal means have exactly that one. 0 without samples."""
    pivot = tl.max(tl.where(n > 0, means, float("-inf")), axis=0)
    pivot = tl.where(pivot > float("-inf"), pivot, 0)
    return pivot + tl.sum(tl.where(n > 0, n * (means - pivot[None, :]), 0), axis=0) / tl.maximum(count, 1)


@triton.jit
def merged(n, mean_a, mean_b, m2_a, m2_b, c_ab):
    """Merge the moments (k, columns) of k parts: Chan's formula over all of them at once."""
    count = tl.sum(n, axis=0)
    merged_a = _merged_mean(mean_a, n, count)
    merged_b = _merged_mean(mean_b, n, count)
    gap_a = tl.where(n > 0, mean_a - merged_a[None, :], 0)
    gap_b = tl.where(n > 0, mean_b - merged_b[None, :], 0)
    m2_a = tl.sum(m2_a + n * gap_a * gap_a, axis=0)
    m2_b = tl.sum(m2_b + n * gap_b * gap_b, axis=0)
    c_ab = tl.sum(c_ab + n * gap_a * gap_b, axis=0)
    return count, merged_a, merged_b, m2_a, m2_b, c_ab


@triton.jit(do_not_specialize=["chunks", "row", "channels"])
def merge_comoments(
    partials,  # (chunks, 6, row)
    outputs,
    chunks,
    row,
    channels,
    KIND: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Merge the partial moments of up to BLOCK_K chunks."""
    row = row.to(tl.int64)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = tl.arange(0, BLOCK_K)[:, None].to(tl.int64)
    part = partials + k * 6 * row + column[None, :]
    inside = (k < chunks) & (column < row)[None, :]
    n = tl.load(part, mask=inside, other=0)
    mean_a = tl.load(part + row, mask=inside, other=0)
    mean_b = tl.load(part + 2 * row, mask=inside, other=0)
    m2_a = tl.load(part + 3 * row, mask=inside, other=0)
    m2_b = tl.load(part + 4 * row, mask=inside, other=0)
    c_ab = tl.load(part + 5 * row, mask=inside, other=0)
    moments = merged(n, mean_a, mean_b, m2_a, m2_b, c_ab)
    write(moments, column, column < row, row, channels, row * 0, 1, outputs, KIND)


def merge(plan: Plan, partials: Tensor, outputs: Outputs, channels: int, kind: int) -> None:
    """Merge partial moments (chunks, 6, F, C) of at most MERGED chunks."""
    chunks, row = partials.shape[0], partials[0, 0].numel()
    plan.launch(
        merge_comoments,
        triton.cdiv(row, MERGED_COLUMNS),
        partials,
        outputs,
        chunks,
        row,
        channels,
        KIND=kind,
        BLOCK_K=MERGED,
        BLOCK=MERGED_COLUMNS,
        **options(partials, MERGING),
    )
