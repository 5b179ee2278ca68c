"""The same call with one thread and with all, and with each instruction set that this machine has."""

from functools import partial

import pytest
import torch

import sdfast
from benchmarks.contest import Candidate, Lineup, hold
from benchmarks.features import TOLERANCE, FeaturePair, draw, estimate
from sdfast import _C

SHAPE = (64, 128, 8, 14, 14)


def _call(feats: FeaturePair):
    return sdfast.channel_bias(feats.feats_a, feats.feats_b, pool=False)[:2]


def _with_threads(number: int, feats: FeaturePair):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return _call(feats)
    finally:
        torch.set_num_threads(before)


def _with_isa(name: str, feats: FeaturePair):
    before = _C.isa()
    _C.set_isa(name)
    try:
        return _call(feats)
    finally:
        _C.set_isa(before)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_threads_and_instruction_sets(dtype, benchmark, scoreboard):
    feats = draw(SHAPE, dtype)
    truth = feats.truth(pool=False)

    def candidate(run) -> Candidate:
        return estimate(run, truth, TOLERANCE[dtype])

    peers = {"1 thread": candidate(partial(_with_threads, 1, feats))}
    for name in _C.available_isas():
        peers[f"instruction set {name}"] = candidate(partial(_with_isa, name, feats))
    name = f"settings {feats.shape} {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads, {_C.isa()}"
    contest = hold(benchmark, Lineup(name, feats.shape, candidate(partial(_call, feats)), peers, feats.limits))
    contest.compare(scoreboard)
    contest.check()
