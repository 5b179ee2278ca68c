"""StaticDropout as a function: which elements share a draw, the defaults, and the seed."""

import torch
from torch import Tensor

from sdfast import ops
from sdfast.foundation import check_integer

SEEDS = 2**63 - 1


def static_dropout(
    x: Tensor,
    p: float = 0.5,
    *,
    mask: Tensor | None = None,
    channel_weight: Tensor | None = None,
    granularity: str | None = None,
    rescale: bool | None = None,
    training: bool = True,
    inplace: bool = False,
    seed: Tensor | int | None = None,
    channel_dim: int = 1,
) -> Tensor:
    """Drop elements of features with probability p · mask · channel_weight.

    Args:
        x: features (N, C) or (N, C, ...); float64, float32, float16 or bfloat16, any strides.
        p: probability where mask and weight are 1.
        mask: how static each position is, (N, ...) or (N, 1, ...) in [0, 1]; bool, uint8 or floating point.
            The grid has as many dimensions as x has besides batch and channel, of any size: the nearest position
            counts. (N, tokens) with channel_dim=-1. No gradient flows to it.
        channel_weight: how static each channel is, (C,) in [0, 1]. No gradient flows to it.
        granularity: what shares one draw: "element", "channel" (all of a channel in a sample) or "region" (the whole
            static region of a sample). By default region with a mask, channel with weights only, else element.
        rescale: divide what is kept by the probability of keeping it. By default only without mask and weights, as
            nn.Dropout does; guided dropout debiases better without.
        training: drop nothing and return x if False.
        inplace: write to x itself and return it.
        seed: decides what is dropped, int64: a tensor () on the device of x, or a number. By default drawn from
            torch's generator.
        channel_dim: the dimension of the channels; the others but 0 are positions.

    Returns:
        A tensor like x. Backward keeps nothing but the seed. Values of mask and weights are checked on the CPU only:
        elsewhere that would wait for the device.

    Raises:
        ValueError: p, a value or a shape does not fit.
        TypeError: x is not floating point, or an argument is of the wrong type.
        RuntimeError: in place on a leaf that requires grad or on an expanded view.

    Source: after Kowal et al., TPAMI 2024, whose own algorithm we know by its abstract only.

    >>> import torch, sdfast
    >>> static = torch.tensor([[1, 1, 0]])
    >>> sdfast.static_dropout(torch.ones(1, 2, 3), p=1.0, mask=static.bool())
    tensor([[[0., 0., 1.],
             [0., 0., 1.]]])
    """
    if not isinstance(x, Tensor):
        ops.check_features("x", x, channel_dim)
    if not training:
        return x
    if granularity is None:
        granularity = default_granularity(mask, channel_weight)
    if rescale is None:
        rescale = mask is None and channel_weight is None
    if seed is None:
        seed = torch.randint(SEEDS, (), device=x.device)
    elif not isinstance(seed, Tensor):
        check_integer("seed", seed, -SEEDS - 1, SEEDS)
        seed = torch.full(
            (), seed, dtype=torch.int64, device=x.device
        )  # filled there: a copy would wait for the device
    dropping = ops.Dropping(seed, p, mask, channel_weight, granularity_index(granularity), rescale, channel_dim)
    return ops.static_dropout(x, dropping, inplace)


def default_granularity(mask: Tensor | None, channel_weight: Tensor | None) -> str:
    """Return what shares one draw where nobody has said."""
    return "region" if mask is not None else "element" if channel_weight is None else "channel"


def granularity_index(granularity: str) -> int:
    """Return the number by which the kernels know a granularity."""
    if granularity not in ops.GRANULARITIES:
        raise ValueError(f"granularity: expected one of {', '.join(ops.GRANULARITIES)}, got {granularity!r}")
    return ops.GRANULARITIES.index(granularity)
