"""What a `BiasMonitor` costs a training: one measurement, as a part of 200 steps."""

import copy
import itertools
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.contest import Run
from benchmarks.device import OURS, Device
from benchmarks.measure import by_hand, in_numpy
from benchmarks.plan import Stage
from benchmarks.targets import AIMS, ITSELF
from sdfast.bench import interleave, largest_error
from sdfast.training import BiasMonitor

PAIRS, BATCH, EVERY = 32, 16, 200
CLIP = (3, 8, 32, 32)
LAYERS = ("block1.2", "block2.2", "block3.2")
_TOLERANCE = 1e-6


def stages(device: Device) -> Iterator[Stage]:
    """Yield the only stage, on the CPU."""
    if device.kind == "cpu":
        yield Stage("monitor", _over_steps)


def _model(width: int = 16) -> nn.Module:
    """Return a small 3-D CNN of three blocks."""
    blocks, channels = [], (CLIP[0], width, 2 * width, 4 * width)
    for i, (before, after) in enumerate(itertools.pairwise(channels), start=1):
        parts = nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU(), nn.MaxPool3d(2)
        blocks.append((f"block{i}", nn.Sequential(*parts)))
    head = nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels[-1], 8)
    model = nn.Sequential()
    for name, module in [*blocks, ("head", nn.Sequential(*head))]:
        model.add_module(name, module)
    return model


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, clips: torch.Tensor, labels: torch.Tensor) -> None:
    loss = nn.functional.cross_entropy(model(clips), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _over_steps(run: Run) -> None:
    generator = torch.Generator().manual_seed(0)
    model, case = _model(), f"{PAIRS} pairs beside steps of {BATCH} clips {CLIP}, one in {EVERY} steps"
    first, second = torch.randn(2, PAIRS, *CLIP, generator=generator)
    factor = torch.arange(PAIRS) % 2
    monitor = BiasMonitor(model, [*zip(first, first + second, factor.tolist(), strict=True)], LAYERS, every=EVERY)
    target = AIMS["cpu"]["monitor"][ITSELF]
    with torch.no_grad():
        bare = copy.deepcopy(model).eval()
        expected = by_hand(bare, LAYERS, [(first, first + second, factor)], in_numpy)
    found = monitor.measure()
    error = max(largest_error(found[name].corr, corr) for name, corr in expected.items())
    if not error < _TOLERANCE:
        return run.log.judge(target, case, None, f"WRONG: error {error:.0e}")
    clips, labels = torch.randn(BATCH, *CLIP, generator=generator), torch.randint(8, (BATCH,), generator=generator)
    step = partial(_step, model, torch.optim.SGD(model.parameters(), 1e-3), clips, labels)
    batches = torch.cat([first, first + second]).split(16)

    @torch.no_grad()
    def forward() -> None:
        for batch in batches:
            bare(batch)

    rounds = interleave({"step": step, "measurement": monitor.measure, "forward passes": forward})
    run.log.judge(target, case, rounds.ratio("measurement", "step").map(lambda ratio: 100 * ratio / EVERY))
    over = {OURS: rounds.ratio("forward passes", "measurement").to_dict()}
    run.log.add_row(case, "its forward passes alone", over=over, note=f"error of the monitor {error:.0e}")
