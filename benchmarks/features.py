"""Features to measure on, and the truth about them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from benchmarks.contest import Candidate
from sdfast.backends import load
from sdfast.bench import draw_pair, largest_error
from tests import truth as reference

# Of the correlation, absolute. Half precision runs in float32 lanes.
TOLERANCE = {torch.float32: 1e-12, torch.float16: 5e-6, torch.bfloat16: 5e-6}
PEER_TOLERANCE = 1e-3  # peers sum in float32
PROBE = "read probe"
_SMALL = 1.0  # MB; below it a call is all that the read probe would time
_CHUNK = 1 << 22  # elements that are float64 at a time


@dataclass(frozen=True)
class FeaturePair:
    """Paired features with a name for tables."""

    feats_a: Tensor
    feats_b: Tensor
    channel_dim: int = 1

    @property
    def megabytes(self) -> float:
        """Both tensors together, in 1e6 bytes."""
        return (self.feats_a.nbytes + self.feats_b.nbytes) / 1e6

    @property
    def shape(self) -> str:
        """The shape of one tensor as text."""
        return shape_text(self.feats_a.shape)

    @property
    def limits(self) -> dict[str, Callable[[], None]]:
        """The read probe, where there is something to read."""
        return {PROBE: self.read} if self.megabytes > _SMALL else {}

    @cached_property
    def _memory(self) -> tuple[Tensor, Tensor]:
        """The features as they lie in memory; they are dense, whatever the order of their dimensions."""
        a, b = (x.as_strided((x.numel(),), (1,)) for x in (self.feats_a, self.feats_b))
        return a, b

    def read(self) -> None:
        """Read both tensors once, as fast as the machine does: the limit."""
        for memory in self._memory:
            load("cpu").read_probe(memory)

    def truth(self, pool: bool, kind: str = "pearson") -> np.ndarray:
        """Return the (C,) correlations in float64, a few channels at a time to bound the memory."""
        channels = self.feats_a.shape[self.channel_dim]
        step = max(1, _CHUNK * channels // self.feats_a.numel())
        parts = []
        for begin in range(0, channels, step):
            size = min(step, channels - begin)
            a, b = (x.narrow(self.channel_dim, begin, size).double().numpy() for x in (self.feats_a, self.feats_b))
            moments = reference.comoments(a, b, channel_dim=self.channel_dim, pool=pool)
            parts.append(reference.correlation(moments, kind)[0])
        return np.concatenate(parts)


def draw(shape: tuple[int, ...], dtype: torch.dtype, layout: str = "contiguous", channel_dim: int = 1) -> FeaturePair:
    """Draw features as `draw_pair` does."""
    return FeaturePair(*draw_pair(shape, dtype, layout, channel_dim), channel_dim)


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape without spaces, for tables."""
    return str(tuple(shape)).replace(", ", ",")


def estimate(run: Callable[[], tuple], truth: np.ndarray, tolerance: float = PEER_TOLERANCE) -> Candidate:
    """Return a candidate whose call returns (mi, corr)."""
    return Candidate(run, lambda answer: largest_error(answer[1], truth), tolerance)
