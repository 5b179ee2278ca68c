"""The opponents: dropouts, and formulas (feats_a, feats_b, channel_dim, pool) -> (mi, corr), both (C,), of others."""

from collections.abc import Callable, Iterable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.activations import IN_PLACE, Activations, P
from benchmarks.contest import Candidate
from benchmarks.device import Device
from benchmarks.targets import CENTRED, COMPILED, EAGER, F_DROPOUT, ONE_PASS, TORCHMETRICS
from experiments.debias.dropblock import DropBlock3d  # trained with there, and timed here
from sdfast.bench import centred, mutual_information, one_pass, samples

AUTHORS, SCIPY, SCIPY_DOUBLE = "NumPy, as the authors", "SciPy pearsonr", "SciPy pearsonr, float64"
F_DROPOUT3D, DROPBLOCK = "F.dropout3d", "DropBlock 3-D, as torchvision"
COMPILED_F_DROPOUT, NAIVE = "compiled F.dropout", "naive composition"
ENDS = torch.tensor([0.025, 0.975])  # of 95 %
_OVERLAP = 0.37, 0.05  # what cubes drop at P = 0.5, as they overlap, and less at the edges


def formulas_of(names: tuple[str, ...], device: Device) -> dict[str, Callable]:
    """Return those formulas of the names that are in torch; what is missing shows when it is called."""
    compiled = {ONE_PASS: device.compiled(one_pass), CENTRED: device.compiled(centred)}
    known = {**compiled, EAGER: centred, TORCHMETRICS: torchmetrics_pearson}
    return {name: known[name] for name in names if name in known}


def torchmetrics_pearson(feats_a: Tensor, feats_b: Tensor, channel_dim: int = 1, pool: bool = True):
    """torchmetrics' PearsonCorrCoef, one output a channel, on samples as rows."""
    rows = []
    for feats in (feats_a, feats_b):
        feats, dims, _ = samples(feats, channel_dim, pool)
        rows.append(feats if len(dims) == 1 else feats.movedim(channel_dim, -1).flatten(0, -2))
    metric = _metric(rows[0].shape[1], rows[0].device)
    metric.reset()
    metric.update(*rows)
    corr = metric.compute()
    return mutual_information(corr), corr


@cache
def _metric(num_channels: int, device: torch.device):
    from torchmetrics.regression import PearsonCorrCoef

    return PearsonCorrCoef(num_outputs=num_channels).to(device)


def authors_numpy(feats_a: np.ndarray, feats_b: np.ndarray, channel_dim: int = 1, pool: bool = True):
    """The published estimator, intraclass: the pooled features of every clip are kept, then come whole-array sums.

    Both clips of a pair are centred on their common mean. It knows no other way than to pool.
    """
    if not pool:
        raise ValueError("pool: expected True, got False")
    positions = tuple(d - 1 for d in range(1, feats_a.ndim) if d != channel_dim % feats_a.ndim)
    kept_a, kept_b = [], []
    for a, b in zip(feats_a, feats_b, strict=True):
        kept_a.append(a.mean(axis=positions) if positions else a)
        kept_b.append(b.mean(axis=positions) if positions else b)
    a, b = np.stack(kept_a), np.stack(kept_b)
    mean = (a.mean(axis=0) + b.mean(axis=0)) / 2
    a, b = a - mean, b - mean
    corr = (a * b).mean(axis=0) / (((a * a).mean(axis=0) + (b * b).mean(axis=0)) / 2)
    return -0.5 * np.log1p(-corr * corr), corr


def scipy_pearsonr(a: np.ndarray, b: np.ndarray, channel_dim: int = 1, pool: bool = True) -> tuple[None, np.ndarray]:
    """SciPy's, of (N, C) samples column by column; with it comes a p-value."""
    from scipy.stats import pearsonr

    return None, pearsonr(a, b, axis=0).statistic


