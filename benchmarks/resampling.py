"""What it costs to be sure: grouped updates, intervals and tests from raw features, beside loops over the samples.

Each pair is a source of its own, so that peers that know of no sources are asked the same.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.stats import pearsonr
from torch import Tensor

import sdfast
from benchmarks import rivals
from benchmarks.contest import Candidate, Case, Contest, Run, contend
from benchmarks.device import Device
from benchmarks.inputs import FeaturePairs
from benchmarks.plan import Stage
from benchmarks.targets import AIMS, CHANNEL_BIAS, LOOP, PERMUTATIONS, PLAIN
from sdfast.bench import largest_error
from sdfast.statistics import (
    GROUPS,
    CoMoments,
    GroupedCoMoments,
    Jackknife,
    bootstrap_interval,
    estimator_of,
    sign_flip_test,
)
from tests import truth
from tests.support.moments import moments_error, true_moments

DRAWS = 1000  # resamples, flips or permutations
_EXACT, _ROUNDED, _BY_CHANCE = 1e-9, 1e-3, 0.1  # the second in float32, the last with draws of one's own
_SHAPES = {"grouped update": (8, 256, 8, 7, 7), "plain update": (8, 64)}
_SMALL = 100, 8  # for peers that take long
Candidates = tuple[Candidate, dict[str, Candidate]]  # ours and others


def stages(device: Device) -> Iterator[Stage]:
    """Yield what is compared on the CPU; what takes a minute is left out of a quick run."""
    for key, make in MAKERS.items() if device.kind == "cpu" else ():
        slow = any(target.slow for target in AIMS["cpu"][key].values())
        yield Stage(key, partial(_hold, key, make, _SHAPES.get(key, (1000, 512))), quick=not slow)
        if slow:
            yield Stage(f"{key}, small", partial(_hold, f"{key}, small", make, _SMALL), quick=False)


def _hold(key: str, make: Callable[[Tensor, Tensor], Candidates], shape: tuple[int, ...], run: Run) -> Contest:
    pairs = FeaturePairs.draw(run.device, shape, seed=run.seed_of(key))
    return contend(Case(*pairs.names(key), *make(*pairs.sets[0])), run)


def _updates(state: CoMoments | GroupedCoMoments, batches: list[tuple], first: np.ndarray) -> Candidate:
    """Return what adds the batches in turn, judged by the moments that the first of them makes."""
    calls = [lambda batch=batch: (state.update(*batch), state.moments)[1] for batch in batches]
    return Candidate(calls, lambda found: moments_error(found, first), _EXACT)


def _grouped_update(a: Tensor, b: Tensor) -> Candidates:
    """Compare on two factors, as `measure` has them, in batches of sources that come one after the other."""
    pairs, channels = a.shape[:2]
    factor, numbers = torch.arange(pairs) % 2, torch.arange(GROUPS * pairs).view(GROUPS, pairs)
    batches, rows = [(a, b, factor, source) for source in numbers], 2 * (numbers[0] % GROUPS) + factor
    grouped = true_moments(a, b, rows, 2 * GROUPS).reshape(6, GROUPS, 2, channels)
    plain = _updates(CoMoments(channels), batches, true_moments(a, b, factor))
    return _updates(GroupedCoMoments(channels), batches, grouped), {PLAIN: plain}


def _plain_update(a: Tensor, b: Tensor) -> Candidates:
    moments = true_moments(a, b)
    corr = truth.correlation(moments)[0]
    bias = Candidate([partial(sdfast.channel_bias, a, b)], lambda found: largest_error(found.corr, corr), _EXACT)
    return _updates(CoMoments(a.shape[1], 1), [(a, b)], moments), {CHANNEL_BIAS: bias}


def _grouped(a: Tensor, b: Tensor) -> Tensor:
    state = GroupedCoMoments(a.shape[1], 1)
    state.update(a, b)
    return state.moments


def _knife(a: Tensor, b: Tensor) -> Jackknife:
    return Jackknife(_grouped(a, b), estimator_of("pearson"))


def _jackknife(a: Tensor, b: Tensor) -> Candidates:
    z = np.arctanh(_weighted(a, b, 1 - np.eye(GROUPS + 1, GROUPS, -1)))  # the first leaves out none
    error = partial(largest_error, np.tanh(truth.ends(z[0], z[1:]))[:, None])
    loop = Candidate([partial(rivals.loop_of_deletions, a, b)], error, _ROUNDED)
    return Candidate([lambda: _knife(a, b).correlation_interval(0.95)], error, _EXACT), {LOOP: loop}


def _bootstrap(a: Tensor, b: Tensor) -> Candidates:
    drawn = torch.randint(GROUPS, (DRAWS, GROUPS), generator=torch.Generator().manual_seed(0))
    corrs = _weighted(a, b, np.stack([np.bincount(each, minlength=GROUPS) for each in drawn]))
    error = partial(largest_error, np.quantile(corrs, (0.025, 0.975), axis=0)[:, None])
    others = {LOOP: Candidate([partial(rivals.loop_of_resamples, drawn, a, b)], error, _ROUNDED)}
    peers = {"SciPy": rivals.scipy_bootstrap, "torchmetrics BootStrapper": rivals.torchmetrics_bootstrapper}
    for name, peer in peers.items() if a.shape == _SMALL else ():
        others[name] = Candidate([partial(peer, DRAWS, a, b)], error, _BY_CHANCE)
    return Candidate([lambda: bootstrap_interval(_knife(a, b), resamples=DRAWS)], error, _EXACT), others


def _sign_flips(adjust: str | None, a: Tensor, b: Tensor) -> Candidates:
    """Judge ours by the same signs on raw samples, and permutations by the law of normal samples."""
    signs = 1 - 2 * torch.randint(2, (DRAWS, GROUPS), generator=torch.Generator().manual_seed(0)).numpy()
    x, y = (feats.double().numpy() for feats in (a, b))
    products = (x - x.mean(axis=0)) * (y - y.mean(axis=0))
    sums = np.stack([products[group::GROUPS].sum(axis=0) for group in range(GROUPS)])
    sums, law = sums / np.linalg.norm(sums, axis=0), pearsonr(x, y, axis=0).pvalue
    flipped, others = np.abs(signs @ sums), {PERMUTATIONS: partial(rivals.loop_of_permutations, DRAWS, bool(adjust))}
    if adjust:
        flipped, law = flipped.max(axis=1, keepdims=True), 1 - (1 - law) ** len(law)
    elif a.shape == _SMALL:
        others["SciPy"] = partial(rivals.scipy_permutations, DRAWS)
    error = partial(largest_error, (1 + (flipped >= np.abs(sums.sum(axis=0))).sum(axis=0)) / (1 + DRAWS))
    ours = Candidate([lambda: sign_flip_test(_grouped(a, b), flips=DRAWS, adjust=adjust)], error, _EXACT)
    by_law = partial(largest_error, law)
    return ours, {name: Candidate([partial(call, a, b)], by_law, _BY_CHANCE) for name, call in others.items()}


def _weighted(a: Tensor, b: Tensor, weights: np.ndarray) -> np.ndarray:
    """Return the correlations (B, C) of raw samples in float64, those of group k as often as weights (B, K) say."""
    weights = weights[:, np.arange(len(a)) % GROUPS] * 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    x, y = (feats.double().numpy() - feats.double().numpy().mean(axis=0) for feats in (a, b))
    mean_x, mean_y, xx, yy, xy = (weights @ each for each in (x, y, x * x, y * y, x * y))
    return (xy - mean_x * mean_y) / np.sqrt((xx - mean_x**2) * (yy - mean_y**2))


MAKERS = {"grouped update": _grouped_update, "plain update": _plain_update, "jackknife": _jackknife}
MAKERS |= {"bootstrap": _bootstrap, "sign flips": partial(_sign_flips, None), "max-T": partial(_sign_flips, "maxT")}
