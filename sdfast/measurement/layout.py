"""Where an output has its clips: the dimension that follows their number, and the order of what is folded into it."""

from typing import NamedTuple

import torch
from torch import Tensor

from sdfast.models import Channels


class Layout(NamedTuple):
    """Where the clips are.

    Attributes:
        batch_dim: their dimension, which k positions of each clip may be folded into.
        clips_inside: whether it is the first positions of all clips, then the second ones; else it is clip by clip.
    """

    batch_dim: int = 0
    clips_inside: bool = False


FIRST = Layout()


def clips_are_first(shape: tuple[int, ...], clips: int, channels: int | Channels, tokens_first: bool) -> bool:
    """Tell whether an output leaves no doubt that its first dimension is the clips, one a row.

    Args:
        shape: of the output.
        clips: how many went into the model.
        channels: their dimension as the user says, or what is known of them.
        tokens_first: whether a layer of torch in it, or around it, is told to have tokens first.
    """
    if len(shape) < 2 or shape[0] != clips:
        return len(shape) < 2
    if len(shape) == 2 or (channels == 1 if isinstance(channels, int) else channels.are_second(shape)):
        return True
    # There may be as many tokens as clips, and behind them the clips or all of their frames.
    return bool(shape[1] % clips) if tokens_first else shape[1] != clips


def find_layout(feats: Tensor, clips: int, few: Tensor, few_clips: int) -> Layout:
    """Return the layout of an output by that of other clips, of which the first is the same.

    Args:
        feats: the output of so many `clips`.
        few: that of `few_clips`, another number.

    Raises:
        ValueError: no dimension follows the number of clips, or several do, or the order of positions that are folded
            into it shows in no value.
    """
    sizes = list(zip(feats.shape, few.shape, strict=True)) if feats.ndim == few.ndim else []
    follow = [dim for dim, (size, less) in enumerate(sizes) if size % clips == 0 and size // clips * few_clips == less]
    follow = [dim for dim in follow if feats.shape[dim]]
    if len(follow) != 1:
        raise ValueError(
            f"output: expected a first dimension of {clips} (both clips of {clips // 2} pairs) or a multiple of it, or "
            f"one other dimension that follows the number of clips, got shape {tuple(feats.shape)}, and "
            f"{tuple(few.shape)} of {few_clips} clips; pass batch_dim=..., the dimension of the clips"
        )
    (dim,) = follow
    each = feats.shape[dim] // clips
    if each == 1:
        return Layout(dim)
    rows, of_few = feats.movedim(dim, 0), few.movedim(dim, 0)
    outside, inside = _apart(rows[:each], of_few[:each]), _apart(rows[::clips], of_few[::few_clips])
    if min(outside, inside) > 0.1:
        raise ValueError(
            f"batch_dim: cannot tell the order of {each} positions of each clip in dimension {dim} of the output "
            f"{tuple(feats.shape)}, as the first clip's values depend on the other clips; pass batch_dim={dim} if it "
            "is clip by clip"
        )
    return Layout(dim, clips_inside=4 * inside < outside)


def _apart(feats: Tensor, others: Tensor) -> float:
    """Return the largest difference, as a part of the largest value; 0 where these are NaN or Inf."""
    feats, others = feats.float(), others.float()
    apart = ((feats - others).abs().amax() / others.abs().amax()).item()
    return apart if apart < torch.inf else 0.0


def find_dims(shape: tuple[int, ...], channels: int | Channels, layout: Layout = FIRST) -> tuple[int, int]:
    """Return the dimensions of the clips and of the channels in an output, from 0 on."""
    ndim = len(shape)
    if ndim < 2:
        raise ValueError(f"output: expected shape (N, C) or (N, C, ...), got {shape}")
    if not -ndim <= layout.batch_dim < ndim:
        raise ValueError(f"batch_dim: expected a dimension of the output {shape}, got {layout.batch_dim}")
    batch_dim = layout.batch_dim % ndim
    if not isinstance(channels, int):
        order = [batch_dim, *(dim for dim in range(ndim) if dim != batch_dim)]
        return batch_dim, order[channels.find([shape[dim] for dim in order])]
    if -ndim <= channels < ndim and channels % ndim != batch_dim:
        return batch_dim, channels % ndim
    raise ValueError(f"channel_dim: expected a dimension other than {batch_dim} of the output {shape}, got {channels}")


def split_batch(feats: Tensor, clips: int, channels: int | Channels, layout: Layout = FIRST) -> tuple[Tensor, int]:
    """Return a view of features whose first dimension is the clips, (clips, ...), and its channel dimension.

    k positions of each clip that are folded into its dimension become a dimension of positions. `channels` is the
    dimension of the channels, or what is known of them.
    """
    shape = tuple(feats.shape)
    batch_dim, channel_dim = find_dims(shape, channels, layout)
    feats = feats.movedim(batch_dim, 0)
    channel_dim += channel_dim < batch_dim
    if len(feats) == clips:
        return feats, channel_dim
    if len(feats) == 0 or len(feats) % clips:
        raise ValueError(
            f"output: expected a {'first dimension' if batch_dim == 0 else f'dimension {batch_dim}'} of {clips} "
            f"(both clips of {clips // 2} pairs) or a multiple of it, got shape {shape}"
        )
    if layout.clips_inside:
        return feats.unflatten(0, (-1, clips)).transpose(0, 1), channel_dim + 1
    return feats.unflatten(0, (clips, -1)), channel_dim + 1
