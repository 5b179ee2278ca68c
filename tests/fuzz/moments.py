"""Co-moments, correlations and information of random features: at once, in batches, by groups, from NumPy."""

import numpy as np
import torch

import sdfast
from sdfast.ops import comoments, update_comoments
from tests.fuzz.drawing import DTYPES, Draw
from tests.fuzz.oracle import DOUBLE, Judge, Truth


class Features:
    """A pair of feature tensors, their labels, and how they are to be read."""

    def __init__(self, draw: Draw, large: bool = False) -> None:
        self.dtype = draw.one(*DTYPES)
        self.pool = draw.chance(0.5)
        self.shape = draw.one((9, 40, 400), (260, 130, 2), (3, 64, 33, 9)) if large else draw.shape()
        self.factors = draw.one(1, 2, 2, 3, 5, max(2, min(40, 400 // self.shape[1])))
        self.channel_dim = 1
        self.batches = [self._pair(draw, self.shape)]

    def _pair(self, draw: Draw, shape: tuple[int, ...]) -> tuple:
        magnitude = draw.magnitude(self.dtype)
        x, y = draw.numbers(shape), draw.numbers(shape)
        if draw.chance(0.6):
            y += draw.one(1.0, 1.0, -2.0, 1e3) * x
        pair = []
        for values in (x, y):
            _, view = draw.memory(shape, self.dtype)
            with np.errstate(over="ignore"):
                draw.fill(view, values * magnitude)
            pair.append(view)
        if draw.chance(0.05):
            pair[1] = draw.one(1, 3, -7) * pair[0]  # correlations of 1, which rounding may take beyond
        labels = draw.labels(shape[0], self.factors) if self.factors > 1 else None
        return *pair, labels

    def channels_elsewhere(self, draw: Draw) -> None:
        """Move the channels to any dimension but the first."""
        self.channel_dim = draw.below(len(self.shape) - 1) + 1
        self.batches = [(*(x.movedim(1, self.channel_dim) for x in pair), labels) for *pair, labels in self.batches]
        if draw.chance(0.5):
            self.channel_dim -= len(self.shape)

    def judge(self, truth: Truth) -> Judge:
        return Judge(truth, self.dtype, self.pool)

    def __str__(self) -> str:
        a, b, _ = self.batches[0]
        return (
            f"{self.dtype} {tuple(a.shape)}, strides {a.stride()} and {b.stride()}, channel_dim {self.channel_dim}, "
            f"{self.factors} factors, pool={self.pool}, {len(self.batches)} batches"
        )


def at_once(draw: Draw, isas) -> str | None:
    """Sum up one batch, and read its correlations."""
    large = draw.chance(0.01)
    feats = Features(draw, large)
    if draw.chance(0.4):
        feats.channels_elsewhere(draw)
    a, b, labels = feats.batches[0]
    rows = None if labels is None else labels.numpy()
    judge = feats.judge(Truth.of((a, b), rows, feats.factors, feats.channel_dim, feats.pool))
    kind = draw.one("pearson", "intraclass")
    settings = {"num_factors": feats.factors, "channel_dim": feats.channel_dim, "pool": feats.pool}
    torch.set_num_threads(draw.threads(large))
    for _ in isas:
        moments = comoments(a, b, labels, **settings).numpy()
        wrong = judge.moments(moments)
        bias = sdfast.channel_bias(a, b, labels, kind=kind, **settings)
        corr, mi = (x.numpy().reshape(feats.factors, -1) for x in (bias.corr, bias.mi))
        wrong = wrong or judge.correlation(corr, kind) or check_information(mi, corr)
        if not np.array_equal(np.atleast_1d(bias.count.numpy()), judge.count[:, 0]):
            wrong = "count of channel_bias"
        if wrong:
            return f"{wrong}, kind {kind}: {feats}"
    return None


def in_batches(draw: Draw, isas) -> str | None:
    """Add batches to a state, of groups or of factors alone."""
    feats = Features(draw)
    feats.batches += [feats._pair(draw, (draw.one(1, 2, 5), *feats.shape[1:])) for _ in range(draw.below(3))]
    if draw.chance(0.3):
        feats.channels_elsewhere(draw)
    groups = draw.one(0, 0, 1, 3)
    channels, factors = feats.shape[1], feats.factors
    sources = [draw.labels(len(a), 50) for a, _, _ in feats.batches] if groups else None
    truth = None
    for i, (a, b, labels) in enumerate(feats.batches):
        rows, count = (None if labels is None else labels.numpy()), factors
        if groups:
            rows = sources[i].numpy() % groups * factors + (0 if rows is None else rows)
            count *= groups
        batch = Truth.of((a, b), rows, count, feats.channel_dim, feats.pool)
        truth = batch if truth is None else truth + batch
    judge = feats.judge(truth)
    for _ in isas:
        state = torch.zeros(6, *([groups] if groups else []), factors, channels, dtype=torch.float64)
        for i, (a, b, labels) in enumerate(feats.batches):
            source = sources[i] if groups else None
            update_comoments(state, a, b, labels, source, feats.channel_dim, feats.pool)
        if wrong := judge.moments(state.numpy().reshape(6, -1, channels)):
            return f"{wrong}, {groups} groups: {feats}"
    return None


def from_numpy(draw: Draw, isas) -> str | None:
    """Take NumPy arrays, turned around, of either byte order."""
    feats = Features(draw)
    feats.dtype = torch.float64 if feats.dtype == torch.bfloat16 else feats.dtype
    a, b, labels = feats.batches[0]
    arrays = []
    for x in (a, b):
        x = x.to(feats.dtype).numpy() if x.dtype != feats.dtype else x.numpy()
        x = x[tuple(slice(None, None, draw.one(1, -1)) for _ in x.shape)]
        arrays.append(x.astype(x.dtype.newbyteorder(draw.one("=", ">"))) if draw.chance(0.3) else x)
    labels = None if labels is None else labels.numpy()[:: draw.one(1, -1)]
    natives = (torch.from_numpy(np.array(x, dtype=x.dtype.newbyteorder("="))) for x in arrays)
    judge = feats.judge(Truth.of(tuple(natives), labels, feats.factors, 1, feats.pool))
    for _ in isas:
        bias = sdfast.channel_bias(*arrays, labels, num_factors=feats.factors, pool=feats.pool)
        corr = bias.corr.reshape(feats.factors, -1)
        if wrong := judge.correlation(corr, "pearson"):
            return f"{wrong}, from NumPy: {feats}"
    return None


def check_information(mi: np.ndarray, corr: np.ndarray) -> str | None:
    """Return what is wrong with the information that follows from correlations."""
    with np.errstate(all="ignore"):
        expected = np.log1p(-(np.longdouble(corr) ** 2)) / -2
        room = 4 * DOUBLE * (np.abs(expected) + 1 / (1 - corr * corr))  # of rounding the square
    return (
        None if ((np.abs(mi - expected) <= room) | (mi == expected) | (np.isnan(mi) & np.isnan(corr))).all() else "mi"
    )
