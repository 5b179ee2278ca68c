"""A handful of operations, each with its truth, its peer in eager torch, and a limit of the machine."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

# By the names that users know, so that `python -m benchmarks --compare` can go back to other layouts of the package.
from sdfast import ChannelBias, channel_bias, pairwise_correlation, static_dropout, use_backend
from sdfast.bench.features import draw_pair, dtype_text, largest_error, shape_text
from sdfast.bench.formulas import centred, centred_product

Answer = TypeVar("Answer")
_P = 0.5
_SMALL = 1 << 20  # bytes; below it a call is all that a limit would time
_FACTOR = 1.25  # any number; torch does not look at it


@dataclass(frozen=True)
class Operation(Generic[Answer]):
    """What is timed, and against what.

    Args:
        shape: of the features, with the dtype where it is not float32.
        ours, eager: the call, and the same in eager torch; what dropout draws there is its own.
        error: of our answer.
        tolerance: what error is still right.
        limit_name, limit: a call that moves or multiplies as much, and does nothing else; None where that is little.
        settle: called before each sample, to give all the same to start from.
    """

    shape: str
    ours: Callable[[], Answer]
    eager: Callable[[], object]
    error: Callable[[Answer], float]
    tolerance: float
    limit_name: str = ""
    limit: Callable[[], object] | None = None
    settle: Callable[[], object] | None = None


def _shape(x: Tensor) -> str:
    return shape_text(x.shape) + ("" if x.dtype == torch.float32 else f" {dtype_text(x.dtype)}")


def _reading(a: Tensor, b: Tensor) -> tuple[str, Callable[[], object] | None]:
    """Return what moves as many bytes as reading both takes."""
    if a.nbytes < _SMALL:
        return "", None
    # Dense, whatever the order of their dimensions.
    memory = [x.as_strided((x.numel(),), (1,)) for x in (a, b)]
    if not a.is_cpu:
        out = torch.empty_like(memory[0])
        return "device copy", lambda: out.copy_(memory[0])

    from sdfast import _C  # only here: `SDFAST_BACKEND=reference` works without

    def probe() -> None:
        for each in memory:
            _C.read_probe(each)

    return "read probe", probe


def _statistics(
    device: torch.device,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    layout: str = "contiguous",
    pool: bool = False,
) -> Operation[ChannelBias]:
    a, b = (x.to(device) for x in draw_pair(shape, dtype, layout))
    with use_backend("reference"):
        truth = channel_bias(a.double(), b.double(), pool=pool).corr.cpu()
    return Operation(
        _shape(a),
        partial(channel_bias, a, b, pool=pool),
        partial(centred, a, b, 1, pool),
        lambda answer: largest_error(answer.corr.cpu(), truth),
        1e-6 if dtype == torch.float32 else 1e-5,
        *_reading(a, b),
    )


def _dropout(device: torch.device, shape: tuple[int, ...], guided: bool = False) -> Operation[Tensor]:
    source = draw_pair(shape, torch.float32)[0].to(device)
    x = source.clone()
    guidance: dict[str, Any] = {}
    if guided:  # the upper half of each frame is static
        mask = torch.zeros(shape[0], *shape[2:], device=device)
        mask[..., : shape[-2] // 2, :] = 1
        guidance = {"mask": mask, "channel_weight": torch.rand(shape[1], device=device)}
    seed = torch.tensor(7, device=device)
    drop = partial(static_dropout, p=_P, granularity="element", rescale=not guided, seed=seed)
    first = {key: value[:1] if key == "mask" else value for key, value in guidance.items()}
    with use_backend("reference"):  # what the first sample draws does not depend on how many there are
        truth = drop(source[:1], **first).cpu()

    def eager() -> Tensor:
        if not guided:
            return functional.dropout(x, _P, inplace=True)
        probability = _P * mask[:, None] * guidance["channel_weight"].view(-1, *[1] * (len(shape) - 2))
        return x.mul_(torch.rand_like(x) >= probability)

    return Operation(
        _shape(x),
        partial(drop, x, **guidance, inplace=True),
        eager,
        lambda answer: 0.0 if torch.equal(answer[:1].cpu(), truth) else math.inf,
        0.0,
        "mul_",
        lambda: x.mul_(_FACTOR),
        lambda: x.copy_(source),  # zeros and infinities are no features
    )


def _pairwise(device: torch.device, shape: tuple[int, int]) -> Operation[Tensor]:
    a, b = (x.to(device) for x in draw_pair(shape, torch.float32))

    truth = centred_product(a.double(), b.double()).cpu()
    return Operation(
        _shape(a),
        partial(pairwise_correlation, a, b),
        partial(centred_product, a, b),
        lambda answer: largest_error(answer.cpu(), truth),
        1e-5,
        "torch.mm",
        lambda: torch.mm(a.T, b),
    )


# Each makes its tensors when it is called with a device. Larger than most caches, but for the last but one.
_FEATS = (128, 256, 8, 7, 7)
OPERATIONS: dict[str, Callable[[torch.device], Operation[Any]]] = {
    "co-moments, every position": partial(_statistics, shape=_FEATS),
    "co-moments, pooled": partial(_statistics, shape=_FEATS, pool=True),
    "co-moments, half precision": partial(_statistics, shape=_FEATS, dtype=torch.bfloat16),
    "co-moments, channels-last": partial(_statistics, shape=_FEATS, layout="channels_last"),
    "co-moments, one frame": partial(_statistics, shape=(512, 512, 7, 7)),
    "co-moments, rows": partial(_statistics, shape=(30000, 512)),
    "static dropout": partial(_dropout, shape=(16, 64, 8, 56, 56)),
    "static dropout, guided": partial(_dropout, shape=(16, 64, 8, 56, 56), guided=True),
    "co-moments, small": partial(_statistics, shape=(8, 64)),
    "pairwise correlation": partial(_pairwise, shape=(1000, 512)),
}
