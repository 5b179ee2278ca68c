"""Features to drop from, static masks, and whether what was dropped is right."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import sdfast
from benchmarks.contest import Candidate
from benchmarks.features import shape_text
from sdfast.backends import load
from tests import truth as reference
from tests.truth import nearest

P = 0.5
SEED = 20240924
_DEVIATIONS = 5  # standard errors that a drop rate may be off


@dataclass(frozen=True)
class Guidance:
    """What static_dropout is told besides p: which part of each sample is static, how coarse, how to scale.

    Args:
        static: the share of the positions where the mask is 1; None for neither mask nor channel weights.
        pieces: in how many places that is, at most.
        grid: of the mask; None for that of the features.
    """

    static: float | None = None
    pieces: int = 1
    grid: tuple[int, ...] | None = None
    granularity: str = "element"
    rescale: bool = True


PLAIN = Guidance()


class Activations:
    """Features, and a copy of them to write to.

    Args:
        shape: (N, C, ...), or with the channels at `channel_dim`.
        sizes: T, H, W of the positions where the shape has them as one dimension of tokens.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        channel_dim: int = 1,
        guidance: Guidance = PLAIN,
        sizes: tuple[int, ...] | None = None,
    ):
        generator = torch.Generator().manual_seed(0)
        # Away from 0, which stands for dropped, and from what doubles to infinity.
        self.source = torch.rand(shape, generator=generator).add_(0.5).to(dtype)
        self.x = self.source.clone()
        self.channel_dim, self.guidance, self.seed = channel_dim, guidance, torch.tensor(SEED)
        positions = tuple(size for d, size in enumerate(shape) if d not in (0, channel_dim % len(shape)))
        self.mask = self.weight = None
        if guidance.static is not None:
            grid = guidance.grid or sizes or positions
            mask = blobs(shape[0], grid, guidance.static, guidance.pieces, generator)
            self.mask = mask.flatten(1) if sizes is not None else mask
            self.weight = torch.rand(shape[channel_dim], generator=generator)

    @property
    def shape(self) -> str:
        """The shape as text, with the dtype where it is not float32."""
        dtype = "" if self.x.dtype == torch.float32 else f" {str(self.x.dtype).removeprefix('torch.')}"
        return shape_text(self.x.shape) + dtype

    def refill(self) -> None:
        """Undo what was dropped and scaled: zeros and infinities are no features."""
        self.x.copy_(self.source)

    def read(self) -> None:
        """Read the features, so that all candidates find the same of them in the caches."""
        load("cpu").read_probe(self.x)

    def drop(self, x: Tensor, inplace: bool = False) -> Tensor:
        """Return x after static_dropout, the same elements each time."""
        return sdfast.static_dropout(
            x,
            P,
            mask=self.mask,
            channel_weight=self.weight,
            granularity=self.guidance.granularity,
            rescale=self.guidance.rescale,
            inplace=inplace,
            seed=self.seed,
            channel_dim=self.channel_dim,
        )

    @property
    def rate(self) -> float:
        """The share of all elements that is dropped in the mean."""
        if self.mask is None:
            return P
        sampled = nearest(self.mask.numpy(), self.x.movedim(self.channel_dim, 1).shape[2:])
        return P * float(sampled.mean(dtype=float)) * float(self.weight.double().mean())

    def ours(self, run: Callable[[], Tensor]) -> Candidate:
        """Return our candidate: its first sample is judged bit for bit, all of it by how much is dropped."""
        draws = {
            "element": self.x.numel(),
            "channel": self.x.shape[0] * self.x.shape[self.channel_dim],
            "region": self.x.shape[0],
        }[self.guidance.granularity]
        truth, rate = self._first_sample(), self.rate

        def error(answer: Tensor) -> float:
            return rate_error(answer, rate) if torch.equal(answer[:1], truth) else math.inf

        return Candidate(run, error, rate_tolerance(draws))

    def _first_sample(self) -> Tensor:
        """Return the truth; what the first sample draws does not depend on how many there are."""
        dropped = reference.static_dropout(
            self.source[:1].float().numpy(),
            SEED,
            P,
            None if self.mask is None else self.mask[:1].numpy(),
            None if self.weight is None else self.weight.numpy(),
            self.guidance.granularity,
            self.guidance.rescale,
            self.channel_dim,
        )
        return torch.from_numpy(dropped).to(self.x.dtype)


def by_rate(run: Callable[[], Tensor], rate: float, tolerance: float) -> Candidate:
    """Return a candidate that is judged by how much it drops."""
    return Candidate(run, lambda answer: rate_error(answer, rate), tolerance)


def rate_error(answer: Tensor, rate: float) -> float:
    """Return how far the share of zeros is from the rate; NaN is wrong."""
    if answer.isnan().any():
        return math.inf
    return abs(1 - int(answer.count_nonzero()) / answer.numel() - rate)


def rate_tolerance(draws: int) -> float:
    """Return how far chance takes the drop rate of that many draws, at p = 0.5, where it is the largest."""
    return _DEVIATIONS * 0.5 / draws**0.5


def blobs(num: int, grid: tuple[int, ...], static: float, pieces: int, generator: torch.Generator) -> Tensor:
    """Return masks (num, *grid) that are 1 in the given share of each frame, in round pieces at random places."""
    height, width = grid[-2:]
    centre = torch.rand((2, num, pieces, 1, 1), generator=generator)
    y, x = (torch.arange(size).add(0.5).div(size) for size in (height, width))
    nearest_centre = ((y[:, None] - centre[0]) ** 2 + (x - centre[1]) ** 2).amin(1).flatten(1)
    ones = nearest_centre.argsort(dim=1)[:, : round(static * height * width)]
    frames = torch.zeros_like(nearest_centre).scatter_(1, ones, 1.0)
    return frames.view(num, *[1] * (len(grid) - 2), height, width).repeat(1, *grid[:-2], 1, 1)
