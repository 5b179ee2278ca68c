"""The samples of feature pairs: each clip's channels, averaged over positions."""

from typing import Any

import torch
from torch import Tensor

from sdfast.backends import run
from sdfast.ops.checks import check_feature_pair
from sdfast.ops.comoments import check_arguments

PAIRS = 256  # pooled at a time


def pair_means(feats_a: Tensor, feats_b: Tensor, channel_dim: int = 1) -> Tensor:
    """Return the features averaged over positions, (2, N, C) float64: those of a, and those of b. Differentiable."""
    check_feature_pair(feats_a, feats_b, channel_dim)
    means: Tensor = torch.ops.sdfast.pair_means(feats_a, feats_b, channel_dim)
    return means


@torch.library.custom_op("sdfast::pair_means", mutates_args=())
def _pair_means(feats_a: Tensor, feats_b: Tensor, channel_dim: int) -> Tensor:
    if not feats_a.is_cpu or feats_a.ndim == 2:
        # On GPUs torch averages at the speed of memory, and the kernels of the co-moments walk once a pair.
        return torch.stack([_mean(feats, channel_dim) for feats in (feats_a, feats_b)])
    means = []
    for a, b in zip(feats_a.split(PAIRS), feats_b.split(PAIRS), strict=True):
        # The co-moments of one pair each: their kernel averages several times faster than torch does.
        each = torch.arange(len(a))
        means.append(run("comoments", check_arguments, (a, b, each, len(a), channel_dim, True))[1:3])
    return torch.cat(means, dim=1)


def _mean(feats: Tensor, channel_dim: int) -> Tensor:
    dtype = torch.float64 if feats.dtype == torch.float64 else torch.float32
    return feats.movedim(channel_dim, 1).flatten(2).mean(2, dtype=dtype).double() if feats.ndim > 2 else feats.double()


@_pair_means.register_fake
def _(feats_a: Tensor, feats_b: Tensor, channel_dim: int) -> Tensor:
    return feats_a.new_empty((2, feats_a.shape[0], feats_a.shape[channel_dim]), dtype=torch.float64)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    feats_a, _, ctx.channel_dim = inputs
    ctx.shape, ctx.dtype = feats_a.shape, feats_a.dtype


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    """Spread each clip's gradient over its positions: a view, which nobody has to write."""
    pairs, channels = grad.shape[1:]
    layout = [1] * len(ctx.shape)
    layout[0], layout[ctx.channel_dim] = pairs, channels
    share = pairs * channels / ctx.shape.numel()
    grad_a, grad_b = ((share * each).to(ctx.dtype).view(layout).expand(ctx.shape) for each in grad)
    return grad_a, grad_b, None


_pair_means.register_autograd(_backward, setup_context=_setup_context)
