"""Races of pairwise_correlation beside the matrix product that is all that it should cost."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import sdfast
from benchmarks.gpu.device import Device
from benchmarks.gpu.features import Pairs, dtype_text, seed_of
from benchmarks.gpu.race import Case, Contender, Context
from sdfast.bench import largest_error
from tests.support.tolerances import PRODUCT

MM, EAGER = "torch.mm", "eager"


@dataclass(frozen=True)
class Plan:
    """A comparison of (samples, channels) with as many channels."""

    samples: int
    channels: int
    dtype: torch.dtype = torch.float32

    def shape(self, device: Device) -> tuple[int, int]:
        """Return the shape of each tensor; tiny in a rehearsal."""
        return (40, 6) if device.rehearses else (self.samples, self.channels)

    def name(self, device: Device) -> str:
        """Return what it is called."""
        return f"pairwise_correlation, {self.shape(device)} {dtype_text(self.dtype)}"

    def draw(self, context: Context) -> Case:
        """Draw the features and return what is compared on them."""
        name = self.name(context.device)
        pairs = Pairs.draw(
            context.device, self.shape(context.device), self.dtype, "contiguous", seed_of(context.seed, name)
        )
        a, b = pairs.sets[0]
        truth = product(a.double(), b.double()).cpu()
        return Case(
            name,
            "pairwise_correlation",
            pairs.shape,
            dtype_text(self.dtype),
            pairs.moved + truth.numel() * self.dtype.itemsize,
            len(pairs.sets),
            _contender(pairs, sdfast.pairwise_correlation, truth, PRODUCT[self.dtype]),
            {EAGER: _contender(pairs, product, truth, PRODUCT[torch.float32] * 10)},
            {MM: pairs.on(lambda a, b: torch.mm(a.T, b))},
        )


def plans(context: Context) -> Iterator[Plan]:
    """Yield a product that is all reading, and two that are all arithmetic."""
    yield Plan(16384, 2048)
    yield Plan(1000, 512)
    yield Plan(8192, 1024, torch.float64)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Correlate each column of a with each of b as one would write it in torch."""
    a, b = (x - x.mean(0) for x in (a, b))
    return (a / a.norm(dim=0)).T @ (b / b.norm(dim=0))


def _contender(pairs: Pairs, call, truth: Tensor, tolerance: float) -> Contender:
    return Contender(pairs.on(call), lambda answer: largest_error(answer.cpu(), truth), tolerance)
