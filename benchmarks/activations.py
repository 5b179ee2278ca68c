"""Features to drop from, static masks, and whether what was dropped is right."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

import sdfast
from benchmarks.contest import Candidate
from benchmarks.device import Device
from sdfast.backends import forced_name, use_backend
from tests import truth
from tests.support.dropout import true_dropout

P = 0.5
IN_PLACE, FORWARD, BACKWARD, BOTH = "in place", "forward", "backward", "forward and backward"
_DEVIATIONS = 5  # standard errors that a drop rate may be off
_BYTES_A_DRAW = 200  # that the reference takes of the device


@dataclass(frozen=True)
class Guidance:
    """What static_dropout is told besides p: which part of each sample is static, how coarse, how to scale.

    Args:
        static: the share of the positions where the mask is 1; None for neither mask nor channel weights.
        pieces: in how many places that is, at most.
        grid: of the mask, T, H, W; None for that of the features, which tokens have not.
    """

    static: float | None = None
    pieces: int = 1
    grid: tuple[int, ...] | None = None
    granularity: str = "element"
    rescale: bool = True


PLAIN = Guidance()


class Activations:
    """Sets of features (N, C, ...) to write to that take turns, what guides their dropout, and the truth about them."""

    def __init__(
        self,
        device: Device,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        guidance: Guidance = PLAIN,
        channel_dim: int = 1,
        way: str = IN_PLACE,
        seed: int = 0,
    ):
        self.device, self.guidance, self.channel_dim, self.way = device, guidance, channel_dim, way
        generator = device.generator(seed)
        # Away from 0, which stands for dropped, and from what doubles to infinity.
        self.source = torch.rand(shape, generator=generator, device=device.torch).add_(0.5).to(dtype)
        self.xs = [self.source.clone() for _ in range(device.sets(self.source.nbytes))]
        self.seed = torch.tensor(seed, device=device.torch)
        self.mask = self.weight = None
        if guidance.static is not None:
            positions = tuple(size for d, size in enumerate(shape) if d not in (0, channel_dim % len(shape)))
            host = torch.Generator().manual_seed(seed)
            mask = blobs(shape[0], guidance.grid or positions, guidance.static, guidance.pieces, host).to(device.torch)
            self.mask = mask.flatten(1) if len(positions) == 1 else mask
            self.weight = torch.rand(shape[channel_dim], generator=generator, device=device.torch)
        self._how = {"mask": self.mask, "channel_weight": self.weight, "seed": self.seed, "channel_dim": channel_dim}
        self._how |= {"granularity": guidance.granularity, "rescale": guidance.rescale}

    def drop(self, x: Tensor, **changed) -> Tensor:
        """Return x after static_dropout, the same elements each time."""
        return sdfast.static_dropout(x, P, **{**self._how, **changed})

    def refill(self) -> None:
        """Undo what was dropped and scaled: zeros and infinities are no features."""
        for x in self.xs:
            x.copy_(self.source)

    def calls(self, drop: Callable[[Tensor], Tensor]) -> list[Callable[[], Tensor]]:
        """Return what is timed of a function, on each set; of backward the answer is the gradient of the features."""
        if self.way in (IN_PLACE, FORWARD):
            return [partial(drop, x) for x in self.xs]
        leaf = torch.ones_like(self.source) if self.way == BACKWARD else self.source.detach()
        leaf.requires_grad_()
        if self.way == BOTH:
            return [lambda x=x: torch.autograd.grad(drop(leaf), leaf, x)[0] for x in self.xs]
        graphs = {}

        def backward(x: Tensor) -> Tensor:
            backend = forced_name()
            if backend not in graphs:
                graphs[backend] = drop(leaf)
            return torch.autograd.grad(graphs[backend], leaf, x, retain_graph=True)[0]

        return [partial(backward, x) for x in self.xs]

    @property
    def ours(self) -> Candidate:
        """Our candidate: as many samples as are known are judged bit for bit, the others by how much is dropped."""
        return Candidate(self.calls(partial(self.drop, inplace=self.way == IN_PLACE)), self.wrong_share, 0.0)

    def rival(self, drop: Callable[[Tensor], Tensor], rate: float, off: float) -> Candidate:
        """Return a candidate that draws for itself and is judged by how much it drops, and how far off that may be."""
        return Candidate(self.calls(drop), lambda answer: rate_error(answer, rate), off)

    def chance(self, x: Tensor, granularity: str | None = None) -> float:
        """Return how far chance takes the drop rate of features, at p = 0.5, where it is the largest."""
        channels = len(x) * x.shape[self.channel_dim]
        draws = {"element": x.numel(), "channel": channels, "region": len(x)}
        return _DEVIATIONS * 0.5 / draws[granularity or self.guidance.granularity] ** 0.5

    @property
    def rate(self) -> float:
        """The share of all elements that is dropped in the mean."""
        if self.mask is None:
            return P
        sampled = truth.nearest(self.mask.cpu().numpy(), self.source.movedim(self.channel_dim, 1).shape[2:])
        return P * float(sampled.mean(dtype=float)) * float(self.weight.double().mean())

    def wrong_share(self, answer: Tensor) -> float:
        """Return the share of elements that are not those of the truth; beyond what is known the rate must do."""
        known = len(self.known)
        rest = answer[known:]
        if len(rest) and not rate_error(rest, self.rate) <= self.chance(rest):
            return math.inf
        return float((answer[:known] != self.known).double().mean())

    @cached_property
    def known(self) -> Tensor:
        """The truth of the first samples, whose draws depend on no others: of one, or of as many as a GPU can hold."""
        if self.source.is_cpu:
            mask, how = self.mask, (self.guidance.granularity, self.guidance.rescale, self.channel_dim)
            mask = None if mask is None else mask[:1]
            return true_dropout(self.source[:1], int(self.seed), P, mask, self.weight, *how)
        samples = max(1, self.device.memory // 2 // (_BYTES_A_DRAW * self.source[0].numel()))
        with use_backend("reference"), torch.no_grad():
            return self.drop(self.source[:samples], mask=None if self.mask is None else self.mask[:samples])


def rate_error(answer: Tensor, rate: float) -> float:
    """Return how far the share of zeros is from the rate; NaN is wrong."""
    if answer.isnan().any():
        return math.inf
    return abs(1 - int(answer.count_nonzero()) / answer.numel() - rate)


def blobs(num: int, grid: tuple[int, ...], static: float, pieces: int, generator: torch.Generator) -> Tensor:
    """Return masks (num, *grid) that are 1 in the given share of each frame, in round pieces at random places."""
    height, width = grid[-2:]
    centre = torch.rand((2, num, pieces, 1, 1), generator=generator)
    y, x = (torch.arange(size).add(0.5).div(size) for size in (height, width))
    nearest_centre = ((y[:, None] - centre[0]) ** 2 + (x - centre[1]) ** 2).amin(1).flatten(1)
    ones = nearest_centre.argsort(dim=1)[:, : round(static * height * width)]
    frames = torch.zeros_like(nearest_centre).scatter_(1, ones, 1.0)
    return frames.view(num, *[1] * (len(grid) - 2), height, width).repeat(1, *grid[:-2], 1, 1)
