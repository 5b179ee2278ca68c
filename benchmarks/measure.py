"""What `sdfast.measure` adds to the forward passes that it needs anyway."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

import sdfast
from benchmarks.contest import Candidate, Case, Contest, Run, contend
from benchmarks.device import OURS, Device
from benchmarks.inputs import RIVAL_TOLERANCE
from benchmarks.plan import Stage
from benchmarks.targets import AIMS, ITSELF
from sdfast.bench import MIN_ROUNDS, Rounds, centred, largest_error, sample
from sdfast.pairs import VideoPairs, demo_videos
from tests import truth
from tests.support.moments import true_moments

PAIRS = 8  # in one forward pass
SHORT_RUN = 2  # batches
ROUNDS = 15
_SHOWN = {"bare forward passes": ("mean bare", "measure"), "(noise: bare again / bare)": ("bare again", "bare")}
_TOLERANCE = 1e-6


def stages(device: Device) -> Iterator[Stage]:
    """Yield what a batch costs and what a whole short run costs, on the CPU."""
    if device.kind == "cpu":
        yield Stage("measure", _over_bare)
        yield Stage("measure, a short run", _short_run, quick=False)


@cache
def _model_and_batch() -> tuple[sdfast.VideoModel, tuple]:
    """Return a trained model and pairs of real clips in memory, as a loader would stack them."""
    model = sdfast.load_model("transnetv2")
    settings = {"clip_frames": model.clip_frames, "frame_size": model.frame_size, "transform": model.prepare}
    pairs = VideoPairs(demo_videos(), num_pairs=PAIRS, **settings)
    clips_a, clips_b, factor, _ = zip(*(pairs[i] for i in range(PAIRS)), strict=True)
    return model, (torch.stack(clips_a), torch.stack(clips_b), torch.tensor(factor))


class InTurn:
    """Batches for `measure` that time bare forward passes in between, so that each round has both.

    Two copies of the model make the bare passes, without hooks; they take turns at being first. How far they lie
    apart is noise.
    """

    def __init__(self, module: nn.Module, batch: tuple, rounds: int):
        self.batch, self.rounds, clips = batch, rounds, torch.cat(batch[:2])
        bare = {name: copy.deepcopy(module) for name in ("bare", "bare again")}
        self.calls = {name: lambda module=module: module(clips) for name, module in bare.items()}
        self.seconds: dict[str, list[float]] = {"measure": [], "bare": [], "bare again": [], "mean bare": []}

    def __iter__(self) -> Iterator[tuple]:
        yield self.batch  # warms up
        for number in range(self.rounds):
            for name in sorted(self.calls, reverse=number % 2 == 1):
                self.seconds[name].append(sample(self.calls[name], 1))
            begin = time.perf_counter()
            yield self.batch
            self.seconds["measure"].append(time.perf_counter() - begin)
            self.seconds["mean bare"].append((self.seconds["bare"][-1] + self.seconds["bare again"][-1]) / 2)


def by_hand(
    module: nn.Module, layers: Sequence[str], batches: Sequence[tuple], correlate: Callable[..., Tensor]
) -> dict[str, Tensor]:
    """Store the features of all batches by hooks and correlate them at the end: {layer: (2, C)}."""
    kept = {name: [] for name in layers}
    hooks = [
        module.get_submodule(name).register_forward_hook(lambda _, inputs, output, name=name: kept[name].append(output))
        for name in layers
    ]
    for clips_a, clips_b, _ in batches:
        module(torch.cat([clips_a, clips_b]))
    for hook in hooks:
        hook.remove()
    factor = torch.cat([factor for _, _, factor in batches])
    halves = {name: zip(*(output.chunk(2) for output in outputs), strict=True) for name, outputs in kept.items()}
    return {name: correlate(*(torch.cat(half) for half in pair), factor) for name, pair in halves.items()}


def in_torch(a: Tensor, b: Tensor, factor: Tensor) -> Tensor:
    """Correlate the pairs of each factor, 0 for channels that never vary."""
    return torch.stack([centred(a[factor == f], b[factor == f])[1] for f in (0, 1)]).nan_to_num()


def in_numpy(a: Tensor, b: Tensor, factor: Tensor) -> np.ndarray:
    """The truth."""
    return truth.correlation(true_moments(a, b, factor))


@torch.no_grad()
def _over_bare(run: Run) -> None:
    model, batch = _model_and_batch()
    case, target = f"TransNetV2, {PAIRS} pairs a batch", AIMS["cpu"]["measure"][ITSELF]
    expected = by_hand(copy.deepcopy(model.module), model.layers, [batch], in_numpy)
    reports = sdfast.measure(model.module, iter([batch]), model.layers, progress=False)
    error = max(largest_error(reports[name].corr, corr) for name, corr in expected.items())
    if not error < _TOLERANCE:
        return run.log.judge(target, case, None, f"WRONG: error {error:.0e}")
    in_turn = InTurn(model.module, batch, MIN_ROUNDS if run.quick else ROUNDS)
    sdfast.measure(model.module, iter(in_turn), model.layers, progress=False)
    rounds = Rounds({name: tuple(seconds) for name, seconds in in_turn.seconds.items()})
    run.log.judge(target, case, rounds.ratio("measure", "mean bare").map(lambda ratio: 100 * (ratio - 1)))
    for name, pair in _SHOWN.items():
        run.log.add_row(case, name, over={OURS: rounds.ratio(*pair).to_dict()}, note=f"error of measure {error:.0e}")


def _short_run(run: Run) -> Contest:
    """Compare all that a run does, set-up included, with what else one might do."""
    model, batch = _model_and_batch()
    module, clips, batches = copy.deepcopy(model.module), torch.cat(batch[:2]), [batch] * SHORT_RUN
    with torch.no_grad():
        expected = by_hand(module, model.layers, [batch], in_numpy)  # a batch twice has the correlations of one

    def error(found: Mapping) -> float:
        corrs = {name: getattr(each, "corr", each) for name, each in found.items()}
        return max(largest_error(corrs[name], corr) for name, corr in expected.items())

    ours = [lambda: sdfast.measure(model.module, iter(batches), model.layers, progress=False)]
    stored = [partial(by_hand, module, model.layers, batches, in_torch)]
    ours, stored = Candidate(ours, error, _TOLERANCE), Candidate(stored, error, RIVAL_TOLERANCE)
    rivals = {"hooks that store features": stored}
    limits = {"bare forward passes": [lambda: [module(clips) for _ in batches]]}
    name = f"measure, {SHORT_RUN} batches", "channel_bias", "set-up included", "float32"
    return contend(Case(*name, ours, rivals, limits), run)
