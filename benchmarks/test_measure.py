"""What `sdfast.measure` adds to the forward passes that it needs anyway."""

import copy
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sdfast
from benchmarks import targets
from benchmarks.features import PEER_TOLERANCE
from benchmarks.scoreboard import Beside, Judged
from sdfast.bench import MIN_ROUNDS, QUICK, Rounds, centred, interleave, largest_error
from tests import truth as reference

PAIRS = 8  # in one forward pass
SHORT_RUN = 2  # batches
ROUNDS = MIN_ROUNDS if QUICK else 15
CASE = f"TransNetV2, {PAIRS} pairs a batch"


@pytest.fixture(scope="module")
def model():
    return sdfast.load_model("transnetv2")


@pytest.fixture(scope="module")
def batch(model):
    """Pairs of real clips in memory, as a loader would stack them."""
    from sdfast.pairs import VideoPairs, demo_videos

    pairs = VideoPairs(
        demo_videos(),
        num_pairs=PAIRS,
        clip_frames=model.clip_frames,
        frame_size=model.frame_size,
        transform=model.prepare,
    )
    clips_a, clips_b, factor, _ = zip(*(pairs[i] for i in range(PAIRS)), strict=True)
    return torch.stack(clips_a), torch.stack(clips_b), torch.tensor(factor)


class InTurn:
    """Batches for `measure` that time bare forward passes in between, so that each round has both.

    Two copies of the model make the bare passes, without hooks; they take turns at being first. How far they lie
    apart is noise.
    """

    def __init__(self, module: nn.Module, batch: tuple, rounds: int):
        self.batch, self.rounds = batch, rounds
        self.clips = torch.cat(batch[:2])
        self.bare = {name: copy.deepcopy(module) for name in ("bare", "bare again")}
        self.seconds: dict[str, list[float]] = {"measure": [], "bare": [], "bare again": [], "mean bare": []}

    def __iter__(self) -> Iterator[tuple]:
        yield self.batch  # warms up
        for number in range(self.rounds):
            taken = {name: self._forward(name) for name in sorted(self.bare, reverse=number % 2 == 1)}
            taken["mean bare"] = sum(taken.values()) / len(taken)
            begin = time.perf_counter()
            yield self.batch
            taken["measure"] = time.perf_counter() - begin
            for name, seconds in taken.items():
                self.seconds[name].append(seconds)

    def _forward(self, name: str) -> float:
        begin = time.perf_counter()
        self.bare[name](self.clips)
        return time.perf_counter() - begin

    def taken(self) -> Rounds:
        """Return the seconds of all rounds."""
        return Rounds({name: tuple(seconds) for name, seconds in self.seconds.items()})


def _truth(model: sdfast.VideoModel, batch: tuple) -> dict[str, np.ndarray]:
    """Return {layer: (2, C)} correlations of features that are stored first."""
    clips_a, clips_b, factor = batch
    stored = {}
    hooks = [
        model.module.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: stored.__setitem__(name, output.clone())
        )
        for name in model.layers
    ]
    with torch.no_grad():
        model.module(torch.cat([clips_a, clips_b]))
    for hook in hooks:
        hook.remove()
    corr = {}
    for name, feats in stored.items():
        a, b = (x.double().numpy() for x in (feats[:PAIRS], feats[PAIRS:]))
        corr[name] = reference.correlation(reference.comoments(a, b, factor.numpy()))
    return corr


def stored(module: nn.Module, layers: Sequence[str], batches: Sequence[tuple]) -> dict[str, Tensor]:
    """Keep the features of all batches by hooks and correlate them at the end, as if by hand: {layer: (2, C)}."""
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
    found = {}
    for name, outputs in kept.items():
        a, b = (torch.cat(halves) for halves in zip(*(output.chunk(2) for output in outputs), strict=True))
        found[name] = torch.stack([centred(a[factor == f], b[factor == f])[1] for f in (0, 1)])
    return found


def test_measure_over_bare_forward_passes(model, batch, benchmark, scoreboard):
    truth = _truth(model, batch)
    reports = sdfast.measure(model.module, iter([batch]), model.layers, progress=False)
    error = max(largest_error(reports[name].corr, truth[name]) for name in truth)
    if not error < 1e-6:
        scoreboard.judged.append(Judged(targets.MEASURE, CASE, None, f"WRONG: error {error:.0e}"))
        pytest.fail(f"measure: correlations off by {error:.0e}")

    in_turn = InTurn(model.module, batch, ROUNDS)
    sdfast.measure(model.module, iter(in_turn), model.layers, progress=False)
    rounds = in_turn.taken()
    overhead = rounds.ratio("measure", "mean bare").map(lambda ratio: 100 * (ratio - 1))
    noise = rounds.ratio("bare again", "bare")
    scoreboard.judged.append(Judged(targets.MEASURE, CASE, overhead))
    scoreboard.beside.append(Beside(CASE, "bare forward passes", rounds.ratio("mean bare", "measure"), error))
    scoreboard.beside.append(Beside(CASE, "(noise: bare again / bare)", noise))

    benchmark.pedantic(sdfast.measure, (model.module, iter([batch] * 4), model.layers), {"progress": False}, rounds=1)
    benchmark.extra_info.update(case=CASE, percent_over_bare=overhead.to_dict(), noise=noise.to_dict())


@pytest.mark.thorough
def test_short_run(model, batch, scoreboard):
    """All that a run does, set-up included, beside what else one might do."""
    module, clips, batches = copy.deepcopy(model.module), torch.cat(batch[:2]), [batch] * SHORT_RUN
    truth = _truth(model, batch)

    def bare() -> None:
        for _ in range(SHORT_RUN):
            module(clips)

    with torch.no_grad():
        # A batch twice has the correlations of one. Channels that never vary are NaN by hand, which is no answer.
        answers = stored(module, model.layers, batches)
        off = max(largest_error(np.nan_to_num(answers[name].numpy()), truth[name]) for name in truth)
        taken = interleave(
            {
                "measure": lambda: sdfast.measure(model.module, iter(batches), model.layers, progress=False),
                "bare": bare,
                "by hand": lambda: stored(module, model.layers, batches),
            }
        )
    case, right = f"a run of {SHORT_RUN} batches, set-up included", off <= PEER_TOLERANCE
    ratio = taken.ratio("by hand", "measure") if right else None
    scoreboard.beside.append(Beside(case, "bare forward passes", taken.ratio("bare", "measure")))
    scoreboard.beside.append(Beside(case, "hooks that store features", ratio, off, "" if right else "WRONG"))
