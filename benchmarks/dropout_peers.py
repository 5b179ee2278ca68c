"""The opponents of static_dropout: unguided dropout as it is known, and the guided one written in torch."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.contest import Candidate
from benchmarks.dropouts import Activations, P, by_rate, rate_tolerance
from experiments.debias.dropblock import DropBlock3d
from sdfast.bench import compiled

F_DROPOUT = "F.dropout"
F_DROPOUT3D = "F.dropout3d"
DROPBLOCK = "DropBlock 3-D, as torchvision"
NAIVE = "naive composition"
COMPILED = "compiled composition"
_OVERLAP = 0.37, 0.05  # what cubes drop at P = 0.5, as they overlap, and less at the edges


def naive(
    x: Tensor, p: float, mask: Tensor | None, weight: Tensor | None, channel_dim: int = 1, rescale: bool = True
) -> Tensor:
    """Drop elements with the mask at the size of the features, a random tensor, a comparison and a product."""
    probability = p
    if mask is not None:
        sizes = x.movedim(channel_dim, 1).shape[2:]
        at_features = functional.interpolate(mask[:, None], sizes, mode="nearest-exact")
        probability = (p * at_features * weight.view(-1, *[1] * len(sizes))).movedim(1, channel_dim)
    kept = torch.rand_like(x) >= probability
    return x * kept / (1 - probability) if rescale else x * kept


def unguided(feats: Activations, call: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> dict[str, Candidate]:
    """Return dropout without a mask.

    Args:
        call: runs a function on features as the case at hand does, and returns what is to be judged.
    """
    found = {F_DROPOUT: by_rate(partial(call, functional.dropout), P, rate_tolerance(feats.x.numel()))}
    if feats.x.ndim == 5:
        channels = feats.x.shape[0] * feats.x.shape[1]
        found[F_DROPOUT3D] = by_rate(partial(call, functional.dropout3d), P, rate_tolerance(channels))
        found[DROPBLOCK] = by_rate(partial(call, DropBlock3d(P)), *_OVERLAP)
    return found


def composed(feats: Activations, call: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> dict[str, Candidate]:
    """Return the composition of the same guidance, as it is and compiled; `call` as above."""
    settings = {
        "p": P,
        "mask": feats.mask,
        "weight": feats.weight,
        "channel_dim": feats.channel_dim,
        "rescale": feats.guidance.rescale,
    }
    calls = {NAIVE: partial(naive, **settings), COMPILED: partial(compiled(naive), **settings)}
    allowed = rate_tolerance(feats.x.numel())
    return {name: by_rate(partial(call, run), feats.rate, allowed) for name, run in calls.items()}