def sklearn_information(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """scikit-learn's mutual information of each column, from nearest neighbours: it assumes no distribution."""
    from sklearn.feature_selection import mutual_info_regression

    columns = zip(a.T, b.T, strict=True)
    return np.array([mutual_info_regression(x[:, None], y, random_state=0)[0] for x, y in columns])


def scipy_copula(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimate the information of each column from the correlation of its normal scores, by SciPy."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    scores = (ndtri(rankdata(x, axis=0) / (len(x) + 1)) for x in (a, b))
    a, b = ((x - x.mean(axis=0)) / x.std(axis=0) for x in scores)
    return -0.5 * np.log1p(-((a * b).mean(axis=0) ** 2))


def frites_copula(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Estimate the same by frites, batched over the columns; it counts in bits."""
    from frites.core import copnorm_nd, mi_nd_gg

    scores = (copnorm_nd(x.T)[:, None] for x in (a, b))
    return mi_nd_gg(*scores, mvaxis=-2, biascorrect=False) * np.log(2)


# On pooled arrays: the formula, whether features are kept in float64, and the kind of correlation that it gives.
# Float64 is as exact as ours, at twice the time and a copy.
ON_ARRAYS = {
    AUTHORS: (authors_numpy, False, "intraclass"),
    SCIPY: (scipy_pearsonr, False, "pearson"),
    SCIPY_DOUBLE: (scipy_pearsonr, True, "pearson"),
}


def naive(
    x: Tensor, p: float, mask: Tensor | None, weight: Tensor | None, channel_dim: int = 1, rescale: bool = True
) -> Tensor:
    """Drop elements with the mask at the size of the features, a random tensor, a comparison and a product."""
    probability = p
    if mask is not None:
        sizes = x.movedim(channel_dim, 1).shape[2:]
        at_features = functional.interpolate(mask[:, None], sizes, mode="nearest-exact")
        probability = (p * at_features * weight.view(-1, *[1] * len(sizes))).movedim(1, channel_dim)
    kept = torch.rand_like(x) >= probability
    return x * kept / (1 - probability) if rescale else x * kept


def loop_over_samples(rows: Iterable[Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Return the correlations of some of the samples (N, C) anew for each choice of them."""
    return torch.stack([centred(a[row], b[row])[1] for row in rows])


def loop_of_permutations(count: int, max_t: bool, a: Tensor, b: Tensor) -> Tensor:
    """Return p values of the correlations of samples (N, C); with max_t by the largest of all."""
    a, b = (functional.normalize(x - x.mean(0), dim=0) for x in (a, b))
    seen, as_much = (a * b).sum(0).abs(), torch.ones(1, a.shape[1])
    for _ in range(count):
        found = (a * b[torch.randperm(len(b))]).sum(0).abs()
        as_much += (found.amax() if max_t else found) >= seen
    return as_much / (1 + count)


def torchmetrics_bootstrapper(count: int, a: Tensor, b: Tensor) -> Tensor:
    """torchmetrics' BootStrapper around PearsonCorrCoef: a copy of the metric a resample."""
    from torchmetrics.wrappers import BootStrapper

    metric = BootStrapper(_metric(a.shape[1], a.device), count, raw=True, sampling_strategy="multinomial")
    metric.reset()
    metric.update(a, b)
    return metric.compute()["raw"].quantile(ENDS, 0)[:, None]


def scipy_resampling(count: int, a: Tensor, b: Tensor, permuted: bool = False) -> Tensor:
    """SciPy's p values by permutations, or percentiles by its bootstrap."""
    from scipy.stats import bootstrap, pearsonr, permutation_test

    def corr(x: np.ndarray, y: np.ndarray | None = None, axis: int = -1) -> np.ndarray:
        return pearsonr(x, b.numpy().T if y is None else y, axis=axis).statistic

    how = {"n_resamples": count, "vectorized": True}
    if permuted:
        return torch.from_numpy(permutation_test((a.numpy(),), corr, permutation_type="pairings", **how).pvalue)[None]
    interval = bootstrap((a.numpy(), b.numpy()), corr, paired=True, method="percentile", **how).confidence_interval
    return torch.from_numpy(np.stack(interval))[:, None]


def dropout_rivals(names: tuple[str, ...], feats: Activations) -> dict[str, Candidate]:
    """Return rivals by name; those that drop whole channels or cubes have no way with tokens.

    A composition has the same guidance as ours, and draws each element for itself.
    """
    settings = {"p": P, "mask": feats.mask, "weight": feats.weight, "channel_dim": feats.channel_dim}
    composed = partial(naive, **settings, rescale=feats.guidance.rescale)
    plain, compiled = partial(functional.dropout, p=P, inplace=feats.way == IN_PLACE), feats.device.compiled
    by_element, by_channel = (feats.chance(feats.source, each) for each in ("element", "channel"))
    known = {
        F_DROPOUT: (plain, P, by_element),
        COMPILED_F_DROPOUT: (compiled(plain), P, by_element),
        F_DROPOUT3D: (functional.dropout3d, P, by_channel),
        DROPBLOCK: (DropBlock3d(P), *_OVERLAP),
        NAIVE: (composed, feats.rate, by_element),
        COMPILED: (compiled(composed), feats.rate, by_element),
    }
    left_out = () if feats.source.ndim == 5 else (F_DROPOUT3D, DROPBLOCK)
    return {name: feats.rival(*known[name]) for name in names if name not in left_out}
