"""What it costs to be sure: grouped updates, intervals and tests from raw features, beside loops over the samples.

Each pair is a source of its own, so that peers that know of no sources are asked the same. Intervals and tests have one
thread each: what two make of calls as short as those of a loop is the scheduler's doing.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from scipy.stats import pearsonr
from torch import Tensor

import sdfast
import sdfast.statistics as st
from benchmarks import rivals
from benchmarks.contest import Candidate, Case, Contest, Run, contend
from benchmarks.device import Device
from benchmarks.inputs import FeaturePairs
from benchmarks.plan import Stage
from benchmarks.targets import AIMS, CHANNEL_BIAS, LOOP, PLAIN
from sdfast.bench import largest_error
from tests import truth
from tests.support.moments import moments_error, true_moments

GROUPS, DRAWS = st.GROUPS, 1000  # resamples, flips or permutations
_EXACT, _ROUNDED, _BY_CHANCE = 1e-9, 1e-3, 0.1  # the second in float32, the last with draws of one's own
_SMALL, _PEARSON = (100, 8), st.estimator_of("pearson")  # the former for peers that take long
Candidates = tuple[Candidate, dict[str, Candidate]]  # ours and others


def stages(device: Device) -> Iterator[Stage]:
    """Yield what is compared on the CPU."""
    for key in MAKERS if device.kind == "cpu" else ():
        yield Stage(key, partial(_hold, key), quick=key in AIMS["cpu"])


def _hold(key: str, run: Run) -> Contest:
    make, shape = MAKERS[key]
    if "update" not in key:
        torch.set_num_threads(1)  # the next stage has all again
    pairs = FeaturePairs.draw(run.device, shape, seed=run.seed_of(key))
    return contend(Case(*pairs.names(key), *make(*pairs.sets[0])), run)


def _updates(state: st.CoMoments | st.GroupedCoMoments, batches: list[tuple], first: np.ndarray) -> Candidate:
    """Return what adds the batches in turn, judged by the moments that the first of them makes."""
    calls = [lambda batch=batch: (state.update(*batch), state.moments)[1] for batch in batches]
    return Candidate(calls, lambda found: moments_error(found, first), _EXACT)


def _update(a: Tensor, b: Tensor, grouped: bool = True) -> Candidates:
    """Compare on two factors, as `measure` has them, in batches of sources that come one after the other."""
    pairs, channels = a.shape[:2]
    factor, sources = torch.arange(pairs) % 2, torch.arange(GROUPS * pairs).view(GROUPS, pairs)
    batches, moments = [(a, b, factor, source) for source in sources], true_moments(a, b, factor)
    plain, corr = _updates(st.CoMoments(channels), batches, moments), truth.correlation(moments)
    if not grouped:
        bias = [partial(sdfast.channel_bias, a, b, factor)]
        return plain, {CHANNEL_BIAS: Candidate(bias, lambda found: largest_error(found.corr, corr), _EXACT)}
    expected = true_moments(a, b, 2 * (sources[0] % GROUPS) + factor, 2 * GROUPS).reshape(6, GROUPS, 2, channels)
    return _updates(st.GroupedCoMoments(channels), batches, expected), {PLAIN: plain}


def _grouped(a: Tensor, b: Tensor) -> Tensor:
    state = st.GroupedCoMoments(a.shape[1], 1)
    state.update(a, b)
    return state.moments


def _jackknife(a: Tensor, b: Tensor) -> Candidates:
    z = np.arctanh(truth.weighted_correlations(a, b, 1 - np.eye(GROUPS + 1, GROUPS, -1)))  # the first leaves out none
    error = partial(largest_error, np.tanh(truth.ends(z[0], z[1:]))[:, None])
    rows, kept = torch.arange(len(a)) % GROUPS != torch.arange(-1, GROUPS)[:, None], torch.ones(GROUPS, 1).bool()

    def loop() -> Tensor:
        z = rivals.loop_over_samples(rows, a, b).atanh()
        return st.Spread(z[0], z[1:], kept).interval(0.95).tanh()[:, None]

    ours = Candidate([lambda: st.Jackknife(_grouped(a, b), _PEARSON).correlation_interval(0.95)], error, _EXACT)
    return ours, {LOOP: Candidate([loop], error, _ROUNDED)}


def _bootstrap(a: Tensor, b: Tensor) -> Candidates:
    drawn = torch.randint(GROUPS, (DRAWS, GROUPS), generator=torch.Generator().manual_seed(0))
    corrs = truth.weighted_correlations(a, b, [np.bincount(each, minlength=GROUPS) for each in drawn])
    error = partial(largest_error, np.quantile(corrs, (0.025, 0.975), axis=0)[:, None])
    rows = (torch.arange(0, len(a), GROUPS)[:, None] + drawn[:, None]).flatten(1)
    rows = [row[row < len(a)] for row in rows]
    loop = [lambda: rivals.loop_over_samples(rows, a, b).quantile(rivals.ENDS, 0)[:, None]]
    ours = [lambda: st.bootstrap_interval(st.Jackknife(_grouped(a, b), _PEARSON), resamples=DRAWS)]
    others = {LOOP: Candidate(loop, error, _ROUNDED)}
    peers = {"SciPy": rivals.scipy_resampling, "torchmetrics BootStrapper": rivals.torchmetrics_bootstrapper}
    for name, peer in peers.items() if a.shape == _SMALL else ():
        others[name] = Candidate([partial(peer, DRAWS, a, b)], error, _BY_CHANCE)
    return Candidate(ours, error, _EXACT), others


def _sign_flips(max_t: bool, a: Tensor, b: Tensor) -> Candidates:
    """Judge ours by the same signs on raw samples, and permutations by the law of normal samples."""
    signs = 1 - 2 * torch.randint(2, (DRAWS, GROUPS), generator=torch.Generator().manual_seed(0)).numpy()
    law, how = pearsonr(a.double(), b.double(), axis=0).pvalue, {"flips": DRAWS, "adjust": "maxT" if max_t else None}
    ours = [lambda: st.sign_flip_test(_grouped(a, b), **how)]
    others = {LOOP: partial(rivals.loop_of_permutations, DRAWS, max_t, a, b)}
    if a.shape == _SMALL and not max_t:
        others["SciPy permutation_test"] = partial(rivals.scipy_resampling, DRAWS, a, b, True)
    by_law = partial(largest_error, 1 - (1 - law) ** len(law) if max_t else law)
    others = {name: Candidate([call], by_law, _BY_CHANCE) for name, call in others.items()}
    return Candidate(ours, partial(largest_error, truth.sign_flip_p(a, b, signs)[int(max_t)]), _EXACT), others


_STATISTICS = {"jackknife": _jackknife, "bootstrap": _bootstrap}
_STATISTICS |= {"sign flips": partial(_sign_flips, False), "max-T": partial(_sign_flips, True)}
MAKERS = {"grouped update": (_update, (8, 256, 8, 7, 7)), "plain update": (partial(_update, grouped=False), (8, 64))}
MAKERS |= {key: (make, (1000, 512)) for key, make in _STATISTICS.items()}
MAKERS |= {f"{key}, small": (make, _SMALL) for key, make in _STATISTICS.items()}
