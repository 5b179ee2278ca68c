"""What is left of the correlation far from zero, and as the mean of features grows against their standard deviation."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

import sdfast
from benchmarks.checks import Check, hold
from benchmarks.contest import Run
from benchmarks.device import OURS, Device, poisoned
from benchmarks.inputs import RIVAL_TOLERANCE, dtype_text, in_layout
from benchmarks.plan import Stage
from benchmarks.rivals import formulas_of
from benchmarks.targets import AIMS, EAGER, ITSELF, TORCHMETRICS
from sdfast.bench import draw_pair, largest_error, one_pass
from tests import truth

FAR = "far from zero"
SHAPES = {"contiguous": (512, 64, 49, 1), "channels-last": (512, 64, 7, 7), "rows": (20000, 64)}
# What the first sample of each channel is, and whether b has it too. 0 is 1e4 standard deviations away.
FIRST_SAMPLES = {
    "no outlier": (None, False),
    "0 in a": (0.0, False),
    "0 in both": (0.0, True),
    "2e4 in both": (2e4, True),
    "50 std in a": (1e4 + 50, False),
}
MEANS = (1.0, 1e1, 1e2, 1e3, 1e4, 1e5)
_SMALLEST = 1e-17  # a logarithm has no place for no error at all


def stages(device: Device) -> Iterator[Stage]:
    """Yield the check far from zero on every device, and the curves of errors on the CPU."""
    for dtype in (torch.float32, torch.float64):
        yield Stage(f"check {FAR} {dtype_text(dtype)}", partial(_hold_far, dtype))
    if device.kind == "cpu":
        yield Stage("error over mean", _errors_over_mean)


def far_from_zero(dtype: torch.dtype, run: Run) -> Check:
    """Return the check of features with mean 1e4 and std 1, the first sample an outlier."""
    generator, variants = run.device.generator(run.seed_of(f"{FAR} {dtype}")), []
    for (layout, shape), (name, (outlier, both)) in itertools.product(SHAPES.items(), FIRST_SAMPLES.items()):
        shape = (shape[0] // 50, 4, *shape[2:]) if run.device.rehearses else shape
        a, b = (x.add_(1e4) for x in draw_pair(shape, dtype, generator=generator))
        for x in [] if outlier is None else [a, b] if both else [a]:
            x[(0, slice(None), *[0] * (x.ndim - 2))] = outlier
        args = (in_layout(a, layout), in_layout(b, layout))
        variants.append((f"{layout}, {name}", partial(_error, *args, sdfast.channel_bias)))
    aims = AIMS[run.device.kind].get(f"co-moments, {FAR} {dtype_text(dtype)}", {})
    return Check(FAR, dtype, 1e-6, variants, aims.get(ITSELF))


def _hold_far(dtype: torch.dtype, run: Run) -> None:
    """Hold the check, and show beside it what is left of the rivals' answers."""
    check = far_from_zero(dtype, run)
    hold(check, run)
    if run.device.kind != "cpu" or dtype != torch.float32:
        return
    for name, formula in _rivals(run).items():
        worst = max(_error(*variant.args[:2], formula) for _, variant in check.variants)
        note = "WRONG" if worst > RIVAL_TOLERANCE else "not timed"
        run.log.add_row("mean/std = 1e4, outliers first", name, error=worst, note=note, status="not timed")


def _rivals(run: Run) -> dict[str, Callable]:
    return {"eager one-pass": one_pass, **formulas_of((EAGER, TORCHMETRICS), run.device, SHAPES["rows"][1])}


def _error(a: Tensor, b: Tensor, call: Callable) -> float:
    arrays = (x.double().cpu().numpy() for x in (a, b))
    expected = truth.correlation(truth.comoments(*arrays, pool=False))[0]
    with poisoned():
        corr = call(a, b, pool=False)[1]
    return largest_error(corr.cpu(), expected)


def one_pass_double(a: Tensor, b: Tensor, channel_dim: int = 1, pool: bool = False) -> tuple[None, Tensor]:
    """Unshifted sums of (N, C) samples in float64: more digits only move the place where they fail."""
    a, b = a.double().numpy(), b.double().numpy()
    m2_a, m2_b, c_ab = ((x * y).sum(0) - x.sum(0) * y.sum(0) / len(x) for x, y in ((a, a), (b, b), (a, b)))
    with np.errstate(invalid="ignore"):
        return None, torch.from_numpy(c_ab / np.sqrt(m2_a * m2_b))


def _errors_over_mean(run: Run) -> None:
    calls = {OURS: sdfast.channel_bias, **_rivals(run), "one-pass in float64": one_pass_double}
    errors = {name: [] for name in calls}
    for mean in MEANS:
        a, b = (x.add_(mean) for x in draw_pair(SHAPES["rows"], torch.float32))
        for name, call in calls.items():
            # A correlation that is not a number is as far from the truth as one can be.
            errors[name].append(min(max(_error(a, b, call), _SMALLEST), 2.0))
    known = {"case": "error of the correlation", "axis": "mean/std", "x": MEANS, "unit": "", "exponent": None}
    for name, values in errors.items():
        run.log.add("curve", candidate=name, y=values, **known)
    assert max(errors[OURS]) < 1e-9, f"error over mean: {max(errors[OURS]):.0e}"
