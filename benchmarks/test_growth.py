"""How the time grows with pairs, channels, positions and layers; all sizes are timed in turn, in one run."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

import sdfast
from benchmarks.curves import Curve
from benchmarks.features import PEER_TOLERANCE, TOLERANCE, draw
from sdfast.bench import centred, interleave, largest_error

# From where a call costs next to nothing on.
AXES = {
    "N": {n: (n, 64, 392) for n in (32, 64, 128, 256, 512)},
    "C": {c: (64, c, 392) for c in (32, 64, 128, 256, 512)},
    "P": {p: (64, 64, p) for p in (196, 392, 784, 1568, 3136)},
}
LAYERS = (1, 2, 4, 8, 16)


def curve(case: str, axis: str, candidate: str, runs: dict[int, Callable[[], object]]) -> Curve:
    """Time a candidate at all sizes, in turn."""
    with torch.no_grad():
        rounds = interleave({str(size): run for size, run in runs.items()})
    return Curve(case, axis, candidate, tuple(runs), tuple(rounds.of(str(size)).median for size in runs))


@pytest.mark.thorough
@pytest.mark.parametrize("axis", AXES)
def test_growth(axis, scoreboard):
    feats = {size: draw(shape, torch.float32) for size, shape in AXES[axis].items()}
    calls = {
        "sdfast": (lambda a, b: sdfast.channel_bias(a, b, pool=False)[:2], TOLERANCE[torch.float32]),
        "eager": (lambda a, b: centred(a, b, 1, False), PEER_TOLERANCE),
    }
    for name, (call, tolerance) in calls.items():
        for each in feats.values():
            _, corr = call(each.feats_a, each.feats_b)
            assert largest_error(corr, each.truth(pool=False)) <= tolerance
        runs = {size: partial(call, each.feats_a, each.feats_b) for size, each in feats.items()}
        scoreboard.curves.append(curve("co-moments", axis, name, runs))


@pytest.mark.thorough
def test_growth_with_layers(scoreboard):
    """Of `measure` on a model whose layers do nothing."""
    clips = torch.randn(16, 64, 8, 14, 14, generator=torch.Generator().manual_seed(0))
    batch = clips[:8], clips[8:], torch.arange(8) % 2
    model = nn.Sequential(*(nn.Identity() for _ in range(max(LAYERS))))

    def run(number: int) -> dict:
        names = [str(layer) for layer in range(number)]
        return sdfast.measure(model, iter([batch] * 4), names, channel_dim=1, progress=False)

    assert list(run(2)) == ["0", "1"]
    scoreboard.curves.append(curve("measure", "layers", "sdfast", {number: partial(run, number) for number in LAYERS}))
