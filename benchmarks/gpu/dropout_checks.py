"""StaticDropout bit for bit against NumPy: forward, backward and in place, guided or not, in every layout."""

import math
from functools import partial

import torch
from torch import Tensor

import sdfast
from benchmarks.gpu.answers import Check
from benchmarks.gpu.device import poisoned
from benchmarks.gpu.features import LAYOUTS, in_layout, seed_of
from benchmarks.gpu.race import Context
from sdfast.ops import GRANULARITIES
from tests import truth as reference

_P = 0.7
# No positions, one, a run that is no multiple of eight draws, several dimensions, many positions.
_SHAPES = ((33, 517), (300, 9, 1), (20, 30, 50), (9, 16, 4, 5, 7), (20, 3, 3000), (6, 70, 4, 14, 14))
_TINY_SHAPES = ((3, 19), (3, 4, 1), (2, 3, 10), (2, 2, 2, 3, 4))
_MASKS = (None, "coarse", "fine", "bool", "uint8")
_WAYS = ("forward", "in place", "backward")


def dropout_check(dtype: torch.dtype, context: Context) -> Check:
    """Return the check of a dtype: masks, weights, granularities, layouts and ways in turn."""
    generator = torch.Generator().manual_seed(seed_of(context.seed, f"static_dropout {dtype}"))
    shapes = _TINY_SHAPES if context.device.rehearses else _SHAPES
    variants = []
    for i in range(12 if context.quick else 30):
        shape, layout, way = shapes[i % len(shapes)], LAYOUTS[i // 2 % 4], _WAYS[i % 3]
        granularity, rescale = GRANULARITIES[i // 3 % 3], i % 4 != 1
        if context.device.rehearses and dtype == torch.bfloat16:
            rescale = False  # Triton's interpreter cuts bfloat16 off where a GPU rounds
        x = torch.randn(shape, generator=generator).add_(2).to(dtype)
        x.view(-1)[::97] = torch.nan if i % 2 else torch.inf  # gone where it is dropped, kept elsewhere
        mask = _mask(shape, _MASKS[i // 2 % 5], generator)
        weight = torch.rand(shape[1], generator=generator) if i % 5 in (1, 2) else None
        seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=generator))
        run = partial(_wrong_share, context, x, seed, mask, weight, granularity, rescale, layout, way)
        guided = f"{_MASKS[i // 2 % 5] or 'no'} mask{', weights' * (weight is not None)}"
        variants.append((f"{shape} {layout}, {way}, {granularity}, {guided}{', rescaled' * rescale}", run))
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


def _wrong_share(context, x, seed, mask, weight, granularity, rescale, layout, way) -> float:
    """Return the share of elements that are not the reference's, bit for bit."""
    wide = x if x.dtype == torch.float64 else x.float()  # NumPy has no bfloat16; the product is float32 anyway
    known = (None if t is None else t.double().numpy() for t in (mask, weight))
    expected = torch.from_numpy(reference.static_dropout(wide.numpy(), seed, _P, *known, granularity, rescale))
    x, mask, weight = (None if t is None else t.to(context.device.torch) for t in (x, mask, weight))
    x = in_layout(x, layout)
    drop = partial(
        sdfast.static_dropout,
        p=_P,
        mask=mask,
        channel_weight=weight,
        granularity=granularity,
        rescale=rescale,
        seed=torch.tensor(seed, device=x.device),
    )
    with poisoned():
        if way == "backward":
            leaf = torch.ones_like(x).requires_grad_()
            (found,) = torch.autograd.grad(drop(leaf), leaf, x)
        else:
            found = drop(x, inplace=way == "in place")
    expected = expected.to(x.dtype)
    if found.shape != expected.shape:
        return math.inf
    found = found.detach().cpu()
    same = (found == expected) | (found.isnan() & expected.isnan())
    return float((~same).double().mean())
