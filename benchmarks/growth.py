"""How time grows with pairs, channels, positions and layers, an error with the mean, and memory with a call."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import sdfast
from benchmarks.checks import corr_error, far_from_zero
from benchmarks.contest import WRONG, Run
from benchmarks.device import OURS, Call, Device
from benchmarks.inputs import RIVAL_TOLERANCE, FeaturePairs
from benchmarks.plan import Stage
from benchmarks.rivals import AUTHORS, authors_numpy, formulas_of
from benchmarks.targets import EAGER, TORCHMETRICS
from sdfast.bench import centred, draw_pair, interleave, one_pass

# From where a call costs next to nothing on.
AXES = {
    "N": {n: (n, 64, 392) for n in (32, 64, 128, 256, 512)},
    "C": {c: (64, c, 392) for c in (32, 64, 128, 256, 512)},
    "P": {p: (64, 64, p) for p in (196, 392, 784, 1568, 3136)},
}
LAYERS = (1, 2, 4, 8, 16)
MEANS = (1.0, 1e1, 1e2, 1e3, 1e4, 1e5)
_SAMPLES = (20000, 64)
_SMALLEST = 1e-17  # a logarithm has no place for no error at all
_KEPT = (32, 128, 8, 14, 14)  # the features beyond which memory is counted
_RESET = Path("/proc/self/clear_refs")


def stages(device: Device) -> Iterator[Stage]:
    """Yield them on the CPU; Linux alone tells the highest memory."""
    if device.kind == "cpu":
        yield Stage("error over mean", _over_mean, quick=False)
        for axis in AXES:
            yield Stage(f"growth over {axis}", partial(_over_axis, axis), quick=False)
        yield Stage("growth over layers", _over_layers, quick=False)
        for pool in (True, False) if _RESET.exists() else ():
            yield Stage(f"peak memory, {'pooled' if pool else 'positions'}", partial(_peak, pool), quick=False)


def exponent(x: tuple[float, ...], y: tuple[float, ...]) -> float:
    """Return the slope of the straight line through the logarithms: 1 where twice the size takes twice the time."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _add_curve(run: Run, case: str, axis: str, candidate: str, calls: Mapping[int, Call]) -> None:
    """Time a candidate at all sizes, in turn."""
    with torch.no_grad():
        rounds = interleave({str(size): call for size, call in calls.items()}, seconds=run.seconds)
    x, y = tuple(calls), tuple(rounds.of(str(size)).median for size in calls)
    run.log.add("curve", case=case, axis=axis, candidate=candidate, x=x, y=y, unit="s", exponent=exponent(x, y))


def _over_axis(axis: str, run: Run) -> None:
    calls: dict[str, dict[int, Callable]] = {OURS: {}, EAGER: {}}
    for size, shape in AXES[axis].items():
        pairs = FeaturePairs.draw(run.device, shape)
        expected = pairs.truth(False)
        found = {OURS: pairs.ours(sdfast.channel_bias, False, expected)}
        for name, candidate in (found | pairs.rivals({EAGER: centred}, False, expected)).items():
            (calls[name][size],) = candidate.calls
            error = candidate.error(calls[name][size]())
            assert error <= candidate.tolerance, f"{name} {shape}: error {error:.0e}"
    for name, each in calls.items():
        _add_curve(run, "co-moments", axis, name, each)


def _over_layers(run: Run) -> None:
    """Of `measure` on a model whose layers do nothing."""
    clips = torch.randn(16, 64, 8, 14, 14, generator=torch.Generator().manual_seed(0))
    batch = clips[:8], clips[8:], torch.arange(8) % 2
    model = nn.Sequential(*(nn.Identity() for _ in range(max(LAYERS))))

    def measured(number: int) -> dict:
        names = [str(layer) for layer in range(number)]
        return sdfast.measure(model, iter([batch] * 4), names, channel_dim=1, progress=False)

    assert list(measured(2)) == ["0", "1"]
    _add_curve(run, "measure", "layers", OURS, {number: partial(measured, number) for number in LAYERS})


def one_pass_double(a: Tensor, b: Tensor, channel_dim: int = 1, pool: bool = False) -> tuple[None, Tensor]:
    """Unshifted sums of (N, C) samples in float64: more digits only move the place where they fail."""
    a, b = a.double().numpy(), b.double().numpy()
    m2_a, m2_b, c_ab = ((x * y).sum(0) - x.sum(0) * y.sum(0) / len(x) for x, y in ((a, a), (b, b), (a, b)))
    with np.errstate(invalid="ignore"):
        return None, torch.from_numpy(c_ab / np.sqrt(m2_a * m2_b))


def _over_mean(run: Run) -> None:
    """Of the correlation; and the errors of rivals where ours is checked far from zero."""
    calls = {"eager one-pass": one_pass, **formulas_of((EAGER, TORCHMETRICS), run.device)}
    variants = far_from_zero(torch.float32, run).variants
    for name, call in calls.items():
        worst = max(corr_error(*error.args[:2], call) for _, error in variants)
        note = WRONG if worst > RIVAL_TOLERANCE else "not timed"
        run.log.add_row("mean/std = 1e4, outliers first", name, error=worst, note=note, status="not timed")
    calls = {OURS: sdfast.channel_bias, **calls, "one-pass in float64": one_pass_double}
    errors = {name: [] for name in calls}
    for mean in MEANS:
        a, b = (x.add_(mean) for x in draw_pair(_SAMPLES, torch.float32))
        for name, call in calls.items():
            # A correlation that is not a number is as far from the truth as one can be.
            errors[name].append(min(max(corr_error(a, b, call), _SMALLEST), 2.0))
    known = {"case": "error of the correlation", "axis": "mean/std", "x": MEANS, "unit": "", "exponent": None}
    for name, values in errors.items():
        run.log.add("curve", candidate=name, y=values, **known)
    assert max(errors[OURS]) < 1e-9, f"error over mean: {max(errors[OURS]):.0e}"


def peak_bytes(call: Call) -> int:
    """Return by how much the memory of this process rises during a call, at its highest; Linux counts it in pages."""
    call()  # what stays is not counted
    ctypes.CDLL(None).malloc_trim(0)  # nor is what was freed and not given back enough for the next call
    before = _status("VmRSS")
    _RESET.write_text("5", encoding="ascii")
    call()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    listing = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in listing if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _peak(pool: bool, run: Run) -> None:
    pairs = FeaturePairs.draw(run.device, _KEPT)
    calls = {OURS: partial(sdfast.channel_bias, *pairs.sets[0], pool=pool)}
    for name, formula in formulas_of((EAGER, TORCHMETRICS), run.device).items():
        calls[name] = partial(formula, *pairs.sets[0], 1, pool)
    if pool:
        calls[AUTHORS] = partial(authors_numpy, *pairs.as_arrays().sets[0])
    case = f"peak memory beyond {pairs.moved / 1e6:.0f} MB of features, {'pooled' if pool else 'positions'}"
    for name, call in calls.items():
        with torch.no_grad():
            run.log.add_row(case, name, note=f"{peak_bytes(call) / 1e6:.1f} MB", status="counted")
