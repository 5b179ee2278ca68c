"""Whole calls on features as real networks make them, beside every way to get the same without this package."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch

import sdfast
from benchmarks.allocator import compete_warm
from benchmarks.contest import Lineup, hold
from benchmarks.features import TOLERANCE, draw, estimate
from benchmarks.peers import TorchMetrics, authors_numpy
from benchmarks.scoreboard import Beside
from sdfast.bench import centred, compiled, one_pass


@dataclass(frozen=True)
class Case:
    """Features of N pairs at one layer."""

    layer: str
    shape: tuple[int, ...]
    channel_dim: int = 1
    pool: bool = True

    def __str__(self) -> str:
        return f"{self.layer} {self.shape} {'pooled' if self.pool else 'positions'}".replace(", ", ",")


CASES = (
    Case("TransNetV2 block 1", (8, 64, 16, 13, 24)),
    Case("R3D-18 layer 3", (64, 256, 8, 14, 14)),
    Case("R3D-18 layer 3", (64, 256, 8, 14, 14), pool=False),
    Case("I3D mixed 4f", (16, 832, 8, 14, 14)),
    Case("SlowFast, fast stage 4", (16, 128, 32, 14, 14)),
    Case("X3D-M stage 3", (16, 48, 16, 28, 28)),
    Case("TimeSformer block", (16, 1568, 768), channel_dim=-1, pool=False),
    Case("VideoMAE-B block", (32, 1568, 768), channel_dim=-1),
    Case("all pairs of a layer", (3000, 2048)),
)


def eager_lineup(shape: tuple[int, ...], channel_dim: int, pool: bool) -> Lineup:
    """Line up eager torch alone."""
    feats = draw(tuple(shape), torch.float32, channel_dim=channel_dim)
    args, truth = (feats.feats_a, feats.feats_b), feats.truth(pool)
    settings = {"channel_dim": channel_dim, "pool": pool}
    ours = estimate(partial(sdfast.channel_bias, *args, **settings), truth, TOLERANCE[torch.float32])
    peers = {"eager": estimate(partial(centred, *args, **settings), truth)}
    return Lineup("", feats.shape, ours, peers, settle=feats.read)


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES, ids=str)
def test_whole_call(case, benchmark, scoreboard):
    feats = draw(case.shape, torch.float32, channel_dim=case.channel_dim)
    args, settings = (feats.feats_a, feats.feats_b), {"channel_dim": case.channel_dim, "pool": case.pool}
    truth = feats.truth(case.pool)
    calls = {
        "eager": centred,
        "compiled one-pass": compiled(one_pass),
        "compiled centred": compiled(centred),
        "torchmetrics": TorchMetrics(case.shape[case.channel_dim]),
    }
    peers = {name: estimate(partial(call, *args, **settings), truth) for name, call in calls.items()}
    if case.pool:
        arrays = [x.numpy() for x in args]
        peers["NumPy, as the authors"] = estimate(
            partial(authors_numpy, *arrays, case.channel_dim), feats.truth(pool=True, kind="intraclass")
        )
    ours = estimate(partial(sdfast.channel_bias, *args, **settings), truth, TOLERANCE[torch.float32])
    # All start with what fits of the features in the caches, and nothing of what the one before has written.
    contest = hold(benchmark, Lineup(str(case), feats.shape, ours, peers, feats.limits, settle=feats.read))
    contest.compare(scoreboard)
    contest.check()
    warm = compete_warm(eager_lineup, shape=case.shape, **settings)
    warm.check()
    ratio = warm.over_ours("eager")
    benchmark.extra_info["times_ours"]["eager, warm allocator"] = ratio.to_dict()
    scoreboard.beside.append(Beside(str(case), "eager, warm allocator", ratio, warm.errors["eager"]))
