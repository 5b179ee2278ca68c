"""Races of StaticDropout: in place, forward and backward, guided or not, beside F.dropout and torch.compile."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.nn import functional

import sdfast
from benchmarks.dropout_peers import COMPILED, F_DROPOUT, NAIVE, naive
from benchmarks.dropouts import PLAIN, Guidance, P, blobs, rate_error, rate_tolerance
from benchmarks.features import shape_text
from benchmarks.gpu import targets
from benchmarks.gpu.device import Device
from benchmarks.gpu.features import batch_of, dtype_text, seed_of, size_text
from benchmarks.gpu.race import COPY, Aim, Case, Contender, Context
from sdfast.backends import table as backends
from tests.truth import nearest

PRODUCT = "mul_"
IN_PLACE, FORWARD, BACKWARD, BOTH = "in place", "forward", "backward", "forward and backward"
_FEATS, _FEW, _TINY = (64, 8, 56, 56), (64, 8, 14, 14), (4, 2, 4, 4)
_SMALL = 100_000_000  # bytes; below it a sample is smaller, so that there are several
_GRID = (8, 28, 28)  # of a mask: half of that of the features, as a segmentation of the frames gives it
_TINY_GRID = (2, 2, 2)
_FACTOR = 1.25  # any number; torch does not look at it
_BYTES_A_DRAW = 200  # that the reference takes of the device
_KEPT = Guidance(rescale=False)
_GUIDED = Guidance(1.0, grid=_GRID, rescale=False)  # all static: less would leave bytes where they are
_MOVES = {IN_PLACE: 2, FORWARD: 2, BACKWARD: 2, BOTH: 4}  # each read and each write of all features


@dataclass(frozen=True)
class Plan:
    """A comparison before its features are drawn; `size` is of the features, in bytes."""

    label: str
    size: int
    way: str = IN_PLACE
    guidance: Guidance = PLAIN
    dtype: torch.dtype = torch.float32
    peers: tuple[str, ...] = ()
    aims: tuple[Aim, ...] = ()

    def shape(self, device: Device) -> tuple[int, ...]:
        """Return the shape of the features; tiny in a rehearsal."""
        if device.rehearses:
            return 3, *_TINY
        sample = _FEW if self.size < _SMALL else _FEATS
        return batch_of(self.size, sample, self.dtype, tensors=1), *sample

    def name(self, device: Device) -> str:
        """Return what it is called, with the size that it really has."""
        size = self.dtype.itemsize * torch.Size(self.shape(device)).numel()
        return f"StaticDropout {self.way}, {self.label}, {size_text(size)}"

    def draw(self, context: Context) -> Case:
        """Draw the features and return what is compared on them."""
        return _Drawn(self, context).case()


def plans(context: Context) -> Iterator[Plan]:
    """Yield what is judged."""
    for key, dtype, guidance, peers in (
        ("rescaled float32", torch.float32, PLAIN, (F_DROPOUT,)),
        ("rescaled bfloat16", torch.bfloat16, PLAIN, (F_DROPOUT,)),
        ("plain float32", torch.float32, _KEPT, ()),
        ("guided float32", torch.float32, _GUIDED, (NAIVE, COMPILED)),
    ):
        aims = [Aim(targets.IN_PLACE[key])]
        if COMPILED in peers:
            aims.append(Aim(targets.GUIDED_OVER_COMPILED, COMPILED))
        yield Plan(key, targets.LARGE, IN_PLACE, guidance, dtype, peers, tuple(aims))


def further_plans(context: Context) -> Iterator[Plan]:
    """Yield what is only shown, and what is judged at a second size."""
    large = targets.LARGE
    yield Plan("rescaled float32", 4 * large, aims=(Aim(targets.IN_PLACE["rescaled float32"]),))
    for way in (FORWARD, BACKWARD, BOTH):
        yield Plan("rescaled float32", large, way, peers=(F_DROPOUT, COMPILED) if way == FORWARD else (F_DROPOUT,))
    yield Plan("rescaled bfloat16", large, BOTH, dtype=torch.bfloat16, peers=(F_DROPOUT,))
    for size in (1_000_000, 16_000_000, 256_000_000):
        yield Plan("rescaled float32", size, peers=(F_DROPOUT,))
    for label, static in (("guided, half static", 0.5), ("guided, a tenth static", 0.1)):
        yield Plan(label, large, guidance=Guidance(static, grid=_GRID, rescale=False))
    region = Guidance(0.5, grid=_GRID, granularity="region", rescale=False)
    yield Plan("guided, regions", large, guidance=region)
    yield Plan("guided, regions", large, BOTH, region, peers=(NAIVE,))


class _Drawn:
    """Sets of features that take turns, what guides their dropout, and the truth about the first set."""

    def __init__(self, plan: Plan, context: Context):
        self.plan, self.device, self.name = plan, context.device, plan.name(context.device)
        self.guidance = plan.guidance
        shape, seed = plan.shape(self.device), seed_of(context.seed, self.name)
        generator = self.device.generator(seed)
        # Away from 0, which stands for dropped, and from what doubles to infinity.
        self.source = torch.rand(shape, generator=generator, device=self.device.torch).add_(0.5).to(plan.dtype)
        self.xs = [self.source.clone() for _ in range(self.device.sets(self.source.nbytes))]
        self.scratch = torch.empty_like(self.source)
        self.seed = torch.tensor(seed, device=self.device.torch)
        self.mask = self.weight = None
        if self.guidance.static is not None:
            grid = _TINY_GRID if self.device.rehearses else self.guidance.grid
            host = torch.Generator().manual_seed(seed)
            self.mask = blobs(shape[0], grid, self.guidance.static, 1, host).to(self.device.torch)
            self.weight = torch.rand(shape[1], generator=generator, device=self.device.torch)

    def drop(self, x: Tensor, mask: Tensor | None = None, inplace: bool = False) -> Tensor:
        """Return x after static_dropout, the same elements each time."""
        return sdfast.static_dropout(
            x,
            P,
            mask=self.mask if mask is None else mask,
            channel_weight=self.weight,
            granularity=self.guidance.granularity,
            rescale=self.guidance.rescale,
            inplace=inplace,
            seed=self.seed,
        )

    @cached_property
    def truth(self) -> Tensor:
        """As many of the first samples as the reference has the memory for: what they draw does not depend on more."""
        free = self.device.memory // 2
        samples = max(1, min(len(self.source), free // (_BYTES_A_DRAW * self.source[0].numel())))
        with backends.use_backend("reference"), torch.no_grad():
            return self.drop(self.source[:samples], None if self.mask is None else self.mask[:samples])

    @property
    def rate(self) -> float:
        """The share of all elements that is dropped in the mean."""
        if self.mask is None:
            return P
        sampled = nearest(self.mask.cpu().numpy(), self.source.shape[2:])
        return P * float(sampled.mean(dtype=float)) * float(self.weight.double().mean())

    def wrong_share(self, answer: Tensor) -> float:
        """Return the share of elements that are not those of the truth, bit for bit; beyond it the rate must do."""
        known = len(self.truth)
        rest = answer[known:]
        if len(rest) and rate_error(rest, self.rate) > rate_tolerance(len(rest)):
            return math.inf
        return float((answer[:known] != self.truth).double().mean())

    def refill(self) -> None:
        """Undo what was dropped and scaled: zeros and infinities are no features."""
        for x in self.xs:
            x.copy_(self.source)

    def _copy(self, i: int) -> None:
        """Move as many bytes as dropout must."""
        for _ in range(_MOVES[self.plan.way] // 2):
            self.scratch.copy_(self.xs[i])

    def case(self) -> Case:
        """Return what is compared."""
        plan, x = self.plan, self.source
        ours = Contender(self._call(partial(self.drop, inplace=plan.way == IN_PLACE)), self.wrong_share, 0.0)
        peers = {name: self._peer(name) for name in plan.peers}
        limits = {COPY: self._copy}
        if plan.way == IN_PLACE:
            limits[PRODUCT] = lambda i: self.xs[i].mul_(_FACTOR)
        return Case(
            self.name,
            "static_dropout",
            shape_text(x.shape),
            dtype_text(plan.dtype),
            _MOVES[plan.way] * x.nbytes,
            len(self.xs),
            ours,
            peers,
            limits,
            self.refill if plan.way == IN_PLACE else None,
            plan.aims,
            grad=plan.way in (BACKWARD, BOTH),
        )

    def _call(self, drop: Callable[[Tensor], Tensor]) -> Callable[[int], Tensor]:
        """Return what is timed of a function; of backward its answer is the gradient of the features themselves."""
        if self.plan.way in (IN_PLACE, FORWARD):
            return lambda i: drop(self.xs[i])
        leaf = self.source.detach().requires_grad_()
        if self.plan.way == BOTH:
            return lambda i: torch.autograd.grad(drop(leaf), leaf, self.xs[i])[0]
        graphs = {}

        def backward(i: int) -> Tensor:
            backend = backends.chosen("static_dropout", self.device.torch.type)
            if backend not in graphs:
                graphs[backend] = drop(leaf)
            return torch.autograd.grad(graphs[backend], leaf, self.xs[i], retain_graph=True)[0]

        return backward

    def _peer(self, name: str) -> Contender:
        settings = {"p": P, "mask": self.mask, "weight": self.weight, "rescale": self.guidance.rescale}
        inplace = self.plan.way == IN_PLACE
        how = "eager" if self.device.rehearses else "inductor"
        formula = partial(functional.dropout, p=P) if self.mask is None else partial(naive, **settings)
        calls = {
            F_DROPOUT: partial(functional.dropout, p=P, inplace=inplace),
            NAIVE: partial(naive, **settings),
            COMPILED: torch.compile(formula, fullgraph=True, dynamic=False, backend=how),
        }
        draws = self.source.numel() if self.guidance.granularity == "element" else len(self.source)
        return Contender(self._call(calls[name]), lambda answer: rate_error(answer, self.rate), rate_tolerance(draws))
