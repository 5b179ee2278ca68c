"""Co-moments of feature pairs as a torch operator."""

from typing import Any

import torch
from torch import Tensor

from sdfast.backends import is_direct, run
from sdfast.ops.checks import check_factor, check_factor_values, check_feature_pair

MOST_SUMS = 2**40  # factors times channels: 48 bytes each


def comoments(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None = None,
    num_factors: int = 2,
    channel_dim: int = 1,
    pool: bool = True,
) -> Tensor:
    """Return the co-moments of each factor and channel, (6, F, C) float64; F is 1 without `factor`.

    The six rows are count, mean_a, mean_b, m2_a, m2_b, c_ab (centred sums).
    """
    if factor is None:
        num_factors = 1
    args = (feats_a, feats_b, factor, num_factors, channel_dim, pool)
    if is_direct(feats_a, feats_b, factor):
        return run("comoments", check_arguments, args)
    check_arguments(*args, values=False)
    moments: Tensor = torch.ops.sdfast.comoments(*args)
    return moments


def check_arguments(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    num_factors: int,
    channel_dim: int,
    pool: bool,
    values: bool = True,
) -> None:
    """Raise an error that names the first argument that does not fit; `values` reads labels on the CPU, too."""
    check_feature_pair(feats_a, feats_b, channel_dim)
    check_factor(factor, feats_a, num_factors)
    channels = feats_a.shape[channel_dim]
    if num_factors * channels > MOST_SUMS:
        raise ValueError(f"num_factors: expected at most 2**40 sums of {channels} channels, got {num_factors} factors")
    if not isinstance(pool, int):
        raise TypeError(f"pool: expected True or False, got {pool!r}")
    if values and factor is not None and factor.is_cpu:
        check_factor_values(factor, num_factors)


@torch.library.custom_op("sdfast::comoments", mutates_args=())
def _comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    return run("comoments", check_arguments, (feats_a, feats_b, factor, num_factors, channel_dim, pool))


@_comoments.register_fake
def _(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor:
    return feats_a.new_empty((6, num_factors, feats_a.shape[channel_dim]), dtype=torch.float64)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    feats_a, feats_b, factor, _, ctx.channel_dim, ctx.pool = inputs
    ctx.save_for_backward(feats_a, feats_b, factor, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    feats_a, feats_b, factor, moments = ctx.saved_tensors
    layout = [1] * feats_a.ndim
    layout[ctx.channel_dim] = -1
    positions = tuple(d for d in range(1, feats_a.ndim) if d != ctx.channel_dim % feats_a.ndim)
    size = feats_a[0].numel() // feats_a.shape[ctx.channel_dim]
    num_factors = moments.shape[1]
    index = factor if factor is None or factor.is_cpu else factor.clamp(0, num_factors - 1)

    def rows(x: Tensor) -> Tensor:
        """Bring (F, C) to the layout of the features, one row a pair."""
        return x[0].view(layout) if index is None else x[index].view([len(index), *layout[1:]])

    def sample(feats: Tensor) -> Tensor:
        feats = feats.double()
        return feats.mean(positions, keepdim=True) if ctx.pool and positions else feats

    count, mean_a, mean_b, _, _, _ = (rows(x) for x in moments)
    _, g_mean_a, g_mean_b, g_m2_a, g_m2_b, g_c = (rows(x) for x in grad)
    da, db = sample(feats_a) - mean_a, sample(feats_b) - mean_b
    scale = 1 / size if ctx.pool else 1.0
    grad_a = scale * (g_mean_a / count + 2 * g_m2_a * da + g_c * db)
    grad_b = scale * (g_mean_b / count + 2 * g_m2_b * db + g_c * da)
    if index is not factor:  # no one has checked the labels: pairs of no factor have no part in anything
        known = (index == factor).view([-1] + [1] * (feats_a.ndim - 1))
        grad_a, grad_b = torch.where(known, grad_a, 0), torch.where(known, grad_b, 0)
    return (
        grad_a.to(feats_a.dtype).expand_as(feats_a),
        grad_b.to(feats_b.dtype).expand_as(feats_b),
        None,
        None,
        None,
        None,
    )


_comoments.register_autograd(_backward, setup_context=_setup_context)
