"""Correlations of all channels with all, scores of ranks, neighbours, and what is left without a group."""

import numpy as np
import torch

import sdfast
from sdfast.ops import correlations_without, deviation_sums, kraskov, leave_one_out, normal_scores
from tests import truth
from tests.fuzz.drawing import DTYPES, Draw
from tests.fuzz.oracle import DOUBLE, FLOAT, Judge, Truth


def pairwise(draw: Draw, isas) -> str | None:
    """Correlate every channel with every other, in the precision of a product."""
    dtype, pool = draw.one(*DTYPES), draw.chance(0.5)
    shape = draw.shape(1500)
    others = shape[1] if draw.chance(0.4) else draw.one(1, 2, 5, 17)
    magnitude = draw.magnitude(dtype)
    feats = []
    for channels in (shape[1], others):
        _, view = draw.memory((shape[0], channels, *shape[2:]), dtype)
        draw.fill(view, draw.numbers(tuple(view.shape)) * magnitude, bad=False)
        feats.append(view)
    a, b = feats
    if draw.chance(0.3):  # correlations of 1, which rounding may take beyond
        b = torch.cat([a, b], dim=1)[:, :others] * draw.one(1, 3)
    matrix = [sdfast.pairwise_correlation(a, b, pool=pool).numpy() for _ in isas]
    # Column j of b, repeated: the oracle knows pairs.
    for j in range(min(others, 2)):
        pair = (a, b[:, j : j + 1].expand_as(a))
        # Scores are float32 but of float64, and so is their product.
        lanes = DOUBLE if dtype == torch.float64 else FLOAT
        judge = Judge(Truth.of(pair, None, 1, 1, pool), dtype, pool, lanes)
        for found in matrix:
            if wrong := judge.correlation(found[None, :, j].astype(np.float64), "pearson"):
                return f"{wrong}, pairwise: {dtype} {shape}, {others} others, column {j}, pool={pool}"
    return None


def ranks(draw: Draw, isas) -> str | None:
    """Score samples by their ranks, many of them equal."""
    shape = (draw.one(1, 2, 3, 7, 16, 33), draw.one(1, 2, 5))
    _, view = draw.memory(shape, torch.float64)
    draw.fill(view, draw.numbers(shape) * draw.magnitude(torch.float64))
    with np.errstate(invalid="ignore"):
        expected = truth.normal_scores(view.numpy())
    for _ in isas:
        if not np.allclose(normal_scores(view).numpy(), expected, rtol=0, atol=1e-9, equal_nan=True):
            return f"normal scores: {shape}, strides {view.stride()}"
    return None


def neighbours(draw: Draw, isas) -> str | None:
    """Estimate information from neighbours."""
    shape, seed = (draw.one(5, 9, 33), draw.one(1, 3)), draw.below(2**40)
    views = [draw.memory(shape, torch.float64, own=True)[1] for _ in range(2)]
    x = draw.rng.standard_normal(shape)  # without equal ones: their order is that of rounding
    for view, values in zip(views, (x, 0.5 * x + draw.rng.standard_normal(shape)), strict=True):
        view.copy_(torch.from_numpy(values * 10.0 ** draw.choices.randint(-100, 100)))
    near = draw.one(1, 2, 3)
    expected = truth.kraskov(*(view.numpy() for view in views), near, seed)
    for _ in isas:
        if not np.allclose(kraskov(*views, near, seed).numpy(), expected, rtol=0, atol=1e-9):
            return f"kraskov: {shape}, {near} neighbours"
    return None


def without_groups(draw: Draw, isas) -> str | None:
    """Leave out a group at a time, and say how far values are from their mean."""
    groups, channels, count = draw.one(1, 2, 3, 9), draw.one(1, 3, 4, 17, 40), draw.one(1, 4, 11)
    a, b = (torch.from_numpy(draw.numbers((groups * count, channels))) for _ in range(2))
    group = torch.arange(groups).repeat(count)
    group[group == draw.below(groups * 3)] = 0  # at times one group is empty
    of_groups = [Truth.of((a, b), (group != g).numpy().astype(int), 2, 1, True) for g in range(groups)]
    moments = sdfast.ops.comoments(a, b, group, groups) if groups > 1 else sdfast.ops.comoments(a, b)
    for _ in isas:
        rest, corr = leave_one_out(moments).numpy(), correlations_without(moments, True)[1].numpy()
        for g, whole in enumerate(of_groups):
            one = Truth(*(x[..., 1:, :] for x in vars(whole).values()))
            judge = Judge(one, torch.float64, True)
            if wrong := judge.moments(rest[:, g : g + 1]) or judge.correlation(corr[g : g + 1], "pearson"):
                return f"{wrong}, without group {g} of {groups}: {channels} channels"
        found = deviation_sums(b).numpy()
        gaps = b.numpy().astype(np.longdouble) - b.numpy().astype(np.longdouble).mean(0)
        sums = [(gaps**2).sum(0), (gaps**4).sum(0), (gaps**2).max(0)]
        reach = np.abs(b.numpy()).max(0) * 2.0**-44
        for k, expected in enumerate(sums):
            room = 1e-9 * expected + len(b) * (reach * np.abs(gaps).max(0) + reach**2) ** (2 if k == 1 else 1)
            room += len(b) * reach * np.abs(gaps).max(0) ** (3 if k == 1 else 1)
            if not (np.abs(found[k + 1] - expected) <= room).all():
                return f"deviation sums {k}: {tuple(b.shape)}"
    return None
