"""Co-moments of feature pairs, correlation and mutual information: one pass over memory, then a merge of the parts.

A program sums a stretch of the samples of a block of channels around a shift that is one of these samples, so that the
squares stay small and equal samples have no variance at all. Partial results are float64 and are merged in a fixed
order: a result depends on nothing but its input and the device.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdfast.kernels.launch import THREADS, options, processors, registers
from sdfast.kernels.layout import Layout, Strides, join, plain, positions, size_of
from sdfast.kernels.moments import INTRACLASS, MERGED, MOMENTS, PEARSON, Outputs, merge, write
from sdfast.kernels.plan import Plan, find, form_of, keep
from sdfast.kernels.pooling import pool_positions, splits_of
from sdfast.kernels.sample_comoments import of_samples
from sdfast.kernels.samples import Tile, around, in_channels, lanes, members, pooled, shift_of, shift_to_pool, tile_of

TILE = 4096  # bytes of one tensor that a program loads at once
PROGRAMS = 16  # for each multiprocessor: several run at once, and the last to finish do not wait long
SMALL = 1 << 21  # bytes of one tensor, up to which pooled features take one launch
ALONE = 1 << 20  # bytes of what stretches of positions have as means, that one program takes
FEW_BYTES = 1 << 15  # of one tensor, that a program of small features takes at least
LONG = 128  # positions of samples that a kernel of its own pools
HALF_STEPS = 32  # tiles summed in float32 before the sum goes on in float64
LABELS = 128  # read at once


@triton.jit
def _begin(span, row, length, pieces):
    """Return the first tile of a span."""
    return span // pieces * row + span % pieces * length


@triton.jit
def _end(span, row, length, pieces):
    """Return the tile after the last of a span."""
    return tl.minimum(_begin(span, row, length, pieces) + length, (span // pieces + 1) * row)


@triton.jit
def _total(lanes):
    """Sum lanes (n, p, c) to (c,) float64."""
    return tl.sum(tl.sum(lanes.to(tl.float64), axis=0), axis=0)


@triton.jit
def _add_up(totals, sums):
    """Add sums to totals, which are float64."""
    return (
        totals[0] + sums[0].to(tl.float64),
        totals[1] + sums[1].to(tl.float64),
        totals[2] + sums[2].to(tl.float64),
        totals[3] + sums[3].to(tl.float64),
        totals[4] + sums[4].to(tl.float64),
    )


@triton.jit
def _not_negative(m2):
    """Return a sum of squares without what rounding took too much; NaN stays."""
    return tl.where(m2 < 0, 0, m2)


@triton.jit
def _add(sums, da, db, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Add samples (n, p, c), their squares and their products to what each thread holds of them."""
    return (
        sums[0] + lanes(da, N_TIMES, P_TIMES, VECTOR),
        sums[1] + lanes(db, N_TIMES, P_TIMES, VECTOR),
        sums[2] + lanes(da * da, N_TIMES, P_TIMES, VECTOR),
        sums[3] + lanes(db * db, N_TIMES, P_TIMES, VECTOR),
        sums[4] + lanes(da * db, N_TIMES, P_TIMES, VECTOR),
    )


class Work(NamedTuple):
    """How tiles are shared out: a program takes a chunk of spans, and sums a span before it looks at the next.

    With labels all tiles of a span are of the same pairs, so that it is passed over where these are of other factors.
    """

    row: int  # tiles that spans lie in
    length: int  # tiles of a span; the last of a row may have fewer
    pieces: int  # spans of a row
    spans: int
    steps: int  # spans of a chunk
    chunks: int


