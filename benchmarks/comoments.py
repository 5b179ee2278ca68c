"""channel_bias: layouts, dtypes, pooled, labelled, layers of real networks, and sizes from one call to gigabytes."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import sdfast
from benchmarks.contest import Candidate, Case, Contest, Run, contend
from benchmarks.device import Device, read
from benchmarks.inputs import RIVAL_TOLERANCE, FeaturePairs
from benchmarks.plan import Plan, Stage, stages_of
from benchmarks.rivals import AUTHORS, ON_ARRAYS, SCIPY, SCIPY_DOUBLE, formulas_of
from benchmarks.targets import CENTRED, EAGER, ONE_PASS, TORCHMETRICS
from sdfast.backends import load
from sdfast.bench import centred, dtype_text, largest_error, shape_text

FEATS, SHORT, MANY, ROWS = (256, 8, 7, 7), (512, 7, 7), (128, 16, 14, 14), (512,)  # of a sample, channels first
FLOAT, BFLOAT, HALF, DOUBLE = torch.float32, torch.bfloat16, torch.float16, torch.float64
_COMPILED = ONE_PASS, CENTRED
_ALL = *_COMPILED, EAGER, TORCHMETRICS
_LAUNCHED = 64  # sets of inputs that a graph of small launches has
_SET = (64, 128, 8, 14, 14)
_GRADIENT = 1e-6  # of the largest: rounded to float32 at the end


@dataclass(frozen=True, kw_only=True)
class Bias(Plan):
    """One of `channel_bias`, on `most` sets of inputs; where it settles, all find the same of them in the caches."""

    kind, tensors = "co-moments", 2
    sample: tuple[int, ...] = FEATS
    layout: str = "contiguous"
    channel_dim: int = 1
    pool: bool = False
    num_factors: int = 1
    most: int | None = None
    by_host: bool = False
    grad: bool = False
    settle: bool = False

    def case(self, run: Run) -> Case:
        """Draw the features and return what is compared on them."""
        how = self.dtype, self.layout, self.channel_dim, self.num_factors, run.seed_of(self.key), self.most
        pairs = FeaturePairs.draw(run.device, self.shape_on(run.device), *how)
        if self.grad:
            return _with_gradients(self, pairs)
        expected = pairs.truth(self.pool)
        rivals = pairs.rivals(formulas_of(self.rivals, run.device), self.pool, expected)
        for name in filter(ON_ARRAYS.__contains__, self.rivals):
            formula, double, correlation = ON_ARRAYS[name]
            rivals |= pairs.as_arrays(double).rivals({name: formula}, True, pairs.truth(True, correlation))
        ours, limits = pairs.ours(sdfast.channel_bias, self.pool, expected), run.device.floor(pairs.sets)
        limits, settle = {} if self.by_host or self.warm else limits, partial(read, pairs.sets[0])
        how = {"settle": settle if self.settle else None, "by_host": self.by_host}
        return Case(*pairs.names(self.key), ours, rivals, limits, pairs.moved, **how)


# On every device; what has a target on none is only shown.
PLANS = (
    Bias(label="contiguous float32", rivals=_ALL),
    Bias(label="contiguous bfloat16", dtype=BFLOAT, rivals=_COMPILED),
    Bias(label="channels-last float32", rivals=_COMPILED, layout="channels_last"),
    Bias(label="rows float32", sample=ROWS, rivals=_ALL),
    Bias(label="rows bfloat16", sample=ROWS, dtype=BFLOAT),
    Bias(label="contiguous float16", dtype=HALF, rivals=_COMPILED),
    Bias(label="channels-last bfloat16", dtype=BFLOAT, layout="channels_last"),
    Bias(label="labelled float32", num_factors=2),
    Bias(label="pooled float32", rivals=_ALL, pool=True),
    Bias(label="pooled bfloat16", dtype=BFLOAT, pool=True),
    Bias(label="pooled channels-last float32", layout="channels_last", pool=True),
    Bias(label="many positions float32", sample=MANY),
    Bias(label="short float32", sample=SHORT),
    Bias(label="short bfloat16", dtype=BFLOAT, sample=SHORT),
    Bias(label="contiguous float64", dtype=DOUBLE),
    Bias(label="forward and backward", rivals=(EAGER,), size=256_000_000, grad=True),
)
# Whole calls on features as real networks make them.
NETWORKS = tuple(
    Bias(label=name, shape=shape, rivals=(*_ALL, AUTHORS) if pool else _ALL, channel_dim=dim, pool=pool, settle=True)
    for name, shape, dim, pool in (
        ("TransNetV2 block 1", (8, 64, 16, 13, 24), 1, True),
        ("R3D-18 layer 3", (64, 256, 8, 14, 14), 1, True),
        ("R3D-18 layer 3, positions", (64, 256, 8, 14, 14), 1, False),
        ("I3D mixed 4f", (16, 832, 8, 14, 14), 1, True),
        ("SlowFast, fast stage 4", (16, 128, 32, 14, 14), 1, True),
        ("X3D-M stage 3", (16, 48, 16, 28, 28), 1, True),
        ("TimeSformer block, positions", (16, 1568, 768), -1, False),
        ("VideoMAE-B block", (32, 1568, 768), -1, True),
        ("all pairs of a layer", (3000, 2048), 1, True),
    )
)
ON_CPU = (
    Bias(label="small", shape=(8, 64), rivals=_ALL, pool=True),
    Bias(label="each call", shape=(2, 4), pool=True),
    Bias(label="SciPy", shape=(3000, 512), rivals=(SCIPY, SCIPY_DOUBLE), pool=True, settle=True),
    *NETWORKS,
    *(replace(plan, label=f"{plan.label}, warm allocator", rivals=(EAGER,), warm=True) for plan in NETWORKS),
)
_LAUNCH = Bias(label="in a graph", shape=(32, 512), rivals=(EAGER, ONE_PASS), pool=True, most=_LAUNCHED)
ON_GPU = (
    _LAUNCH,
    # A graph cannot hold torchmetrics.
    replace(_LAUNCH, label="each call", rivals=(*_LAUNCH.rivals, TORCHMETRICS), by_host=True),
    *(
        Bias(label=f"pooled, {factors} factors, {dtype_text(dtype)}", dtype=dtype, pool=True, num_factors=factors)
        for dtype, factors in itertools.product((FLOAT, BFLOAT), (2, 10))
    ),
    replace(_LAUNCH, label="each call, (8, 64)", shape=(8, 64), rivals=(EAGER,), by_host=True),
    Bias(label="contiguous float32", size=4_000_000_000),
    *(Bias(label="of a size", size=size, rivals=(EAGER, ONE_PASS)) for size in (1_000_000, 16_000_000)),
    Bias(label="of a size", size=256_000_000, rivals=(EAGER,)),
    *(Bias(label="pooled of a size", size=size, rivals=(EAGER,), pool=True) for size in (1_000_000, 256_000_000)),
)


def stages(device: Device) -> Iterator[Stage]:
    """Yield what is compared on a device."""
    yield from stages_of([*PLANS, *(ON_CPU if device.kind == "cpu" else ON_GPU)], device)
    if device.kind == "cpu":
        for dtype in (FLOAT, BFLOAT):
            name = f"settings, {dtype_text(dtype)} {shape_text(_SET)}"
            yield Stage(name, partial(_settings, dtype), quick=False)


def _with_gradients(plan: Bias, pairs: FeaturePairs) -> Case:
    """Return a case of the sum of all correlations with the gradients of both tensors."""
    a, b = (x.double().requires_grad_() for x in pairs.sets[0])
    dims = (0, *range(2, a.ndim))
    da, db = (x - x.mean(dims, keepdim=True) for x in (a, b))
    corr = (da * db).sum(dims) / ((da * da).sum(dims) * (db * db).sum(dims)).sqrt()
    expected = torch.autograd.grad(corr.sum(), (a, b))
    scale = float(max(g.abs().max() for g in expected))
    for x in itertools.chain(*pairs.sets):
        x.requires_grad_()

    def candidate(corr: Callable[[Tensor, Tensor], Tensor], tolerance: float) -> Candidate:
        calls = pairs.on(lambda a, b: torch.autograd.grad(corr(a, b).sum(), (a, b)))
        return Candidate(calls, error, tolerance)

    def error(answer: tuple[Tensor, ...]) -> float:
        return max(largest_error(x.cpu(), g.cpu()) for x, g in zip(answer, expected, strict=True)) / scale

    ours = candidate(lambda a, b: sdfast.channel_bias(a, b, pool=False).corr, _GRADIENT)
    rivals = {EAGER: candidate(lambda a, b: centred(a, b, 1, False)[1], RIVAL_TOLERANCE)}
    moved = 3 * pairs.moved  # read, read again, and gradients written
    return Case(*pairs.names(plan.key), ours, rivals, moved=moved, grad=True)


def _settings(dtype: torch.dtype, run: Run) -> Contest:
    """Compare the same call with one thread and with all, and with each instruction set that this machine has."""
    pairs, cpu = FeaturePairs.draw(run.device, _SET, dtype), load("cpu")
    expected = pairs.truth(False)
    rivals = {"1 thread": pairs.ours(partial(_with, torch.set_num_threads, 1, torch.get_num_threads), False, expected)}
    for name in cpu.available_isas():
        call = partial(_with, cpu.set_isa, name, cpu.isa)
        rivals[f"instruction set {name}"] = pairs.ours(call, False, expected)
    ours, limits = pairs.ours(sdfast.channel_bias, False, expected), run.device.floor(pairs.sets)
    return contend(Case(*pairs.names(f"settings, {dtype_text(dtype)}"), ours, rivals, limits, pairs.moved), run)


def _with(change: Callable, value: object, now: Callable, *args, **settings):
    before = now()
    change(value)
    try:
        return sdfast.channel_bias(*args, **settings)
    finally:
        change(before)
