"""Correlations of all channels with all, against the matrix product that they cannot do without."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

import sdfast
from benchmarks import targets
from benchmarks.contest import Candidate, Lineup, hold
from benchmarks.features import PEER_TOLERANCE, draw
from sdfast.bench import compiled, largest_error

MM = "torch.mm"
TOLERANCE = 1e-6  # of a correlation that comes as float32


def centred(feats_a: Tensor, feats_b: Tensor) -> Tensor:
    """Centre and scale both, then multiply: the natural way to write it in torch."""
    a, b = (x - x.mean(0) for x in (feats_a, feats_b))
    return (a / a.norm(dim=0)).T @ (b / b.norm(dim=0))


def corrcoef(feats_a: Tensor, feats_b: Tensor) -> Tensor:
    """All with all, of which three quarters are not asked for: torch knows no other way."""
    return torch.corrcoef(torch.cat([feats_a, feats_b], dim=1).T)[: feats_a.shape[1], feats_a.shape[1] :]


def numpy_corrcoef(feats_a: np.ndarray, feats_b: np.ndarray) -> np.ndarray:
    """The same in NumPy, which computes in float64 whatever it is given."""
    return np.corrcoef(feats_a, feats_b, rowvar=False)[: feats_a.shape[1], feats_a.shape[1] :]


@pytest.mark.parametrize(
    "shape", [(1000, 512), (4000, 1024), pytest.param((2000, 2048), marks=pytest.mark.thorough)], ids=str
)
def test_pairwise(shape, benchmark, scoreboard):
    feats = draw(shape, torch.float32)
    args = (feats.feats_a, feats.feats_b)
    arrays = [x.numpy() for x in args]
    truth = numpy_corrcoef(*(x.astype(np.float64) for x in arrays))

    def candidate(run, tolerance: float = PEER_TOLERANCE) -> Candidate:
        return Candidate(run, lambda answer: largest_error(answer, truth), tolerance)

    peers = {
        "torch.corrcoef": candidate(partial(corrcoef, *args)),
        "NumPy corrcoef": candidate(partial(numpy_corrcoef, *arrays)),
        "eager": candidate(partial(centred, *args)),
        "compiled": candidate(partial(compiled(centred), *args)),
    }
    ours = candidate(partial(sdfast.pairwise_correlation, *args), TOLERANCE)
    product = {MM: partial(torch.mm, feats.feats_a.T, feats.feats_b)}
    contest = hold(benchmark, Lineup(f"pairwise {feats.shape}", feats.shape, ours, peers, product, feats.read))
    contest.compare(scoreboard)
    contest.judge(scoreboard, targets.PAIRWISE, MM)
    contest.check()