@triton.jit(do_not_specialize=["factors", "row", "length", "pieces", "spans", "steps", "chunks"])
def partial_comoments(
    a,
    b,
    labels,  # (N,), or None
    label_stride,
    outputs,
    layout,
    factors,
    row,  # of `Work`
    length,
    pieces,
    spans,
    steps,
    chunks,
    KIND: tl.constexpr,
    POOL: tl.constexpr,
    LANE: tl.constexpr,
    TILE: tl.constexpr,
    SEARCH: tl.constexpr,  # labels read at once
):
    """Write the co-moments of one chunk of tiles, one factor and one block of channels."""
    program = tl.program_id(0)
    batch = plain(layout.batch)
    channels = layout.channels * layout.c_vector
    size = size_of(layout)
    blocks = (channels + TILE.c - 1) // TILE.c
    factor = program % factors
    chunk = program // factors // blocks
    c = (program // factors % blocks).to(tl.int64) * TILE.c + tl.arange(0, TILE.c)[None, None, :]

    p_tiles = ((size + TILE.p - 1) // TILE.p).to(tl.int32)
    n_steps = 1 if POOL else p_tiles  # tiles of the same pairs
    first = chunk * steps
    last = tl.minimum(first + steps, spans)

    # Three samples of this factor, as far apart as the chunk has them.
    n_0 = (_begin(first, row, length, pieces) // n_steps).to(tl.int64) * TILE.n
    n_2 = ((_end(last - 1, row, length, pieces) - 1) // n_steps).to(tl.int64) * TILE.n + TILE.n - 1
    n_2 = tl.minimum(n_2, batch - 1)
    n_1 = (n_0 + n_2) // 2
    if labels is not None:
        low, middle, high = n_2, n_2, n_0
        for searched in range(n_0, n_2 + 1, SEARCH):
            index = searched + tl.arange(0, SEARCH)
            found = tl.load(labels + index * label_stride, mask=index <= n_2, other=-1) == factor
            low = tl.minimum(low, tl.min(tl.where(found, index, n_2), axis=0))
            middle = tl.minimum(middle, tl.min(tl.where(found & (index >= n_1), index, n_2), axis=0))
            high = tl.maximum(high, tl.max(tl.where(found, index, n_0), axis=0))
        n_0, n_1, n_2 = low, tl.minimum(middle, high), high
    if POOL:
        shift_a = shift_to_pool(a, layout.strides[0], layout, batch, c, LANE)
        shift_b = shift_to_pool(b, layout.strides[1], layout, batch, c, LANE)
        origin_a = tl.full([1, 1, TILE.c], 0, tl.float64)
        origin_b = origin_a
    else:
        shift_a = shift_of(a, layout.strides[0], layout, n_0, n_1, n_2, c, LANE)
        shift_b = shift_of(b, layout.strides[1], layout, n_0, n_1, n_2, c, LANE)
        origin_a, origin_b = shift_a.to(tl.float64), shift_b.to(tl.float64)

    share = 1 / size.to(tl.float64)
    # Sums of as many lanes as there are threads: of pooled samples in float64.
    VECTOR: tl.constexpr = 1 if POOL else layout.p_vector
    P_TIMES: tl.constexpr = 1 if POOL else TILE.p_times
    P: tl.constexpr = 1 if POOL else TILE.p // (P_TIMES * VECTOR)
    zeros = tl.full([TILE.n // TILE.n_times, P, TILE.c], 0, tl.float64 if POOL else LANE)
    sums = (zeros, zeros, zeros, zeros, zeros)
    totals = sums  # in float64 where sums are in float32
    if zeros.dtype != tl.float64:
        wide = zeros.to(tl.float64)
        totals = (wide, wide, wide, wide, wide)
    counts = tl.full([TILE.n // TILE.n_times, 1, 1], 0, tl.int32)
    for span in range(first, last):
        begin, end = _begin(span, row, length, pieces), _end(span, row, length, pieces)
        if labels is not None and not POOL:
            pairs = tl.cast(begin // n_steps, tl.int64) * TILE.n + tl.arange(0, TILE.n)
            wanted = tl.load(labels + pairs * label_stride, mask=pairs < batch, other=-1) == factor
            end = tl.where(tl.max(wanted.to(tl.int32), axis=0) > 0, end, begin)
        for tile in tl.range(begin, end, num_stages=TILE.stages):
            n = tl.cast(tile // n_steps, tl.int64) * TILE.n + tl.arange(0, TILE.n)[:, None, None]
            member = members(n, batch, TILE)
            if labels is not None and (POOL or TILE.n > 1):
                member &= tl.load(labels + n * label_stride, mask=member, other=-1) == factor
            if POOL:
                inside = in_channels(member, c, channels, TILE)
                da, db = pooled(a, b, layout, n, c, inside, 0, p_tiles, share, shift_a, shift_b, LANE, TILE)
                # Pooled samples may be constant though the positions are not: they are shifted by the first of them.
                if tile == n_0 // TILE.n:
                    origin_a = tl.sum(tl.where(n == n_0, da, 0), axis=0)[None, :, :]
                    origin_b = tl.sum(tl.where(n == n_0, db, 0), axis=0)[None, :, :]
                da = tl.where(member, da - origin_a, 0)
                db = tl.where(member, db - origin_b, 0)
                found = member.to(tl.int32)
            else:
                start = tl.cast(tile % n_steps, tl.int64) * TILE.p
                p = start + tl.arange(0, TILE.p)[None, :, None]
                inside = in_channels(member & (p < size), c, channels, TILE)
                da = around(a, layout.strides[0], layout, n, c, p, inside, shift_a)
                db = around(b, layout.strides[1], layout, n, c, p, inside, shift_b)
                found = tl.where(member, tl.minimum(size - start, TILE.p), 0).to(tl.int32)
            counts += lanes(found, TILE.n_times, 1, 1)
            sums = _add(sums, da, db, TILE.n_times, P_TIMES, VECTOR)
        if zeros.dtype != tl.float64:
            totals = _add_up(totals, sums)
            sums = (zeros, zeros, zeros, zeros, zeros)
    if zeros.dtype == tl.float64:
        totals = sums

    count = tl.sum(tl.sum(tl.sum(counts.to(tl.int64), axis=0), axis=0), axis=0).to(tl.float64)
    samples = tl.maximum(count, 1)
    total_a, total_b = _total(totals[0]), _total(totals[1])
    mean_a, mean_b = total_a / samples, total_b / samples
    m2_a = _not_negative(_total(totals[2]) - total_a * mean_a)
    m2_b = _not_negative(_total(totals[3]) - total_b * mean_b)
    c_ab = _total(totals[4]) - total_a * mean_b

    mean_a = tl.where(count > 0, mean_a + tl.reshape(origin_a, [TILE.c]), 0)
    mean_b = tl.where(count > 0, mean_b + tl.reshape(origin_b, [TILE.c]), 0)
    # Found anew: what is kept beside a loop takes registers from it.
    part, place = program // (factors * blocks), program % (factors * blocks)
    c = (place // factors).to(tl.int64) * TILE.c + tl.arange(0, TILE.c)
    moments = (count + tl.full([TILE.c], 0, tl.float64), mean_a, mean_b, m2_a, m2_b, c_ab)
    column = (place % factors).to(tl.int64) * channels + c
    columns = factors.to(tl.int64) * channels
    write(moments, column, c < channels, columns, channels, part.to(tl.int64), chunks, outputs, KIND)


def share_out(n_tiles: int, p_tiles: int, programs: int, few: int, half: bool, labelled: bool) -> Work:
    """Return which tiles a program takes; `programs` are wanted for each block of channels, of `few` tiles at least."""
    tiles = n_tiles * p_tiles
    wanted = max(triton.cdiv(tiles, max(programs, 1)), few)
    rows, row = (n_tiles, p_tiles) if labelled else (1, tiles)
    pieces = triton.cdiv(row, min(wanted, HALF_STEPS) if half else wanted)
    length = triton.cdiv(row, pieces)
    pieces = triton.cdiv(row, length)
    spans = rows * pieces
    steps = max(triton.cdiv(wanted, length), triton.cdiv(spans, MERGED))
    return Work(row, length, pieces, spans, steps, triton.cdiv(spans, steps))


def layout_of(feats_a: Tensor, feats_b: Tensor, channel_dim: int) -> Layout:
    """Return how both lie in memory. The order of the samples makes no difference, so that of memory will do."""
    dims = [(feats_a.shape[d], feats_a.stride(d), feats_b.stride(d)) for d in positions(feats_a, channel_dim)]
    sizes, *p_strides = zip(*(join(sorted(dims, key=lambda dim: -dim[1])) or [(1, 0, 0)]), strict=True)
    batch, channels = feats_a.shape[0], feats_a.shape[channel_dim]
    pairs = zip((feats_a, feats_b), p_strides, strict=True)
    strides = tuple(Strides(x.stride(0), x.stride(channel_dim), p) for x, p in pairs)
    return Layout(batch, channels, feats_a.numel() // (batch * channels), sizes, strides)


def _launch(plan: Plan, feats_a, feats_b, layout: Layout, factor, num_factors, pool, outputs: Outputs, kind) -> None:
    """Run the kernels that write `outputs`."""
    pool = pool and layout.size > 1
    if pool:
        width, vectors = feats_a.element_size(), layout.vectors(feats_a, feats_b)
        tile = tile_for(layout, width, vectors, False)
        splits, stretch = splits_of(triton.cdiv(layout.size, tile.p))
        # Where samples are long, or would be read once a factor. Small features take one launch all the same.
        large = bytes_of(layout, width) >= SMALL
        if splits > 1 or (large and (factor is not None or layout.size >= LONG)):
            constants = {"LANE": tl.float32 if width == 2 else tl.float64, "TILE": tile, **options(feats_a)}
            packed = layout.in_vectors(*vectors)
            feats_a, feats_b = pool_positions(plan, feats_a, feats_b, layout, packed, splits, stretch, **constants)
            if splits == 1:
                return of_samples(plan, feats_a, feats_b, factor, num_factors, outputs, kind)
            layout = layout_of(feats_a, feats_b, 1)
    # A program of small features sums several tiles faster than a second kernel merges what several programs found.
    small = bytes_of(layout, feats_a.element_size()) < (SMALL if pool else SMALL // 2)
    few = FEW_BYTES if small else 0
    if pool and splits > 1:
        few = ALONE
    _sum_up(plan, feats_a, feats_b, layout, factor, num_factors, pool, few, outputs, kind)


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
    plan: Plan, feats_a, feats_b, layout: Layout, factor, num_factors, pool, few, outputs: Outputs, kind
) -> None:
    """Run the kernels of co-moments and of their merge; a program takes at least `few` bytes of one tensor."""
    width = feats_a.element_size()
    vectors = layout.vectors(feats_a, feats_b)
    tile = tile_for(layout, width, vectors, pool)
    n_tiles, p_tiles = triton.cdiv(layout.batch, tile.n), 1 if pool else triton.cdiv(layout.size, tile.p)
    columns = triton.cdiv(layout.channels, tile.c) * num_factors
    few = triton.cdiv(max(few, 1), tile.n * tile.c * width * (layout.size if pool else tile.p))
    programs = PROGRAMS * processors(feats_a) // columns
    work = share_out(n_tiles, p_tiles, programs, few, width == 2 and not pool, factor is not None and not pool)
    parts = outputs.moments
    if work.chunks > 1:
        parts = plan.space((work.chunks, 6, num_factors, layout.channels), parts)
    plan.launch(
        partial_comoments,
        work.chunks * columns,
        feats_a,
        feats_b,
        factor,
        0 if factor is None else factor.stride(0),
        outputs._replace(moments=parts),
        layout.in_vectors(*vectors),
        num_factors,
        *work,
        KIND=kind,
        POOL=pool,
        LANE=tl.float32 if width == 2 else tl.float64,
        TILE=tile,
        SEARCH=LABELS,
        **options(feats_a),
        **registers(feats_a),
    )
    if work.chunks > 1:
        merge(plan, parts, outputs, layout.channels, kind)


def _run(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind, outputs: Outputs, form) -> None:
    """Launch for the first time on tensors of this form."""
    plan = Plan(feats_a, feats_b, factor, *outputs)
    with torch.cuda.device_of(feats_a):
        layout = layout_of(feats_a, feats_b, channel_dim)
        _launch(plan, feats_a, feats_b, layout, factor, num_factors, pool, outputs, kind.value)
    keep(form, plan)


def comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    """Return (6, F, C) float64: count, mean_a, mean_b, m2_a, m2_b, c_ab. Pairs of no factor count nowhere."""
    shape = (6, num_factors, feats_a.shape[channel_dim])
    form = (shape, channel_dim, pool, form_of(feats_a, feats_b, factor))
    out = feats_a.new_empty(shape, dtype=torch.float64)
    plan = find(form, feats_a)
    if plan is None:
        _run(feats_a, feats_b, factor, num_factors, channel_dim, pool, MOMENTS, Outputs(out), form)
    else:
        plan.repeat(feats_a, feats_b, factor, *Outputs(out))
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
    form = (shape, channel_dim, pool, pearson, form_of(feats_a, feats_b, factor))
    mi = feats_a.new_empty(shape, dtype=torch.float64)
    corr = feats_a.new_empty(shape, dtype=torch.float64)
    number = feats_a.new_empty(shape[:-1], dtype=torch.int64)
    outputs = Outputs(mi, mi, corr, number)  # where moments would go nothing is written of them
    plan = find(form, feats_a)
    if plan is None:
        kind = PEARSON if pearson else INTRACLASS
        _run(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind, outputs, form)
    else:
        plan.repeat(feats_a, feats_b, factor, *outputs)
    return mi, corr, number
