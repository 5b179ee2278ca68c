"""Answers of every kernel, into poisoned memory, on fresh features of odd shapes against NumPy; nothing is timed."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

import sdfast
from benchmarks.contest import WRONG, Run, try_it
from benchmarks.device import Device, poisoned
from benchmarks.inputs import pairwise_truth
from benchmarks.plan import Stage
from benchmarks.targets import AIMS, ITSELF, Target
from sdfast.bench import Spread, draw_pair, dtype_text, largest_error
from sdfast.ops import GRANULARITIES, comoments
from tests import truth
from tests.support.dropout import grid_mask, true_dropout
from tests.support.features import LAYOUTS, channels_last, contiguous, transposed
from tests.support.moments import moments_error, true_moments
from tests.support.tolerances import CORRELATION, MOMENTS, PRODUCT

_FACTORS = 3
# No positions; one sample; one channel; a run that is no multiple of anything; many samples; many positions.
_SHAPES = ((300, 70), (1, 63, 5), (37, 1, 300), (9, 16, 3, 5, 7), (500, 33, 4, 7, 7), (70, 130, 2, 8, 8))
_TINY_SHAPES = ((9, 7), (1, 5, 3), (6, 1, 20), (4, 3, 2, 2, 3))
_P = 0.7
# No positions, one, a run that is no multiple of eight draws, several dimensions, many positions.
_DROPPED = ((33, 517), (300, 9, 1), (20, 30, 50), (9, 16, 4, 5, 7), (20, 3, 3000), (6, 70, 4, 14, 14))
_TINY_DROPPED = ((3, 19), (3, 4, 1), (2, 3, 10), (2, 2, 2, 3, 4))
FAR = "far from zero"
_FAR_SHAPES = (((512, 64, 49, 1), contiguous), ((512, 64, 7, 7), channels_last), ((20000, 64), contiguous))
_FIRST_SAMPLES = {  # of each channel, and whether b has it too; 0 is 1e4 standard deviations away
    "no outlier": (None, False),
    "0 in a": (0.0, False),
    "0 in both": (0.0, True),
    "2e4 in both": (2e4, True),
    "50 std in a": (1e4 + 50, False),
}
_MASKS = (None, "coarse", "fine", "bool", "uint8")
_WAYS = ("forward", "in place", "backward")


@dataclass(frozen=True)
class Check:
    """One operation on one dtype; each variant has a name, and returns its error when it is called.

    With a target the largest error is a figure that is judged, too.
    """

    operation: str
    dtype: torch.dtype
    tolerance: float
    variants: list[tuple[str, Callable[[], float]]]
    target: Target | None = None

    @property
    def name(self) -> str:
        return f"check {self.operation} {dtype_text(self.dtype)}"


def hold(check: Check, run: Run) -> None:
    """Run a check with each of ours and write a line for each: the largest error, and in which variant it was."""
    for name, fault in run.device.ours.items():
        worst, where = 0.0, ""
        why = f"absent: {fault}" if fault else run.log.banned(check.name).get(name)
        for variant, error_of in check.variants if why is None else ():
            error, told = try_it(run, check.name, name, run.device.forced(error_of, name))
            if error is None:
                where, why = variant, told
                break
            error = math.inf if math.isnan(error) else error
            if error >= worst:
                worst, where = error, variant
        status = "right" if worst <= check.tolerance else WRONG
        status = status if why is None else "absent" if fault else "failed"
        what = {"stage": check.name, "operation": check.operation, "dtype": dtype_text(check.dtype), "candidate": name}
        what |= {"variants": len(check.variants), "tolerance": check.tolerance, "error": None if why else worst}
        run.log.add("check", **what, where=where, status=status, note=why or "")
        if check.target is not None and why is None and not run.device.rehearses:
            selected = run.device.selected("channel_bias", check.dtype, run.device.large)
            run.log.judge(check.target, "", Spread((worst,)), "", name, name == selected)


def stages(device: Device) -> Iterator[Stage]:
    """Yield the check of each operation and dtype."""
    for (operation, make), dtype in itertools.product(MAKERS.items(), MOMENTS):
        if operation != FAR or dtype.itemsize > 2:  # half precision has no digits there
            name = f"check {operation} {dtype_text(dtype)}"
            yield Stage(name, lambda run, make=make, dtype=dtype: hold(make(dtype, run), run))


def _comoments(dtype: torch.dtype, run: Run) -> Check:
    generator = run.device.generator(run.seed_of(f"comoments {dtype}"))
    draw = partial(draw_pair, dtype=dtype, generator=generator)
    shapes, variants = _TINY_SHAPES if run.device.rehearses else _SHAPES, []
    for i, (layout, pool, labelled) in enumerate(itertools.product(LAYOUTS, (True, False), (False, True))):
        if (run.quick or dtype == torch.float64) and (i + i // 2) % 2:
            continue
        shape = shapes[(i + i // len(shapes)) % len(shapes)]
        a, b = draw(shape)
        # The last factor has no pair.
        labels = torch.randint(_FACTORS - 1, shape[:1], generator=generator, device=a.device) if labelled else None
        other = LAYOUTS[(i // 4 + i % 2) % len(LAYOUTS)]
        error = partial(_moments_error, a, b, labels, layout, other, pool)
        how = f"{layout.__name__}, {other.__name__}{', pooled' * pool}{', labelled' * labelled}"
        variants.append((f"{shape} {how}", error))
    variants.append(("a channel with NaN", partial(_nan_error, *draw((20, 5, 6)))))
    return Check("comoments", dtype, MOMENTS[dtype], variants)


def _moments_error(a, b, labels, layout_a, layout_b, pool) -> float:
    factors = 1 if labels is None else _FACTORS
    with poisoned():
        found = comoments(layout_a(a), layout_b(b), labels, factors, pool=pool)
    return moments_error(found, true_moments(a, b, labels, factors, pool=pool))


def _nan_error(a, b) -> float:
    """Return the error of the other channels; the one with NaN must have NaN."""
    expected, others = true_moments(a, b, pool=False), [0, 1, 3, 4]
    a = a.clone()
    a[3, 2, 1] = torch.nan
    with poisoned():
        found = comoments(a, b, pool=False)
    return moments_error(found[..., others], expected[..., others]) if found[3, 0, 2].isnan() else math.inf


def _channel_bias(dtype: torch.dtype, run: Run) -> Check:
    generator, variants = run.device.generator(run.seed_of(f"channel_bias {dtype}")), []
    shapes = ((20, 24), (10, 3, 4)) if run.device.rehearses else ((32, 512), (500, 33, 4, 7, 7))
    for i, (shape, kind, labelled) in enumerate(itertools.product(shapes, ("pearson", "intraclass"), (False, True))):
        a, b = draw_pair(shape, dtype, generator=generator)
        labels = torch.arange(len(a), device=a.device) % 2 if labelled else None
        error = partial(_bias_error, a, b, labels, kind, i % 3 != 0)
        variants.append((f"{shape} {kind}{', labelled' * labelled}", error))
    return Check("channel_bias", dtype, CORRELATION[dtype], variants)


def _bias_error(a, b, labels, kind, pool) -> float:
    """Return the error of the correlation; mutual information must be that of the correlation found."""
    moments = true_moments(a, b, labels, pool=pool)
    expected = truth.correlation(moments, kind)
    with poisoned():
        found = sdfast.channel_bias(a, b, labels, pool=pool, kind=kind)
    mi, corr, count = (x.cpu().numpy() for x in found)
    if labels is None:
        expected, moments = expected[0], moments[:, 0]
    counted = np.array_equal(count, moments[0, ..., 0])
    informed = largest_error(mi, truth.mutual_information(corr)) < 1e-12 * max(1.0, float(np.abs(mi).max()))
    return largest_error(corr, expected) if counted and informed else math.inf


def _pairwise(dtype: torch.dtype, run: Run) -> Check:
    generator, variants = run.device.generator(run.seed_of(f"pairwise {dtype}")), []
    shapes = ((12, 3, 5),) if run.device.rehearses else ((2, 1, 3), (1000, 65, 130), (4100, 257, 64))
    for (samples, left, right), layout in itertools.product(shapes, (contiguous, transposed)):
        a, b = draw_pair((samples, left + right), dtype, generator=generator)
        a, b = a[:, :left].clone(), b[:, left:].clone()
        a[:, 0] = 0.1  # never varies
        variants.append((f"{samples, left, right} {layout.__name__}", partial(_matrix_error, a, b, layout)))
    return Check("pairwise_correlation", dtype, PRODUCT[dtype], variants)


def _matrix_error(a, b, layout) -> float:
    with poisoned():
        found = sdfast.pairwise_correlation(layout(a), layout(b))
    return largest_error(found.cpu(), pairwise_truth(a, b))


def far_from_zero(dtype: torch.dtype, run: Run) -> Check:
    """Return the check of features with mean 1e4 and std 1, the first sample an outlier."""
    generator, variants = run.device.generator(run.seed_of(f"{FAR} {dtype}")), []
    for (shape, layout), (name, (outlier, both)) in itertools.product(_FAR_SHAPES, _FIRST_SAMPLES.items()):
        shape = (shape[0] // 50, 4, *shape[2:]) if run.device.rehearses else shape
        a, b = (x.add_(1e4) for x in draw_pair(shape, dtype, generator=generator))
        for x in [] if outlier is None else [a, b] if both else [a]:
            x[(0, slice(None), *[0] * (x.ndim - 2))] = outlier
        error = partial(corr_error, layout(a), layout(b), sdfast.channel_bias)
        variants.append((f"{shape} {layout.__name__}, {name}", error))
    aims = AIMS[run.device.kind].get(f"co-moments, {FAR} {dtype_text(dtype)}", {})
    return Check(FAR, dtype, 1e-6, variants, aims.get(ITSELF))


def corr_error(a: Tensor, b: Tensor, call: Callable) -> float:
    """Return the error of the correlation, every position a sample."""
    with poisoned():
        corr = call(a, b, pool=False)[1]
    return largest_error(corr.cpu(), truth.correlation(true_moments(a, b, pool=False))[0])


def _dropout(dtype: torch.dtype, run: Run) -> Check:
    """Return the check of a dtype: masks, weights, granularities, layouts and ways in turn."""
    generator = torch.Generator().manual_seed(run.seed_of(f"static_dropout {dtype}"))
    shapes = _TINY_DROPPED if run.device.rehearses else _DROPPED
    variants = []
    for i in range(12 if run.quick else 30):
        shape, layout, way = shapes[i % len(shapes)], LAYOUTS[i // 2 % 4], _WAYS[i % 3]
        granularity, rescale = GRANULARITIES[i // 3 % 3], i % 4 != 1
        if run.device.rehearses and dtype == torch.bfloat16:
            rescale = False  # Triton's interpreter cuts bfloat16 off where a GPU rounds
        x = torch.randn(shape, generator=generator).add_(2).to(dtype)
        x.view(-1)[::97] = torch.nan if i % 2 else torch.inf  # gone where it is dropped, kept elsewhere
        mask = _MASKS[i // 2 % 5] and grid_mask(shape, _MASKS[i // 2 % 5], seed=run.seed_of(f"mask {dtype} {i}"))
        weight = torch.rand(shape[1], generator=generator) if i % 5 in (1, 2) else None
        seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=generator))
        error = partial(_wrong_share, run.device.torch, x, layout, way, seed, mask, weight, granularity, rescale)
        guided = f"{_MASKS[i // 2 % 5] or 'no'} mask{', weights' * (weight is not None)}"
        how = f"{layout.__name__}, {way}, {granularity}, {guided}{', rescaled' * rescale}"
        variants.append((f"{shape} {how}", error))
    return Check("static_dropout", dtype, 0.0, variants)


def _wrong_share(device, x, layout, way, seed, mask, weight, *how) -> float:
    """Return the share of elements that are not those of the truth, bit for bit."""
    expected = true_dropout(x, seed, _P, mask, weight, *how)
    x, mask, weight, seed = (None if t is None else t.to(device) for t in (x, mask, weight, torch.tensor(seed)))
    x, settings = layout(x), {"mask": mask, "channel_weight": weight, "seed": seed}
    drop = partial(sdfast.static_dropout, p=_P, **settings, **dict(zip(("granularity", "rescale"), how, strict=True)))
    with poisoned():
        if way == "backward":
            leaf = torch.ones_like(x).requires_grad_()
            (found,) = torch.autograd.grad(drop(leaf), leaf, x)
        else:
            found = drop(x, inplace=way == "in place")
    if found.shape != expected.shape:
        return math.inf
    found = found.detach().cpu()
    same = (found == expected) | (found.isnan() & expected.isnan())
    return float((~same).double().mean())


MAKERS: dict[str, Callable[[torch.dtype, Run], Check]] = {
    "comoments": _comoments,
    "channel_bias": _channel_bias,
    FAR: far_from_zero,
    "pairwise_correlation": _pairwise,
    "static_dropout": _dropout,
}
