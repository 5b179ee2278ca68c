"""Co-moments and correlations in long double, and how far from them rounding may take a kernel."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DOUBLE, FLOAT = 2.0**-52, 2.0**-23
SHIFTED = 64  # units in the last place of squares that had the first sample subtracted, not the mean


@dataclass
class Truth:
    """Of each factor and channel (F, C): sums in long double and what their rounding is measured by.

    count, mean (2, F, C), products (3, F, C): of a, of b and of both; reach (2, F, C), how far samples are from their
    mean; size (2, F, C), the largest value; same (2, F, C), whether all values are one; known (2, F, C), whether all
    are finite.
    """

    count: np.ndarray
    mean: np.ndarray
    products: np.ndarray
    reach: np.ndarray
    size: np.ndarray
    same: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, feats: tuple[Tensor, Tensor], labels, factors: int, channel_dim: int, pool: bool) -> "Truth":
        sides = [_samples(x, channel_dim) for x in feats]  # (C, N, P)
        channels, size = sides[0].shape[0], (factors, sides[0].shape[0])
        truth = cls(np.zeros(size), *(np.zeros((k, *size), np.longdouble) for k in (2, 3, 2, 2)), *_flags(size))
        for f in range(factors):
            own = slice(None) if labels is None else np.flatnonzero(labels == f)
            if labels is not None and not own.size:
                continue
            gaps = []
            for side, whole in enumerate(sides):
                x = whole[:, own].reshape(channels, -1)
                truth.size[side, f] = np.abs(x).max(1)
                truth.known[side, f] = np.isfinite(truth.size[side, f])
                truth.same[side, f] = (x == x[:, :1]).all(1) & truth.known[side, f]
                if pool:
                    x = whole[:, own].mean(2)
                truth.mean[side, f] = x.mean(1)
                gaps.append(x - truth.mean[side, f][:, None])
                truth.reach[side, f] = np.abs(gaps[side]).max(1)
            truth.count[f] = gaps[0].shape[1]
            for k, (x, y) in enumerate(((0, 0), (1, 1), (0, 1))):
                truth.products[k, f] = (gaps[x] * gaps[y]).sum(1)
        return truth

    def __add__(self, other: "Truth") -> "Truth":
        count = self.count + other.count
        share = np.divide(other.count, count, out=np.zeros_like(count), where=count > 0)
        gap = np.where(other.count > 0, np.where(self.count > 0, other.mean - self.mean, 0), 0)
        weight = self.count * share
        between = weight * np.stack([gap[0] * gap[0], gap[1] * gap[1], gap[0] * gap[1]])
        mean = np.where(self.count > 0, self.mean + gap * share, other.mean)
        reach = np.maximum(self.reach, other.reach) + np.abs(gap)
        together = (self.count > 0) & (other.count > 0)
        same = self.same & other.same & (~together | (self.mean == other.mean))
        size = np.maximum(self.size, other.size)
        known = self.known & other.known
        return Truth(count, mean, self.products + other.products + between, reach, size, same, known)


class Judge:
    """What a kernel may make of the features that a truth is of.

    Halves are summed in float32; the others, and pooled samples of any type, in float64, unless `lanes` says how fine.
    """

    def __init__(self, truth: Truth, dtype: torch.dtype, pool: bool, lanes: float | None = None) -> None:
        half = dtype in (torch.float16, torch.bfloat16)
        lanes = lanes or (FLOAT if half and not pool else DOUBLE)
        self.count, self.same = truth.count, truth.same
        self.mean, self.products = truth.mean.astype(np.float64), truth.products.astype(np.float64)
        reach, size = truth.reach.astype(np.float64), truth.size.astype(np.float64)
        blur = 16 * (FLOAT if half else DOUBLE) * size if pool else 0 * size  # of pooled samples
        self.off_mean = SHIFTED * lanes * reach + 16 * DOUBLE * size + blur
        x, y = np.array([0, 1, 0]), np.array([0, 1, 1])
        self.off = SHIFTED * lanes * reach[x] * reach[y]
        self.off += 2 * (blur[x] * reach[y] + blur[y] * reach[x]) + 4 * blur[x] * blur[y]
        # A mean that is rounded, and then merged with another.
        self.off += 16 * DOUBLE * (reach[x] * size[y] + reach[y] * size[x] + DOUBLE * size[x] * size[y])
        self.off *= self.count
        self.known = truth.known[x] & truth.known[y]
        self.some = self.count > 0
        self._corr = {}

    def moments(self, got: np.ndarray) -> str | None:
        """Return what is wrong with co-moments (6, F, C), or None."""
        if not np.array_equal(got[0], self.count):
            return "count"
        if got[:, ~self.some].any():
            return "a factor of no pair is not zero"
        for of, gap, room in (
            ("mean", got[1:3] - self.mean, self.off_mean),
            ("sum", got[3:] - self.products, self.off),
        ):
            right = (np.abs(gap) <= room) | ~self.known[: len(gap)] | ~self.some
            if not right.all():
                return f"{of} {np.flatnonzero(~right.all((1, 2)))}"
        if np.isfinite(got[3:])[~self.known].any():
            return "a sum of what is not finite is a number"
        if (got[3:5] < 0).any():
            return "a negative spread"
        if got[3:5][self.same & self.some].any():
            return "a constant channel has a spread"
        return None

    def correlation(self, corr: np.ndarray, kind: str) -> str | None:
        """Return what is wrong with correlations (F, C), or None."""
        if kind not in self._corr:
            self._corr[kind] = self._expected(kind)
        expected, room, dead = self._corr[kind]
        unknown = (self.count < 2) | ~self.known[2]
        if not np.isnan(corr[unknown]).all():
            return "a correlation of less than two samples, or of what is not finite, is a number"
        if not (np.abs(corr) <= 1)[~unknown].all():
            return "a correlation beyond 1, or none"
        if corr[dead & ~unknown].any():
            return "a constant channel correlates"
        return "a correlation" if (np.abs(corr - expected) > room).any() else None

    def _expected(self, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return correlations, how far off they may be, inf or NaN where that says nothing, and where there is none."""
        m2_a, m2_b, c_ab = self.products
        n = np.maximum(self.count, 1)
        if kind == "pearson":
            scale = np.sqrt(m2_a) * np.sqrt(m2_b)
            of_scale = (self.off[0] / m2_a + self.off[1] / m2_b) / 2
            top, of_top = c_ab, self.off[2] / scale
            dead = self.same.any(0)
        else:
            gap, of_gap = self.mean[0] - self.mean[1], self.off_mean.sum(0)
            of_square = (np.abs(gap) * of_gap + of_gap**2) / 2
            scale = (m2_a + m2_b) / (2 * n) + gap * gap / 4
            of_scale = ((self.off[0] + self.off[1]) / (2 * n) + of_square) / scale
            top, of_top = c_ab / n - gap * gap / 4, (self.off[2] / n + of_square) / scale
            dead = self.same.all(0) & (gap == 0)
        expected = np.clip(top / scale, -1, 1)
        room = 2 * (of_top + np.abs(expected) * of_scale) + 16 * DOUBLE
        return expected, np.where((of_scale < 0.25) & (of_top < 0.25), room, np.inf), dead


def _samples(feats: Tensor, channel_dim: int) -> np.ndarray:
    feats = feats.movedim(channel_dim, 0)
    return feats.double().reshape(*feats.shape[:2], -1).numpy().astype(np.longdouble)


def _flags(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((2, *size), bool), np.ones((2, *size), bool)
