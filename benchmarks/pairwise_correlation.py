"""pairwise_correlation, against the matrix product that it cannot do without."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

import sdfast
from benchmarks.contest import Candidate, Case, Contest, Run, contend
from benchmarks.device import Device, read
from benchmarks.inputs import FeaturePairs, pairwise_truth
from benchmarks.plan import Stage
from benchmarks.targets import MM
from sdfast.bench import centred_product, dtype_text, largest_error, shape_text
from tests.support.tolerances import PRODUCT

_SHAPES = {
    "cpu": ((1000, 512), (4000, 1024), (2000, 2048)),
    "cuda": ((16384, 2048), (1000, 512)),  # all arithmetic, and all reading
}
_DOUBLE, _TINY = (8192, 1024), (40, 6)
_TOLERANCE = {"cpu": 1e-6, "cuda": 2e-6}
_OF_RIVALS = 2e-5


def stages(device: Device) -> Iterator[Stage]:
    """Yield products with as many channels on both sides."""
    shapes = [(shape, torch.float32) for shape in _SHAPES[device.kind]] + [(_DOUBLE, torch.float64)]
    for number, (shape, dtype) in enumerate(shapes):
        shape = _TINY if device.rehearses else shape
        name = f"pairwise correlation, {dtype_text(dtype)} {shape_text(shape)}"
        yield Stage(name, partial(_hold, shape, dtype), quick=number < (2 if device.kind == "cpu" else 1))


def corrcoef(feats_a: Tensor, feats_b: Tensor) -> Tensor:
    """All with all, of which three quarters are not asked for: torch knows no other way."""
    return torch.corrcoef(torch.cat([feats_a, feats_b], dim=1).T)[: feats_a.shape[1], feats_a.shape[1] :]


def numpy_corrcoef(feats_a: np.ndarray, feats_b: np.ndarray) -> np.ndarray:
    """The same in NumPy, which computes in float64 whatever it is given."""
    return np.corrcoef(feats_a, feats_b, rowvar=False)[: feats_a.shape[1], feats_a.shape[1] :]


def _hold(shape: tuple[int, int], dtype: torch.dtype, run: Run) -> Contest:
    key = f"pairwise correlation, {dtype_text(dtype)}"
    pairs = FeaturePairs.draw(run.device, shape, dtype, seed=run.seed_of(key))
    expected = pairwise_truth(*pairs.sets[0])
    tolerance = min(PRODUCT[dtype], _TOLERANCE[run.device.kind])

    def candidate(calls, tolerance: float = _OF_RIVALS) -> Candidate:
        return Candidate(calls, lambda answer: largest_error(torch.as_tensor(answer).cpu(), expected), tolerance)

    rivals = {
        "torch.corrcoef": candidate(pairs.on(corrcoef)),
        "eager": candidate(pairs.on(centred_product)),
        "compiled": candidate(pairs.on(run.device.compiled(centred_product))),
    }
    if run.device.kind == "cpu":
        rivals["NumPy corrcoef"] = candidate(pairs.as_arrays().on(numpy_corrcoef))
    ours, limits = candidate(pairs.on(sdfast.pairwise_correlation), tolerance), {MM: pairs.on(_product)}
    moved, settle = pairs.moved + expected.size * dtype.itemsize, partial(read, pairs.sets[0])
    settle = settle if run.device.kind == "cpu" else None  # all find the same of them in the caches
    return contend(Case(*pairs.names(key, "pairwise_correlation"), ours, rivals, limits, moved, settle), run)


def _product(feats_a: Tensor, feats_b: Tensor) -> Tensor:
    return torch.mm(feats_a.T, feats_b)
