"""The kernels against the limit of the machine, the compiled one-pass formula, and the loss of digits."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch

import sdfast
from benchmarks import targets
from benchmarks.contest import Lineup, hold
from benchmarks.features import PEER_TOLERANCE, PROBE, TOLERANCE, FeaturePair, draw, estimate
from benchmarks.peers import TorchMetrics
from benchmarks.scoreboard import Beside, Judged
from benchmarks.targets import Target
from sdfast.bench import Spread, centred, compiled, interleave, largest_error, one_pass

ONE_PASS = "compiled one-pass"
CENTRED = "compiled centred"
EAGER = "eager"


@dataclass(frozen=True)
class Case:
    """Features larger than any cache, at least 200 MB for both tensors together."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    of_probe: Target | None
    over_one_pass: Target | None = None
    layout: str = "contiguous"
    pool: bool = False

    def __str__(self) -> str:
        how = "pooled" if self.pool else self.layout.replace("_", "-")
        return f"{self.shape} {str(self.dtype).removeprefix('torch.')} {how}".replace(", ", ",")


FLOAT, BFLOAT, HALF = torch.float32, torch.bfloat16, torch.float16
CASES = (
    Case((256, 256, 8, 7, 7), FLOAT, targets.CONTIGUOUS["float32"], targets.OVER_ONE_PASS["float32"]),
    Case((64, 128, 16, 14, 14), FLOAT, targets.CONTIGUOUS["float32"]),
    Case((512, 256, 8, 7, 7), BFLOAT, targets.CONTIGUOUS["bfloat16"], targets.OVER_ONE_PASS["bfloat16"]),
    Case((512, 256, 8, 7, 7), HALF, targets.CONTIGUOUS["float16"], targets.OVER_ONE_PASS["float16"]),
    Case((1024, 512, 7, 7), FLOAT, targets.SHORT["float32"]),
    Case((2048, 512, 7, 7), BFLOAT, targets.SHORT["bfloat16"]),
    Case((256, 256, 8, 7, 7), FLOAT, targets.CHANNELS_LAST["float32"], layout="channels_last"),
    Case((512, 256, 8, 7, 7), BFLOAT, targets.CHANNELS_LAST["bfloat16"], layout="channels_last"),
    Case((256, 256, 8, 7, 7), FLOAT, targets.POOLED, pool=True),
    Case((60000, 512), FLOAT, None, targets.ROWS_OVER_ONE_PASS),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_memory_speed(case, benchmark, scoreboard):
    feats = draw(case.shape, case.dtype, case.layout)
    args, truth = (feats.feats_a, feats.feats_b), feats.truth(case.pool)
    peers = {}
    if case.over_one_pass is not None:
        formulas = {ONE_PASS: one_pass, CENTRED: centred}
        peers = {
            name: estimate(partial(compiled(formula), *args, 1, case.pool), truth) for name, formula in formulas.items()
        }
    ours = estimate(partial(sdfast.channel_bias, *args, pool=case.pool), truth, TOLERANCE[case.dtype])
    contest = hold(benchmark, Lineup(str(case), feats.shape, ours, peers, feats.limits))
    contest.compare(scoreboard)
    if case.of_probe is not None:
        contest.judge(scoreboard, case.of_probe, PROBE)
    if case.over_one_pass is not None:
        contest.judge(scoreboard, case.over_one_pass, ONE_PASS)
    contest.check()


def test_small_features(benchmark, scoreboard):
    feats = draw((8, 64), torch.float32)
    args, truth = (feats.feats_a, feats.feats_b), feats.truth(pool=True)
    peers = {EAGER: estimate(partial(centred, *args), truth)}
    ours = estimate(partial(sdfast.channel_bias, *args), truth, TOLERANCE[torch.float32])
    contest = hold(benchmark, Lineup("(8,64) float32", feats.shape, ours, peers, feats.limits))
    contest.compare(scoreboard)
    contest.judge(scoreboard, targets.OVER_EAGER, EAGER)
    contest.check()


def test_call_overhead(benchmark, scoreboard):
    feats = draw((2, 4), torch.float32)
    ours = partial(sdfast.channel_bias, feats.feats_a, feats.feats_b)
    assert largest_error(ours().corr, feats.truth(pool=True)) <= TOLERANCE[torch.float32]
    with torch.no_grad():
        taken = interleave({"call": ours}).of("call")
        benchmark.pedantic(ours, rounds=20, iterations=100, warmup_rounds=1)
    scoreboard.judged.append(Judged(targets.CALL, "(2,4)", taken.map(lambda seconds: seconds * 1e6)))


def _far_from_zero(shape: tuple[int, ...], layout: str, outlier: float | None, both: bool) -> FeaturePair:
    """Draw features with mean 1e4 and std 1, the first sample an outlier."""
    feats = draw(shape, torch.float32, layout)
    for x, far in ((feats.feats_a, True), (feats.feats_b, both)):
        x.add_(1e4)
        if outlier is not None and far:
            x[(0, slice(None), *[0] * (x.ndim - 2))] = outlier
    return feats


LAYOUTS = {
    "contiguous": ((512, 64, 49, 1), "contiguous"),
    "channels-last": ((512, 64, 7, 7), "channels_last"),
    "(N, C)": ((20000, 64), "contiguous"),
}
# What the first sample of each channel is, and whether b has it too. 0 is 1e4 standard deviations away.
FIRST_SAMPLES = {
    "none": (None, False),
    "0 in a": (0.0, False),
    "0 in both": (0.0, True),
    "2e4 in both": (2e4, True),
    "50 std in a": (1e4 + 50, False),
}


@pytest.mark.filterwarnings("ignore:The variance of predictions")
def test_far_from_zero(scoreboard):
    """Errors only: nothing here is timed."""
    worst: dict[str, float] = {}
    for shape, layout in LAYOUTS.values():
        for outlier, both in FIRST_SAMPLES.values():
            feats = _far_from_zero(shape, layout, outlier, both)
            args, truth = (feats.feats_a, feats.feats_b), feats.truth(pool=False)
            answers = {
                "sdfast": sdfast.channel_bias(*args, pool=False).corr,
                "eager one-pass": one_pass(*args, pool=False)[1],
                "eager centred": centred(*args, pool=False)[1],
                "torchmetrics": TorchMetrics(shape[1])(*args, pool=False)[1],
            }
            for name, corr in answers.items():
                worst[name] = max(worst.get(name, 0.0), largest_error(corr, truth))
    scoreboard.judged.append(Judged(targets.ERROR, "", Spread((worst["sdfast"],))))
    for name, error in worst.items():
        note = "WRONG" if error > PEER_TOLERANCE else "not timed"
        scoreboard.beside.append(Beside("mean/std = 1e4, outliers first", name, None, error, note))
    assert worst["sdfast"] < targets.ERROR.reach
