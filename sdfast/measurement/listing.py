"""What a measurement would find in each layer of a model: the shape of its output, its clips and its channels."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sdfast.measurement.accumulation import Forward
from sdfast.measurement.capture import Capture, Key, untouched
from sdfast.measurement.layout import Layout, find_dims
from sdfast.models import (
    Channels,
    Clips,
    call_model,
    check_model,
    first_tensor,
    join_clips,
    match_dims,
    match_layers,
)
from sdfast.statistics import GroupedCoMoments


class LayerOutput(NamedTuple):
    """The output of a layer for a pair of clips.

    Attributes:
        name: that of its report; `name#2` is the second call in a forward pass.
        type: the class of the module.
        shape: of the output, both clips in it; None where there is no tensor.
        batch_dim: the dimension of the clips, or None.
        positions: how many positions of each clip are folded into that dimension.
        channel_dim: the dimension of the channels, or None.
        channels: how many.
        refused: why it cannot be measured, or an empty string.
        clips_inside: whether positions folded into that dimension come first ones of all clips first, then the second.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None = None
    batch_dim: int | None = None
    positions: int = 1
    channel_dim: int | None = None
    channels: int | None = None
    refused: str = ""
    clips_inside: bool = False


def list_layers(
    model: nn.Module,
    clips_a: Clips,
    clips_b: Clips,
    layers: str | Sequence[str] = "**",
    *,
    channel_dim: int | Mapping[str, int] | None = None,
    batch_dim: int | Mapping[str, int] | None = None,
    forward: Forward | None = None,
) -> list[LayerOutput]:
    """Return what `measure` would find in each layer, in the order of the model, from a batch of one pair of clips.

    Args:
        model: any module.
        clips_a, clips_b: batches of one clip, as the model takes them.
        layers: names or glob patterns.
        channel_dim, batch_dim, forward: as in `measure`.

    Raises:
        ValueError: a pattern matches nothing.
        TypeError: model is no module.

    >>> model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU())
    >>> for layer in list_layers(model, torch.rand(1, 3, 5, 8, 8), torch.rand(1, 3, 5, 8, 8)):
    ...     print(layer.name, layer.type, layer.shape, layer.channel_dim, layer.channels)
    0 Conv3d (2, 4, 5, 8, 8) 1 4
    1 ReLU (2, 4, 5, 8, 8) 1 4
    """
    check_model(model)
    matches = match_layers(model, layers)
    channel_dims = match_dims("channel_dim", model, channel_dim, matches)
    batch_dims = match_dims("batch_dim", model, batch_dim, matches)
    with untouched(model, None) as device:
        capture = _Listing(model, matches, channel_dims, _make_state, batch_dims)
        capture.expect(*torch.zeros(2, 1, dtype=torch.int64))
        clips = join_clips(clips_a, clips_b, device)
        run = partial(forward or call_model, model)
        with capture:
            run(clips)
            if capture.unclear:
                capture.settle(run, clips)
    return capture.listed()


def _make_state(num_channels: int, device: torch.device) -> GroupedCoMoments:
    return GroupedCoMoments(num_channels, device=device)


class _Listing(Capture[GroupedCoMoments]):
    """Keep what is found of the outputs instead of the features; what is refused is a finding, too."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._found: dict[Key, LayerOutput] = {}

    def listed(self) -> list[LayerOutput]:
        """Return the layers in the order of the model, those that no forward pass calls among them."""
        rows = []
        for module, name in self._names.items():
            calls = [self._found[key] for key in sorted(key for key in self._found if key[0] == name)]
            for number, found in enumerate(calls, 1):
                rows.append(found._replace(name=f"{name}#{number}") if len(calls) > 1 else found)
            if not calls:
                rows.append(LayerOutput(name, type(module).__name__, refused="not called"))
        return rows

    def _consume(self, module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        key = self._names[module], self._calls[module]
        try:
            super()._consume(module, inputs, output)
        except (TypeError, ValueError) as error:
            feats = first_tensor(output)
            shape = None if feats is None else tuple(feats.shape)
            self._found[key] = LayerOutput(key[0], type(module).__name__, shape, refused=str(error.__cause__))

    def _add(self, key: Key, feats: Tensor, channels: int | Channels, layout: Layout) -> None:
        shape, name = tuple(feats.shape), key[0]
        batch_dim, channel_dim = find_dims(shape, channels, layout)
        positions, rest = divmod(shape[batch_dim], 2 * len(self._factor))
        if rest or not positions:
            super()._add(key, feats, channels, layout)  # it says what is wrong
        kind = type(self._modules[name]).__name__
        found = LayerOutput(name, kind, shape, batch_dim, positions, channel_dim, shape[channel_dim])
        self._found[key] = found._replace(clips_inside=layout.clips_inside)
