"""Whole calls on features as real networks make them, beside every way to get the same without this package."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch

import sdfast
from benchmarks.allocator import warm_ratio
from benchmarks.contest import Peer, hold
from benchmarks.features import draw
from benchmarks.peers import TorchMetrics, authors_numpy, centred, compiled, one_pass
from benchmarks.scoreboard import Beside


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
    Case("VideoMAE-B block", (32, 1568, 768), channel_dim=-1),
    Case("all pairs of a layer", (3000, 2048)),
)


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
    peers = {name: Peer(partial(call, *args, **settings), truth) for name, call in calls.items()}
    if case.pool:
        arrays = [x.numpy() for x in args]
        peers["NumPy, as the authors"] = Peer(
            partial(authors_numpy, *arrays, case.channel_dim), feats.truth(pool=True, kind="intraclass")
        )
    ours = partial(sdfast.channel_bias, *args, **settings)
    # All start with what fits of the features in the caches, and nothing of what the one before has written.
    contest = hold(benchmark, str(case), feats, ours, truth, peers, settle=feats.read)
    contest.compare(scoreboard)
    contest.check()
    warm = warm_ratio(case.shape, torch.float32, case.channel_dim, case.pool)
    benchmark.extra_info["times_ours"]["eager, warm allocator"] = warm.to_dict()
    scoreboard.beside.append(Beside(str(case), "eager, warm allocator", warm, contest.errors["eager"]))
