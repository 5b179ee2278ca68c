"""Co-moments of a batch added to those of earlier pairs, in place, by the kernel that sums the batch."""

import torch
from torch import Tensor

from sdfast.backends import is_eager, run
from sdfast.ops.comoments import check_arguments


def update_comoments(
    moments: Tensor,
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    source: Tensor | None = None,
    channel_dim: int = 1,
    pool: bool = True,
) -> Tensor | None:
    """Merge pairs into moments (6, F, C), or into (6, G, F, C) by the group `source % G`, in place. Gradients end here.

    `factor` and `source` are (N,) int64; rows of groups and factors that no pair is of are not touched.

    Returns:
        `moments`, or None where no kernel does this in one step: nothing has been added then.

    Raises:
        ValueError: features, labels and moments do not fit. Nothing has been added.
        TypeError: a dtype does not fit.
    """
    on_one = (feats_a.is_cpu and moments.is_cpu) or (feats_a.is_cuda and moments.is_cuda)
    if not (on_one and is_eager(feats_a, feats_b, factor)):
        return None
    if source is not None and type(source) is not Tensor:
        return None
    return run("update_comoments", check_update, (moments, feats_a, feats_b, factor, source, channel_dim, pool))


def check_update(
    moments: Tensor,
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    source: Tensor | None,
    channel_dim: int,
    pool: bool,
    values: bool = True,
) -> None:
    """Raise an error that names the first argument that does not fit; `values` reads labels on the CPU, too."""
    num_factors, num_channels = moments.shape[-2:]
    if factor is None and num_factors > 1:
        raise ValueError(f"factor: expected one label from 0 to {num_factors - 1} a pair, got None")
    check_arguments(feats_a, feats_b, factor, num_factors, channel_dim, pool, values)
    if feats_a.shape[channel_dim] != num_channels:
        raise ValueError(
            f"feats_a: expected {num_channels} channels along dimension {channel_dim}, got {tuple(feats_a.shape)}"
        )
    if feats_a.device != moments.device:
        raise ValueError(f"feats_a: expected device {moments.device} like the state, got {feats_a.device}")
    if source is not None:
        _check_source(source, feats_a, values)


def _check_source(source: Tensor, feats_a: Tensor, values: bool) -> None:
    if source.dtype != torch.int64:
        raise TypeError(f"source: expected dtype torch.int64, got {source.dtype}")
    if source.shape != feats_a.shape[:1]:
        raise ValueError(f"source: expected shape ({feats_a.shape[0]},), one number a pair, got {tuple(source.shape)}")
    if source.device != feats_a.device:
        raise ValueError(f"source: expected device {feats_a.device} like feats_a, got {source.device}")
    if values and source.is_cpu and source.amin() < 0:
        raise ValueError(f"source: expected numbers from 0 on, got {int(source.amin())}")
