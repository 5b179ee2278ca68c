"""Answers of every kernel on fresh random features of odd shapes against NumPy in float64, to the bars of the CPU.

What is handed to a kernel to write to is poisoned. Nothing here is timed.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

import sdfast
from benchmarks.gpu.answers import Check
from benchmarks.gpu.device import poisoned
from benchmarks.gpu.dropout_checks import dropout_check
from benchmarks.gpu.features import LAYOUTS, dtype_text, in_layout, seed_of
from benchmarks.gpu.race import Context
from benchmarks.targets import ERROR
from sdfast.bench import draw_pair, largest_error
from sdfast.ops import comoments
from tests import truth as reference
from tests.support.tolerances import CORRELATION, MOMENTS, PRODUCT

_FACTORS = 3
_HARD = "mean/std = 1e4"
# No positions; one sample; one channel; a run that is no multiple of anything; many samples; many positions.
_SHAPES = ((300, 70), (1, 63, 5), (37, 1, 300), (9, 16, 3, 5, 7), (500, 33, 4, 7, 7), (70, 130, 2, 8, 8))
_TINY_SHAPES = ((9, 7), (1, 5, 3), (6, 1, 20), (4, 3, 2, 2, 3))


def plans() -> Iterator[tuple[str, Callable[[Context], Check]]]:
    """Yield the name of each check, and what draws it."""
    makers = {
        "comoments": _comoments,
        "channel_bias": _channel_bias,
        _HARD: _hard,
        "pairwise_correlation": _pairwise,
        "static_dropout": dropout_check,
    }
    for (operation, make), dtype in itertools.product(makers.items(), MOMENTS):
        if operation != _HARD or dtype in (torch.float32, torch.float64):
            yield f"check {operation} {dtype_text(dtype)}", partial(make, dtype)


def moments_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest error of (6, F, C) co-moments, each to its own scale: means to the spread, products to m2."""
    count, mean_a, mean_b, m2_a, m2_b, _ = expected
    if not np.array_equal(found[0], count):
        return math.inf
    spread = np.sqrt((m2_a + m2_b) / np.maximum(count, 1))
    means = (np.maximum(np.maximum(np.abs(mean), spread), 1e-9) for mean in (mean_a, mean_b))
    products = (np.maximum(scale, 1e-6) for scale in (m2_a, m2_b, np.sqrt(m2_a * m2_b)))
    return largest_error((found - expected)[1:] / np.stack([*means, *products]), 0.0)


def _shapes(context: Context) -> tuple[tuple[int, ...], ...]:
    return _TINY_SHAPES if context.device.rehearses else _SHAPES


