"""Answers of every kernel on fresh random features of odd shapes against NumPy, to the bars of the tests.

What is handed to a kernel to write to is poisoned. Nothing here is timed.
"""

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
from benchmarks.inputs import LAYOUTS, dtype_text, in_layout
from benchmarks.pairwise_correlation import truth_of
from benchmarks.plan import Stage
from benchmarks.targets import Target
from sdfast.bench import Spread, draw_pair, largest_error
from sdfast.ops import GRANULARITIES, comoments
from tests import truth
from tests.support.tolerances import CORRELATION, MOMENTS, PRODUCT

_FACTORS = 3
# No positions; one sample; one channel; a run that is no multiple of anything; many samples; many positions.
_SHAPES = ((300, 70), (1, 63, 5), (37, 1, 300), (9, 16, 3, 5, 7), (500, 33, 4, 7, 7), (70, 130, 2, 8, 8))
_TINY_SHAPES = ((9, 7), (1, 5, 3), (6, 1, 20), (4, 3, 2, 2, 3))
_P = 0.7
# No positions, one, a run that is no multiple of eight draws, several dimensions, many positions.
_DROPPED = ((33, 517), (300, 9, 1), (20, 30, 50), (9, 16, 4, 5, 7), (20, 3, 3000), (6, 70, 4, 14, 14))
_TINY_DROPPED = ((3, 19), (3, 4, 1), (2, 3, 10), (2, 2, 2, 3, 4))
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
            run.log.judge(check.target, "", Spread((worst,)), "", name, name == run.device.selected("channel_bias"))


def stages(device: Device) -> Iterator[Stage]:
    """Yield the check of each operation and dtype."""
    for (operation, make), dtype in itertools.product(MAKERS.items(), MOMENTS):
        yield Stage(f"check {operation} {dtype_text(dtype)}", partial(_draw_and_hold, make, dtype))


def _draw_and_hold(make: Callable[[torch.dtype, Run], Check], dtype: torch.dtype, run: Run) -> None:
    hold(make(dtype, run), run)


def moments_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest error of (6, F, C) co-moments, each to its own scale: means to the spread, products to m2."""
    count, mean_a, mean_b, m2_a, m2_b, _ = expected
    if not np.array_equal(found[0], count):
        return math.inf
    spread = np.sqrt((m2_a + m2_b) / np.maximum(count, 1))
    means = (np.maximum(np.maximum(np.abs(mean), spread), 1e-9) for mean in (mean_a, mean_b))
    products = (np.maximum(scale, 1e-6) for scale in (m2_a, m2_b, np.sqrt(m2_a * m2_b)))
    return largest_error((found - expected)[1:] / np.stack([*means, *products]), 0.0)


def _host(*tensors: Tensor | None) -> tuple[np.ndarray | None, ...]:
    """Return tensors as NumPy has them: features in float64."""
    return tuple(None if x is None else (x.double() if x.is_floating_point() else x).cpu().numpy() for x in tensors)


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
        variants.append((f"{shape} {layout}, {other}{', pooled' * pool}{', labelled' * labelled}", error))
    variants.append(("a channel with NaN", partial(_nan_error, *draw((20, 5, 6)))))
    return Check("comoments", dtype, MOMENTS[dtype], variants)


def _moments_error(a, b, labels, layout_a, layout_b, pool) -> float:
    factors = 1 if labels is None else _FACTORS
    expected = truth.comoments(*_host(a, b, labels), factors, pool=pool)
    with poisoned():
        found = comoments(in_layout(a, layout_a), in_layout(b, layout_b), labels, factors, pool=pool)
    return moments_error(found.cpu().numpy(), expected)


def _nan_error(a, b) -> float:
    """Return the error of the other channels; the one with NaN must have NaN."""
    expected, others = truth.comoments(*_host(a, b), pool=False), [0, 1, 3, 4]
    a = a.clone()
    a[3, 2, 1] = torch.nan
    with poisoned():
        found = comoments(a, b, pool=False).cpu().numpy()
    return moments_error(found[..., others], expected[..., others]) if np.isnan(found[3, 0, 2]) else math.inf


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
    moments = truth.comoments(*_host(a, b, labels), pool=pool)
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
    for (samples, left, right), layout in itertools.product(shapes, ("contiguous", "transposed")):
        a, b = draw_pair((samples, left + right), dtype, generator=generator)
        a, b = a[:, :left].clone(), b[:, left:].clone()
        a[:, 0] = 0.1  # never varies
        variants.append((f"{samples, left, right} {layout}", partial(_matrix_error, a, b, layout)))
    return Check("pairwise_correlation", dtype, PRODUCT[dtype], variants)


def _matrix_error(a, b, layout) -> float:
    with poisoned():
        found = sdfast.pairwise_correlation(in_layout(a, layout), in_layout(b, layout))
    return largest_error(found.cpu(), truth_of(a, b))


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
        mask = _mask(shape, _MASKS[i // 2 % 5], generator)
        weight = torch.rand(shape[1], generator=generator) if i % 5 in (1, 2) else None
        seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=generator))
        error = partial(_wrong_share, run.device.torch, x, layout, way, seed, mask, weight, granularity, rescale)
        guided = f"{_MASKS[i // 2 % 5] or 'no'} mask{', weights' * (weight is not None)}"
        variants.append((f"{shape} {layout}, {way}, {granularity}, {guided}{', rescaled' * rescale}", error))
    return Check("static_dropout", dtype, 0.0, variants)


def _mask(shape: tuple[int, ...], kind: str | None, generator: torch.Generator) -> Tensor | None:
    if kind is None:
        return None
    sizes = shape[2:]
    if kind == "coarse":
        return torch.rand(shape[0], *[(s + 1) // 2 for s in sizes], generator=generator)
    if kind == "fine":  # with a dimension of channels and strides of its own, in half precision
        return torch.rand(shape[0], 1, *[2 * s + 1 for s in sizes], 2, generator=generator).half()[..., 0]
    values = torch.rand(shape[0], *sizes, generator=generator) > 0.5
    return values if kind == "bool" else values.to(torch.uint8)


def _wrong_share(device, x, layout, way, seed, mask, weight, *how) -> float:
    """Return the share of elements that are not the reference's, bit for bit."""
    wide = x if x.dtype == torch.float64 else x.float()  # NumPy has no bfloat16; the product is float32 anyway
    known = (None if t is None else t.double().numpy() for t in (mask, weight))
    expected = torch.from_numpy(truth.static_dropout(wide.numpy(), seed, _P, *known, *how)).to(x.dtype)
    x, mask, weight, seed = (None if t is None else t.to(device) for t in (x, mask, weight, torch.tensor(seed)))
    x, settings = in_layout(x, layout), {"mask": mask, "channel_weight": weight, "seed": seed}
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
    "pairwise_correlation": _pairwise,
    "static_dropout": _dropout,
}
