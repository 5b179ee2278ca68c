"""Clips (N, T, C, H, W) that would be measured as (N, C, T, H, W), frames taken for channels."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, instancenorm, pooling

from sdfast.models import Clips, model_and_layers, tensors_of

# Layers over frames, height and width, and the attribute that says how many channels they take.
_CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d, nn.LazyConv3d)
_NORMS = (batchnorm._NormBase, instancenorm._InstanceNorm)
_COLOURS = (1, 3)


@contextmanager
def refuse_time_first(model: nn.Module, clips: Clips) -> Iterator[None]:
    """Raise ValueError in a block where a layer over (N, C, T, H, W) is given the clips as (N, T, C, H, W).

    That is said by the number of channels that the layer was made for, or by colours where frames should be: a model of
    frames may well take (N, T, C, H, W), but then it turns them before such a layer.
    """
    shapes = {tuple(x.shape) for x in tensors_of(clips) if x.ndim == 5}
    handles = []
    for name, module in model_and_layers(model).items() if shapes else ():
        if isinstance(module, (*_CONVOLUTIONS, *_NORMS)) or type(module).__module__ == pooling.__name__:
            # Before a lazy layer takes what it sees for its channels.
            handles.append(module.register_forward_pre_hook(partial(_check, name, shapes), prepend=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _check(name: str, shapes: set[tuple[int, ...]], module: nn.Module, inputs: tuple[Any, ...]) -> None:
    shape = tuple(inputs[0].shape) if inputs and isinstance(inputs[0], Tensor) else ()
    if shape not in shapes:
        return
    # A lazy layer has 0 until it has run.
    channels = getattr(module, "in_channels" if isinstance(module, conv._ConvNd) else "num_features", 0)
    second, third = shape[1:3]
    if second != channels == third if channels else second > max(_COLOURS) and third in _COLOURS:
        raise ValueError(
            f"pairs: expected clips (N, C, T, H, W), as layer {name!r} ({type(module).__name__}) takes them, got "
            f"{shape}, which looks like (N, T, C, H, W); pass forward=lambda model, clips: model(clips.transpose(1, 2))"
        )