def _double(*feats: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(x.double().cpu().numpy() for x in feats)


def _comoments(dtype: torch.dtype, context: Context) -> Check:
    generator = context.device.generator(seed_of(context.seed, f"comoments {dtype}"))
    shapes, variants = _shapes(context), []
    for i, (layout, pool, labelled) in enumerate(itertools.product(LAYOUTS, (True, False), (False, True))):
        if (context.quick or dtype == torch.float64) and (i + i // 2) % 2:
            continue
        shape = shapes[(i + i // len(shapes)) % len(shapes)]
        a, b = draw_pair(shape, dtype, generator=generator)
        # The last factor has no pair.
        labels = torch.randint(_FACTORS - 1, shape[:1], generator=generator, device=a.device) if labelled else None
        other = LAYOUTS[(i // 4 + i % 2) % len(LAYOUTS)]
        run = partial(_moments_error, a, b, labels, layout, other, pool)
        variants.append((f"{shape} {layout}, {other}{', pooled' * pool}{', labelled' * labelled}", run))
    variants.append(("a channel with NaN", partial(_nan_error, *draw_pair((20, 5, 6), dtype, generator=generator))))
    return Check("comoments", dtype, MOMENTS[dtype], variants)


def _moments_error(a, b, labels, layout_a, layout_b, pool) -> float:
    factors = 1 if labels is None else _FACTORS
    known = None if labels is None else labels.cpu().numpy()
    expected = reference.comoments(*_double(a, b), known, factors, pool=pool)
    with poisoned():
        found = comoments(in_layout(a, layout_a), in_layout(b, layout_b), labels, factors, pool=pool)
    return moments_error(found.cpu().numpy(), expected)


def _nan_error(a, b) -> float:
    """Return the error of the other channels; the one with NaN must have NaN."""
    expected = reference.comoments(*_double(a, b), pool=False)
    spoilt = a.clone()
    spoilt[3, 2, 1] = torch.nan
    with poisoned():
        found = comoments(spoilt, b, pool=False).cpu().numpy()
    if not np.isnan(found[3, 0, 2]):
        return math.inf
    others = [0, 1, 3, 4]
    return moments_error(found[..., others], expected[..., others])


def _channel_bias(dtype: torch.dtype, context: Context) -> Check:
    generator = context.device.generator(seed_of(context.seed, f"channel_bias {dtype}"))
    shapes = ((20, 24), (10, 3, 4)) if context.device.rehearses else ((32, 512), (500, 33, 4, 7, 7))
    variants = []
    for i, (shape, kind, labelled) in enumerate(itertools.product(shapes, ("pearson", "intraclass"), (False, True))):
        a, b = draw_pair(shape, dtype, generator=generator)
        labels = torch.arange(len(a), device=a.device) % 2 if labelled else None
        pool = i % 3 != 0
        variants.append((f"{shape} {kind}{', labelled' * labelled}", partial(_bias_error, a, b, labels, kind, pool)))
    return Check("channel_bias", dtype, CORRELATION[dtype], variants)


def _bias_error(a, b, labels, kind, pool) -> float:
    """Return the error of the correlation; mutual information must be that of the correlation found."""
    known = None if labels is None else labels.cpu().numpy()
    moments = reference.comoments(*_double(a, b), known, pool=pool)
    expected = reference.correlation(moments, kind)
    with poisoned():
        found = sdfast.channel_bias(a, b, labels, pool=pool, kind=kind)
    mi, corr, count = (x.cpu().numpy() for x in found)
    if labels is None:
        expected, moments = expected[0], moments[:, 0]
    counted = np.array_equal(count, moments[0, ..., 0])
    informed = largest_error(mi, reference.mutual_information(corr)) < 1e-12 * max(1.0, float(np.abs(mi).max()))
    return largest_error(corr, expected) if counted and informed else math.inf


def _hard(dtype: torch.dtype, context: Context) -> Check:
    """A mean of 1e4 standard deviations, and a first sample that is an outlier in neither, one or both."""
    generator = context.device.generator(seed_of(context.seed, f"hard {dtype}"))
    samples = 300 if context.device.rehearses else 20000
    variants = []
    for layout, outlier in itertools.product(("rows", "channels-last", "contiguous"), (None, 0.0, 2e4, 1e4 + 50)):
        shape = (samples, 4) if layout == "rows" else (samples // 50, 4, 50)
        a, b = (x.add_(1e4) for x in draw_pair(shape, dtype, generator=generator))
        first = (0, slice(None), *[0] * (a.ndim - 2))
        if outlier is not None:
            a[first] = outlier
            if outlier < 1e4 + 50:
                b[first] = outlier
        variants.append((f"{layout}, outlier {outlier}", partial(_corr_error, a, b, layout)))
    return Check(_HARD, dtype, ERROR.reach, variants, target=ERROR if dtype == torch.float32 else None)


def _corr_error(a, b, layout) -> float:
    expected = reference.correlation(reference.comoments(*_double(a, b), pool=False))[0]
    with poisoned():
        found = sdfast.channel_bias(in_layout(a, layout), in_layout(b, layout), pool=False)
    return largest_error(found.corr.cpu(), expected)


def _pairwise(dtype: torch.dtype, context: Context) -> Check:
    generator = context.device.generator(seed_of(context.seed, f"pairwise {dtype}"))
    shapes = ((12, 3, 5),) if context.device.rehearses else ((2, 1, 3), (1000, 65, 130), (4100, 257, 64))
    variants = []
    for (samples, left, right), layout in itertools.product(shapes, ("contiguous", "transposed")):
        a, b = draw_pair((samples, left + right), dtype, generator=generator)
        a, b = a[:, :left].clone(), b[:, left:].clone()
        a[:, 0] = 0.1  # never varies
        variants.append((f"{samples, left, right} {layout}", partial(_matrix_error, a, b, layout)))
    return Check("pairwise_correlation", dtype, PRODUCT[dtype], variants)


def _matrix_error(a, b, layout) -> float:
    x, y = _double(a, b)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    x[:, 0] = 0
    with np.errstate(all="ignore"):
        expected = np.nan_to_num((x / np.linalg.norm(x, axis=0)).T @ (y / np.linalg.norm(y, axis=0)))
    with poisoned():
        found = sdfast.pairwise_correlation(in_layout(a, layout), in_layout(b, layout))
    return largest_error(found.cpu(), expected)
