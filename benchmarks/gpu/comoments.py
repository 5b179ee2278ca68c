"""Races of channel_bias: layouts, dtypes, pooled, labelled, and sizes from a launch to several gigabytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

import sdfast
from benchmarks.features import PEER_TOLERANCE
from benchmarks.gpu import targets
from benchmarks.gpu.device import Device
from benchmarks.gpu.features import Pairs, batch_of, dtype_text, seed_of, size_text
from benchmarks.gpu.race import COPY, Aim, Case, Contender, Context
from benchmarks.peers import TorchMetrics
from sdfast.bench import centred, largest_error, one_pass
from tests.support.tolerances import CORRELATION

ONE_PASS, CENTRED, EAGER, TORCHMETRICS = "compiled one-pass", "compiled centred", "eager centred", "torchmetrics"
_FEATS = (256, 8, 7, 7)  # a sample: channels, then frames, height and width
_ROWS = (512,)
_TINY = {_FEATS: (8, 2, 3, 3), _ROWS: (24,)}
_SMALL = (32, 512)
_LAUNCHED = 64  # sets of inputs that a graph of small launches has
FLOAT, BFLOAT, HALF, DOUBLE = torch.float32, torch.bfloat16, torch.float16, torch.float64


@dataclass(frozen=True)
class Plan:
    """A comparison before its features are drawn; `size` is of both tensors together, in bytes."""

    label: str
    size: int
    dtype: torch.dtype = FLOAT
    sample: tuple[int, ...] = _FEATS
    layout: str = "contiguous"
    pool: bool = False
    num_factors: int = 1
    peers: tuple[str, ...] = ()
    aims: tuple[Aim, ...] = ()
    grad: bool = False

    def shape(self, device: Device) -> tuple[int, ...]:
        """Return the shape of each tensor; tiny in a rehearsal."""
        if device.rehearses:
            return (6, *_TINY[self.sample])
        return (batch_of(self.size, self.sample, self.dtype, tensors=2), *self.sample)

    def name(self, device: Device) -> str:
        """Return what it is called, with the size that it really has."""
        return f"{self.label}, {size_text(2 * self.dtype.itemsize * torch.Size(self.shape(device)).numel())}"

    def draw(self, context: Context) -> Case:
        """Draw the features and return what is compared on them."""
        name = self.name(context.device)
        pairs = Pairs.draw(
            context.device,
            self.shape(context.device),
            self.dtype,
            self.layout,
            seed_of(context.seed, name),
            self.num_factors,
        )
        make = _with_gradients if self.grad else _forward
        return make(self, name, pairs, context)


def plans(context: Context) -> Iterator[Plan]:
    """Yield what is judged first, then what is only shown, from small to large and the rest."""
    judged, large = targets.COMOMENTS, targets.LARGE
    over = targets.COMOMENTS_OVER_COMPILED
    for key, dtype, layout, sample, peers in (
        ("contiguous float32", FLOAT, "contiguous", _FEATS, (ONE_PASS, CENTRED, EAGER, TORCHMETRICS)),
        ("contiguous bfloat16", BFLOAT, "contiguous", _FEATS, (ONE_PASS,)),
        ("channels-last float32", FLOAT, "channels_last", _FEATS, (ONE_PASS,)),
        ("rows float32", FLOAT, "contiguous", _ROWS, (ONE_PASS, CENTRED, EAGER, TORCHMETRICS)),
        ("contiguous float16", HALF, "contiguous", _FEATS, ()),
        ("channels-last bfloat16", BFLOAT, "channels_last", _FEATS, ()),
    ):
        aims = [Aim(judged[key])]
        if key in over:
            aims.append(Aim(over[key], ONE_PASS))
        yield Plan(f"co-moments, {key}", large, dtype, sample, layout, peers=peers, aims=tuple(aims))
    key = "labelled float32"
    yield Plan(f"co-moments, {key}", large, num_factors=2, aims=(Aim(judged[key]),))
    for key, dtype in (("float32", FLOAT), ("bfloat16", BFLOAT)):
        aims, peers = [Aim(targets.POOLED[key])], ()
        if dtype == FLOAT:
            aims.append(Aim(targets.POOLED_OVER_COMPILED, ONE_PASS))
            peers = (ONE_PASS, CENTRED, EAGER, TORCHMETRICS)
        yield Plan(f"pool-then-co-moments, {key}", large, dtype, pool=True, peers=peers, aims=tuple(aims))


def further_plans(context: Context) -> Iterator[Plan]:
    """Yield what is only shown, and what is judged at a second size."""
    first = Aim(targets.COMOMENTS["contiguous float32"])
    yield Plan("co-moments, contiguous float32", 4 * targets.LARGE, aims=(first,))
    for size in (1_000_000, 16_000_000, 256_000_000):
        peers = (EAGER, ONE_PASS) if size < 100_000_000 else (EAGER,)
        yield Plan("co-moments, contiguous float32", size, peers=peers)
    for size in (1_000_000, 256_000_000):
        yield Plan("pool-then-co-moments, float32", size, pool=True, peers=(EAGER,))
    yield Plan("co-moments, contiguous float32, forward and backward", 256_000_000, peers=(EAGER,), grad=True)
    yield Plan("co-moments, contiguous float64", targets.LARGE, DOUBLE)
    yield Plan("co-moments, rows bfloat16", targets.LARGE, BFLOAT, _ROWS)
    yield Plan("pool-then-co-moments, channels-last float32", targets.LARGE, layout="channels_last", pool=True)


def small(context: Context, by_host: bool) -> Case:
    """Return channel_bias on (32, 512): the launches in a graph, or call by call as the host sees it."""
    name = f"channel_bias on {_SMALL}, {'each call' if by_host else 'in a graph'}"
    pairs = Pairs.draw(context.device, _SMALL, FLOAT, "contiguous", seed_of(context.seed, name), most=_LAUNCHED)
    truth = pairs.truth(pool=True)
    # A graph cannot hold torchmetrics.
    peers = (EAGER, ONE_PASS, TORCHMETRICS) if by_host else (EAGER, ONE_PASS)
    return Case(
        name,
        "channel_bias",
        pairs.shape,
        dtype_text(FLOAT),
        pairs.moved,
        len(pairs.sets),
        _ours(pairs, truth, pool=True),
        {peer: _peer(peer, pairs, truth, True, context.device) for peer in peers},
        {} if by_host else {COPY: pairs.copy},
        launches=None if by_host else targets.LAUNCHES,
        by_host=by_host,
    )


def _forward(plan: Plan, name: str, pairs: Pairs, context: Context) -> Case:
    truth = pairs.truth(plan.pool)
    return Case(
        name,
        "channel_bias",
        pairs.shape,
        dtype_text(plan.dtype),
        pairs.moved,
        len(pairs.sets),
        _ours(pairs, truth, plan.pool),
        {peer: _peer(peer, pairs, truth, plan.pool, context.device) for peer in plan.peers},
        {COPY: pairs.copy},
        aims=plan.aims,
    )


def _with_gradients(plan: Plan, name: str, pairs: Pairs, context: Context) -> Case:
    """Return a case of the sum of all correlations with the gradients of both tensors."""
    a, b = (x.double().requires_grad_() for x in pairs.sets[0])
    expected = torch.autograd.grad(centred_double(a, b).sum(), (a, b))
    scale = float(max(g.abs().max() for g in expected))
    for pair in pairs.sets:
        for x in pair:
            x.requires_grad_()

    def gradients(corr: Callable[[Tensor, Tensor], Tensor]) -> Callable[[int], tuple[Tensor, ...]]:
        return pairs.on(lambda a, b: torch.autograd.grad(corr(a, b).sum(), (a, b)))

    def error(answer: tuple[Tensor, ...]) -> float:
        gaps = (largest_error(x.cpu(), g.cpu()) for x, g in zip(answer, expected, strict=True))
        return max(gaps) / scale

    return Case(
        name,
        "channel_bias",
        pairs.shape,
        dtype_text(plan.dtype),
        3 * pairs.moved,  # read, read again, and gradients written
        len(pairs.sets),
        Contender(gradients(lambda a, b: sdfast.channel_bias(a, b, pool=False).corr), error, _GRADIENT),
        {EAGER: Contender(gradients(lambda a, b: centred(a, b, 1, False)[1]), error, PEER_TOLERANCE)},
        grad=True,
    )


_GRADIENT = 1e-6  # of the largest: rounded to float32 at the end


def centred_double(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlations of float64 features, every position a sample."""
    da, db = (x - x.mean((0, *range(2, x.ndim)), keepdim=True) for x in (a, b))
    dims = (0, *range(2, a.ndim))
    return (da * db).sum(dims) / ((da * da).sum(dims) * (db * db).sum(dims)).sqrt()


