"""How much memory a call takes beyond its features: the most that the process ever held. Nothing is timed."""

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

import sdfast
from benchmarks.features import draw
from benchmarks.peers import TorchMetrics, authors_numpy
from benchmarks.scoreboard import Beside
from sdfast.bench import centred

SHAPE = (32, 128, 8, 14, 14)
_RESET = Path("/proc/self/clear_refs")


def peak_bytes(run: Callable[[], object]) -> int:
    """Return by how much the memory of this process rises during a call, at its highest; Linux counts it in pages."""
    run()  # what stays is not counted
    ctypes.CDLL(None).malloc_trim(0)  # nor is what was freed and not given back enough for the next call
    before = _status("VmRSS")
    _RESET.write_text("5", encoding="ascii")
    run()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise LookupError(name)


@pytest.mark.thorough
@pytest.mark.skipif(not _RESET.exists(), reason="Linux alone tells the highest memory")
@pytest.mark.filterwarnings("ignore:The variance of predictions")
@pytest.mark.parametrize("pool", [True, False], ids=["pooled", "positions"])
def test_peak_memory(pool, scoreboard):
    feats = draw(SHAPE, torch.float32)
    args = feats.feats_a, feats.feats_b
    calls = {
        "sdfast": partial(sdfast.channel_bias, *args, pool=pool),
        "eager": partial(centred, *args, 1, pool),
        "torchmetrics": partial(TorchMetrics(SHAPE[1]), *args, 1, pool),
    }
    if pool:
        calls["NumPy, as the authors"] = partial(authors_numpy, *(x.numpy() for x in args))
    case = f"peak memory beyond {feats.megabytes:.0f} MB of features, {'pooled' if pool else 'positions'}"
    for name, run in calls.items():
        with torch.no_grad():
            taken = peak_bytes(run)
        scoreboard.beside.append(Beside(case, name, None, note=f"{taken / 1e6:.1f} MB"))
