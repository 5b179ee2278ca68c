"""Pairs of features to measure on, several sets to take turns, and the truth about them in float64."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.contest import Candidate
from benchmarks.device import Call, Device
from sdfast.backends import load
from sdfast.bench import draw_pair, dtype_text, largest_error, shape_text
from tests import truth
from tests.support.moments import true_moments
from tests.support.tolerances import CORRELATION

RIVAL_TOLERANCE = 1e-3  # of the correlation, absolute: rivals sum in float32
_CHUNK = 1 << 22  # elements that are float64 at a time


def pairwise_truth(feats_a: Tensor, feats_b: Tensor) -> np.ndarray:
    """Return the correlations of all channels with all in float64, 0 where a channel of a never varies."""
    a, b = (x.double().cpu().numpy() for x in (feats_a, feats_b))
    with np.errstate(invalid="ignore"):
        expected = truth.pairwise_correlation(a, b)
    expected[np.ptp(a, axis=0) == 0] = 0
    return expected


@dataclass(frozen=True)
class FeaturePairs:
    """Sets of paired features that take turns."""

    sets: list[tuple[Tensor, Tensor]]
    channel_dim: int = 1
    labels: Tensor | None = None
    num_factors: int = 1

    @classmethod
    def draw(
        cls,
        device: Device,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        layout: str = "contiguous",
        channel_dim: int = 1,
        num_factors: int = 1,
        seed: int = 0,
        most: int | None = None,
    ) -> "FeaturePairs":
        """Draw as many sets as no cache holds, at most `most`."""
        generator = device.generator(seed)
        draw = partial(draw_pair, shape, dtype, layout, channel_dim, generator)
        first = draw()
        count = device.sets(first[0].nbytes + first[1].nbytes)
        sets = [first, *(draw() for _ in range(min(count, most or count) - 1))]
        labels = None
        if num_factors > 1:
            labels = torch.randint(num_factors, shape[:1], generator=generator, device=generator.device)
        return cls(sets, channel_dim, labels, num_factors)

    def names(self, key: str, operation: str = "channel_bias") -> tuple[str, str, str, str]:
        """Return what a case on them is called: key, operation, shape and dtype."""
        return key, operation, shape_text(self.sets[0][0].shape), dtype_text(self.sets[0][0].dtype)

    @property
    def moved(self) -> int:
        """Bytes that must be read: those of one set."""
        return sum(x.nbytes for x in self.sets[0])

    def as_arrays(self, double: bool = False) -> "FeaturePairs":
        """Return the same in NumPy, in the same memory or in float64."""
        arrays = [tuple((x.double() if double else x).numpy() for x in pair) for pair in self.sets]
        return FeaturePairs(arrays, self.channel_dim)

    def on(self, run: Callable[[Tensor, Tensor], object], *further: object) -> list[Call]:
        """Return a call on each set."""
        return [partial(run, a, b, *further) for a, b in self.sets]

    def truth(self, pool: bool, kind: str = "pearson") -> np.ndarray:
        """Return the (F, C) correlations of the first set, a few channels at a time to bound the memory."""
        channels, parts = self.sets[0][0].shape[self.channel_dim], []
        step = max(1, _CHUNK * channels // self.sets[0][0].numel())
        for begin in range(0, channels, step):
            size = min(step, channels - begin)
            a, b = (x.narrow(self.channel_dim, begin, size).double() for x in self.sets[0])
            args = a, b, self.labels, self.num_factors, self.channel_dim, pool
            # On a GPU not in NumPy, as gigabytes would take minutes.
            moments = true_moments(*args) if a.is_cpu else load("reference").comoments(*args).cpu().numpy()
            parts.append(truth.correlation(moments, kind))
        return np.concatenate(parts, axis=1)

    def ours(self, call: Callable, pool: bool, expected: np.ndarray) -> Candidate:
        """Return what is judged of ours: `call` is `channel_bias`, perhaps with something around it."""
        settings = {} if pool else {"pool": False}  # what is left out takes no time
        settings |= {} if self.channel_dim == 1 else {"channel_dim": self.channel_dim}
        if self.labels is not None:
            settings |= {"factor": self.labels, "num_factors": self.num_factors}
        expected = expected[0] if self.labels is None else expected
        calls = [partial(call, a, b, **settings) for a, b in self.sets]
        return Candidate(calls, partial(_error, expected), CORRELATION[self.sets[0][0].dtype])

    def rivals(self, formulas: Mapping[str, Callable], pool: bool, expected: np.ndarray) -> dict[str, Candidate]:
        """Return the candidates of formulas `(feats_a, feats_b, channel_dim, pool)` -> `(mi, corr)`."""
        calls = {name: self.on(formula, self.channel_dim, pool) for name, formula in formulas.items()}
        return {name: Candidate(each, partial(_error, expected[0]), RIVAL_TOLERANCE) for name, each in calls.items()}


def _error(expected: np.ndarray, answer: tuple) -> float:
    corr = answer[1]
    return largest_error(corr.cpu() if isinstance(corr, Tensor) else corr, expected)