def _ours(pairs: Pairs, truth: Tensor, pool: bool) -> Contender:
    expected = (truth if pairs.labels is not None else truth[0]).cpu()
    run = pairs.on(partial(sdfast.channel_bias, factor=pairs.labels, num_factors=len(truth), pool=pool))
    dtype = pairs.sets[0][0].dtype
    return Contender(run, lambda answer: largest_error(answer.corr.cpu(), expected), CORRELATION[dtype])


def _peer(name: str, pairs: Pairs, truth: Tensor, pool: bool, device: Device) -> Contender:
    expected = truth[0].cpu()
    makers = {
        ONE_PASS: lambda: _compiled(one_pass, device),
        CENTRED: lambda: _compiled(centred, device),
        EAGER: lambda: centred,
        TORCHMETRICS: lambda: TorchMetrics(truth.shape[1], device.torch),
    }
    made = cache(makers[name])  # when it is first called: what is missing shows there
    return Contender(
        pairs.on(lambda a, b: made()(a, b, 1, pool)),
        lambda answer: largest_error(answer[1].cpu(), expected),
        PEER_TOLERANCE,
    )


def _compiled(formula: Callable, device: Device) -> Callable:
    """Compile a formula for the one shape that it will see; in a rehearsal torch only traces it."""
    return torch.compile(formula, fullgraph=True, dynamic=False, backend="eager" if device.rehearses else "inductor")
