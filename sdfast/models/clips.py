"""Clips of any kind: tensors, or tuples, lists and dicts of them; stacked, joined, picked, and given to a model."""

from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Clips = Any  # a Tensor, or a tuple, list or Mapping of such, to any depth
_ARRAYS = (Tensor, np.ndarray, np.generic)


def call_model(model: nn.Module, clips: Clips) -> Any:
    """Call a model with a batch: the items of a tuple are its arguments, those of a dict by name, all else is one.

    >>> call_model(nn.Bilinear(2, 3, 4), (torch.ones(5, 2), torch.ones(5, 3))).shape
    torch.Size([5, 4])
    """
    if isinstance(clips, Mapping):
        return model(**clips)
    return model(*clips) if isinstance(clips, tuple) else model(clips)


def stack_clips(clips: Sequence[Clips], where: str = "clips") -> Clips:
    """Return a batch of single clips, each tensor with a first dimension more.

    What a processor of transformers returns is a batch of one already, maybe of packed patches: these are joined.

    Raises:
        ValueError: the clips are not all of one shape and kind.
        TypeError: there is no tensor or array in them.
    """
    processed = isinstance(clips[0], UserDict) and hasattr(clips[0], "convert_to_tensors")
    if processed:
        clips = [type(clip)(dict(clip), tensor_type="pt") for clip in clips]

    def put_together(where: str, *tensors: Tensor) -> Tensor:
        for tensor in tensors:
            if tensor.shape != tensors[0].shape:
                raise ValueError(
                    f"{where}: expected shape {tuple(tensors[0].shape)} like the first of its batch, "
                    f"got {tuple(tensor.shape)}"
                )
        return torch.cat(tensors) if processed else torch.stack(tensors)

    return map_clips(put_together, *clips, where=where)


def map_clips(function: Callable[..., Tensor], *clips: Clips, where: str = "clips") -> Clips:
    """Return a batch of what a function makes of the tensors that several have in the same place.

    Args:
        function: is called with where the tensors are, in words, and the tensors.
        clips: batches, or single clips, that are built alike. What is no tensor is the same in all, and is kept.
        where: what they are called, for errors.

    Raises:
        ValueError: they are not built alike.
        TypeError: there is no tensor or array in them.
    """
    if {type(clip) for clip in clips} == {Tensor}:  # as most are
        return function(where, *clips)
    if not tensors_of(clips[0]):
        got = type(clips[0]).__name__
        raise TypeError(f"{where}: expected a tensor or an array, or a tuple, list or dict with one, got {got}")
    return _map(function, where, *clips)


def tensors_of(clips: Clips) -> list[Tensor]:
    """Return all tensors in a batch, arrays as tensors."""
    if isinstance(clips, Tensor):
        return [clips]
    if isinstance(clips, _ARRAYS):
        return [torch.as_tensor(clips)]
    inside = clips.values() if isinstance(clips, Mapping) else clips if isinstance(clips, tuple | list) else ()
    return [tensor for part in inside for tensor in tensors_of(part)]


def join_clips(clips_a: Clips, clips_b: Clips, device: torch.device | str = "cpu") -> Clips:
    """Return two batches as one on a device, the second after the first.

    >>> join_clips({"x": torch.zeros(2, 3)}, {"x": torch.ones(2, 3)})["x"][:, 0]
    tensor([0., 0., 1., 1.])
    """
    return map_clips(lambda _, *parts: torch.cat([x.to(device, non_blocking=True) for x in parts]), clips_a, clips_b)


def pick_clips(clips: Clips, chosen: Sequence[int], number: int) -> Clips:
    """Return some clips of a batch of a known number; each may have several rows of a tensor, one after the other.

    >>> packed = {"patches": torch.arange(6), "grid": torch.arange(3)}
    >>> pick_clips(packed, [0, 2], 3)
    {'patches': tensor([0, 1, 4, 5]), 'grid': tensor([0, 2])}
    """
    return map_clips(lambda _, x: x.unflatten(0, (number, -1))[list(chosen)].flatten(0, 1), clips)


def frames_as_batch(model: nn.Module, clips: Clips) -> Any:
    """Call a model of images with the frames of clips (N, T, ...), as (N * T, ...).

    >>> frames_as_batch(nn.Conv2d(3, 4, 1), torch.ones(2, 5, 3, 8, 8)).shape
    torch.Size([10, 4, 8, 8])
    """
    return call_model(model, map_clips(lambda _, x: x.flatten(0, 1), clips))


def _map(function: Callable[..., Tensor], where: str, *clips: Clips) -> Clips:
    first = clips[0]
    if isinstance(first, _ARRAYS):
        _check_all(where, all(isinstance(clip, _ARRAYS) for clip in clips), "a tensor", clips)
        return function(where, *map(torch.as_tensor, clips))
    if isinstance(first, Mapping):
        alike = all(isinstance(clip, Mapping) and clip.keys() == first.keys() for clip in clips)
        _check_all(where, alike, f"a dict of {', '.join(map(str, first))}", clips)
        return {key: _map(function, f"{where}[{key!r}]", *(clip[key] for clip in clips)) for key in first}
    if isinstance(first, tuple | list):
        alike = all(type(clip) is type(first) and len(clip) == len(first) for clip in clips)
        _check_all(where, alike, f"a {type(first).__name__} of {len(first)}", clips)
        columns = enumerate(zip(*clips, strict=True))
        items = [_map(function, f"{where}[{index}]", *column) for index, column in columns]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    _check_all(where, all(clip == first for clip in clips), "a tensor, or the same", clips)
    return first


def _check_all(where: str, alike: bool, expected: str, clips: Sequence[Clips]) -> None:
    if not alike:
        kinds = dict.fromkeys(_describe(clip) for clip in clips)
        raise ValueError(f"{where}: expected {expected} in all clips, got {' and '.join(kinds)}")


def _describe(clip: Clips) -> str:
    if isinstance(clip, Mapping):
        return f"a dict of {', '.join(map(str, clip))}"
    if isinstance(clip, tuple | list):
        return f"a {type(clip).__name__} of {len(clip)}"
    return f"a {type(clip).__name__}" if isinstance(clip, _ARRAYS) else repr(clip)
