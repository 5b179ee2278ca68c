"""What is left of the correlation as the mean of features grows against their standard deviation. Nothing is timed."""

import numpy as np
import pytest
import torch

import sdfast
from benchmarks.curves import Curve
from benchmarks.features import draw
from benchmarks.peers import TorchMetrics
from sdfast.bench import centred, largest_error, one_pass

MEANS = (1.0, 1e1, 1e2, 1e3, 1e4, 1e5)
SMALLEST = 1e-17  # a logarithm has no place for no error at all


def one_pass_double(feats_a: torch.Tensor, feats_b: torch.Tensor, channel_dim: int, pool: bool) -> tuple:
    """Unshifted sums of (N, C) samples in float64: more digits only move the place where they fail."""
    a, b = feats_a.double().numpy(), feats_b.double().numpy()
    count = len(a)
    m2_a = (a * a).sum(0) - a.sum(0) ** 2 / count
    m2_b = (b * b).sum(0) - b.sum(0) ** 2 / count
    c_ab = (a * b).sum(0) - a.sum(0) * b.sum(0) / count
    with np.errstate(invalid="ignore"):
        return None, c_ab / np.sqrt(m2_a * m2_b)


@pytest.mark.filterwarnings("ignore:The variance of predictions")
def test_error_over_mean(scoreboard):
    shape = (20000, 64)
    calls = {
        "sdfast": lambda *args: sdfast.channel_bias(*args[:2], pool=False)[:2],
        "eager one-pass": one_pass,
        "eager centred": centred,
        "one-pass in float64": one_pass_double,
        "torchmetrics": TorchMetrics(shape[1]),
    }
    errors = {name: [] for name in calls}
    for mean in MEANS:
        feats = draw(shape, torch.float32)
        for x in (feats.feats_a, feats.feats_b):
            x.add_(mean)
        truth = feats.truth(pool=False)
        for name, call in calls.items():
            _, corr = call(feats.feats_a, feats.feats_b, 1, False)
            # A correlation that is not a number is as far from the truth as one can be.
            errors[name].append(min(max(largest_error(corr, truth), SMALLEST), 2.0))
    for name, values in errors.items():
        scoreboard.curves.append(Curve("error of the correlation", "mean/std", name, MEANS, tuple(values), unit=""))
    assert max(errors["sdfast"]) < 1e-9
