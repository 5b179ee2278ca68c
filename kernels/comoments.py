"""Co-moments of feature pairs, correlation and mutual information: one pass over memory, then a merge of the parts.

Partial results are merged in a fixed order: a result depends on nothing but its input and the device. Which kernels
run, and on what tiles, is decided here.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.labels import Labels, labels_of
from sdfast.kernels.launch import THREADS, options, processors, registers, sums_doubles
from sdfast.kernels.layout import Layout, Strides, join, positions
from sdfast.kernels.moments import INTRACLASS, MOMENTS, PEARSON, STATE, Outputs, merge
from sdfast.kernels.partial_comoments import partial_comoments
from sdfast.kernels.plan import Plan, find, form_of, keep
from sdfast.kernels.pooling import pool_positions, splits_of
from sdfast.kernels.sample_comoments import of_samples
from sdfast.kernels.samples import Tile, tile_of
from sdfast.kernels.spans import share_out

TILE = 4096  # bytes of one tensor that a program loads at once
PROGRAMS = 16  # for each multiprocessor: several run at once, and the last to finish do not wait long
SMALL = 1 << 21  # bytes of one tensor, up to which pooled features take one launch
ALONE = 1 << 20  # bytes of what stretches of positions have as means, that one program takes
FEW_BYTES = 1 << 15  # of one tensor, that a program of small features takes at least
LONG = 128  # positions of samples that a kernel of its own pools
LABELS = 128  # read at once


def layout_of(feats_a: Tensor, feats_b: Tensor, channel_dim: int) -> Layout:
    """Return how both lie in memory. The order of the samples makes no difference, so that of memory will do."""
    dims = [(feats_a.shape[d], feats_a.stride(d), feats_b.stride(d)) for d in positions(feats_a, channel_dim)]
    sizes, *p_strides = zip(*(join(sorted(dims, key=lambda dim: -dim[1])) or [(1, 0, 0)]), strict=True)
    batch, channels = feats_a.shape[0], feats_a.shape[channel_dim]
    pairs = zip((feats_a, feats_b), p_strides, strict=True)
    strides = tuple(Strides(x.stride(0), x.stride(channel_dim), p) for x, p in pairs)
    return Layout(batch, channels, feats_a.numel() // (batch * channels), sizes, strides)


def _launch(
    plan: Plan,
    feats_a: Tensor,
    feats_b: Tensor,
    layout: Layout,
    labels: Labels,
    rows: int,
    pool: bool,
    outputs: Outputs,
    kind: int,
) -> None:
    """Run the kernels that write `outputs`; pairs of one label are of one row."""
    pool = pool and layout.size > 1
    if pool:
        width, vectors = feats_a.element_size(), layout.vectors(feats_a, feats_b)
        tile = tile_for(layout, width, vectors, False)
        splits, stretch = splits_of(triton.cdiv(layout.size, tile.p))
        # Where samples are long, or would be read once a factor. Small features take one launch all the same.
        large, doubled = bytes_of(layout, width) >= SMALL, width < 8 and not sums_doubles(feats_a)
        if splits > 1 or (large and (not labels.all_alike() or layout.size >= LONG or doubled)):
            constants = lanes_for(feats_a, doubled)
            packed = layout.in_vectors(*vectors)
            feats_a, feats_b = pool_positions(
                plan, feats_a, feats_b, layout, packed, splits, stretch, TILE=tile, **constants
            )
            if splits == 1:
                pooled_from = layout.channels * layout.size * width
                return of_samples(plan, feats_a, feats_b, labels, rows, pooled_from, outputs, kind)
            layout = layout_of(feats_a, feats_b, 1)
    # A program of small features sums several tiles faster than a second kernel merges what several programs found.
    small = bytes_of(layout, feats_a.element_size()) < (SMALL if pool else SMALL // 2)
    few = FEW_BYTES if small else 0
    if pool and splits > 1:
        few = ALONE
    _sum_up(plan, feats_a, feats_b, layout, labels, rows, pool, few, outputs, kind)


def lanes_for(x: Tensor, doubled: bool) -> dict[str, Any]:
    """Return the constants and options of a kernel that sums in float64, halves in float32, or in two float32."""
    lane = tl.float32 if doubled or x.element_size() == 2 else tl.float64
    return {"LANE": lane, "DOUBLED": doubled, **options(x, fused=not doubled), **registers(x)}


def bytes_of(layout: Layout, width: int) -> int:
    """Return how many bytes one tensor has, of so many an element."""
    return layout.batch * layout.channels * layout.size * width


def tile_for(layout: Layout, width: int, vectors: tuple[int, int], whole: bool) -> Tile:
    """Return the tile of a kernel for features of so many bytes an element; a whole one has all positions."""
    # Without vectors a thread has enough to hold with eight elements.
    elements = min(TILE // width, 8 * THREADS * max(vectors))
    if whole and layout.near() == "p" and elements // 4 < layout.size <= elements // 2:
        elements *= 2  # two samples fit; with four, all threads wait for each other's sums half as often
    if whole and vectors[1] == 8:
        elements //= 2  # the sums of eight channels a thread take the registers
    return tile_of(layout.near(), layout.size, layout.channels, elements, max(vectors), whole)


def _sum_up(
    plan: Plan,
    feats_a: Tensor,
    feats_b: Tensor,
    layout: Layout,
    labels: Labels,
    rows: int,
    pool: bool,
    few: int,
    outputs: Outputs,
    kind: int,
) -> None:
    """Run the kernels of co-moments and of their merge; a program takes at least `few` bytes of one tensor."""
    width = feats_a.element_size()
    vectors = layout.vectors(feats_a, feats_b)
    tile = tile_for(layout, width, vectors, pool)
    n_tiles, p_tiles = triton.cdiv(layout.batch, tile.n), 1 if pool else triton.cdiv(layout.size, tile.p)
    columns = triton.cdiv(layout.channels, tile.c) * rows
    few = triton.cdiv(max(few, 1), tile.n * tile.c * width * (layout.size if pool else tile.p))
    programs = PROGRAMS * processors(feats_a) // columns
    doubled = width == 4 and not pool and not sums_doubles(feats_a)
    short = doubled or (width == 2 and not pool)
    work = share_out(n_tiles, p_tiles, programs, few, short, not (pool or labels.all_alike()))
    parts = outputs.moments
    if work.chunks > 1:
        parts = plan.space((work.chunks, 6, rows, layout.channels), parts)
    plan.launch(
        partial_comoments,
        work.chunks * columns,
        feats_a,
        feats_b,
        labels,
        outputs._replace(moments=parts),
        layout.in_vectors(*vectors),
        rows,
        *work,
        KIND=kind,
        POOL=pool,
        TILE=tile,
        SEARCH=LABELS,
        **lanes_for(feats_a, doubled),
    )
    if work.chunks > 1:
        merge(plan, parts, outputs, layout.channels, kind)


def _run(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    source: Tensor | None,
    factors: int,
    groups: int,
    channel_dim: int,
    pool: bool,
    kind: int,
    outputs: Outputs,
) -> None:
    """Launch what the call needs, planned when there was one of its form, or for the first time."""
    tensors = feats_a, feats_b, factor, source, *outputs
    # Other outputs than a state are made for the call, and of one form.
    given = form_of(*tensors[:5]) if kind == STATE.value else form_of(*tensors[:4])
    form = (factors, groups, channel_dim, pool, kind, given)
    plan = find(form, feats_a)
    if plan is not None:
        plan.repeat(*tensors)
        return
    plan = Plan(*tensors)
    labels = labels_of(factor, factors, source, groups)
    with torch.cuda.device_of(feats_a):
        layout = layout_of(feats_a, feats_b, channel_dim)
        _launch(plan, feats_a, feats_b, layout, labels, groups * factors, pool, outputs, kind)
    keep(form, plan)


def comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    """Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab. Pairs of no factor count nowhere."""
    out = feats_a.new_empty((6, num_factors, feats_a.shape[channel_dim]), dtype=torch.float64)
    _run(feats_a, feats_b, factor, None, num_factors, 1, channel_dim, pool, MOMENTS.value, Outputs(out))
    return out


def channel_bias(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    num_factors: int,
    channel_dim: int,
    pool: bool,
    pearson: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mutual information and correlation, (F, C) float64, and the count (F,) int64; without labels no F."""
    channels = feats_a.shape[channel_dim]
    shape = (channels,) if factor is None else (num_factors, channels)
    mi = feats_a.new_empty(shape, dtype=torch.float64)
    corr = feats_a.new_empty(shape, dtype=torch.float64)
    number = feats_a.new_empty(shape[:-1], dtype=torch.int64)
    outputs = Outputs(mi, mi, corr, number)  # where moments would go nothing is written of them
    kind = PEARSON.value if pearson else INTRACLASS.value
    _run(feats_a, feats_b, factor, None, num_factors, 1, channel_dim, pool, kind, outputs)
    return mi, corr, number


def update_comoments(
    moments: Tensor,
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    source: Tensor | None,
    channel_dim: int,
    pool: bool,
) -> Tensor | None:
    """Merge pairs into moments (6, F, C), or (6, G, F, C) by source % G, in place; touch no row of no pair.

    Return None, with nothing added, where the moments do not lie end to end.
    """
    if not moments.is_contiguous():
        return None
    factors, groups = moments.shape[-2], moments.shape[1] if moments.ndim == 4 else 1
    _run(feats_a, feats_b, factor, source, factors, groups, channel_dim, pool, STATE.value, Outputs(moments, moments))
    return moments
