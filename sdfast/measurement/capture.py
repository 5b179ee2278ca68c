"""Forward hooks that feed the outputs of chosen layers into a state each, and leave the model as it was."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sdfast.models import Channels, first_tensor, known_channels, layers_before
from sdfast.statistics import PairState

# (layer, call): how often the layer had been called before in the same forward pass.
Key = tuple[str, int]
# From how many channels a layer has, and the device of its features, to an empty state.
MakeState = Callable[[int, torch.device], PairState]


class Capture:
    """Hook layers and consume what they return, batch by batch; the hooks are gone after the `with` block.

    Attributes:
        states: what `make_state` made for each layer and call that has been seen, with all pairs so far.
    """

    def __init__(
        self,
        model: nn.Module,
        matches: Mapping[str, Sequence[str]],
        channel_dims: Mapping[str, int],
        make_state: MakeState,
    ) -> None:
        self.states: dict[Key, PairState] = {}
        self._make_state = make_state
        self._matches = matches
        self._channel_dims = channel_dims
        self._modules = dict(model.named_modules(remove_duplicate=False))
        # A module under two names runs one hook; the first name that was asked for stands for it.
        self._names: dict[nn.Module, str] = {}
        for group in matches.values():
            for name in group:
                self._names.setdefault(self._modules[name], name)
        self._before = layers_before(model)
        self._calls = dict.fromkeys(self._names, 0)
        self._factor = self._source = torch.empty(0, dtype=torch.int64)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "Capture":
        for module in self._names:
            self._handles.append(module.register_forward_hook(self._consume))
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def expect(self, factor: Tensor, source: Tensor) -> None:
        """Get ready for the forward pass of both clips of N pairs; `factor` and `source` are (N,) int64."""
        self._factor, self._source = factor, source
        self._calls = dict.fromkeys(self._calls, 0)

    def check_all_ran(self) -> None:
        """Raise ValueError if the last forward pass called nothing that a pattern matches."""
        for pattern, group in self._matches.items():
            if not any(self._calls[self._modules[name]] for name in group):
                raise ValueError(
                    f"layers: {pattern!r} matches {', '.join(group[:3])}, but the forward pass calls none of it "
                    "(a container, or a model compiled or scripted before the hooks were set)"
                )

    def _consume(self, module: nn.Module, _: tuple, output: object) -> None:
        name, call = self._names[module], self._calls[module]
        self._calls[module] = call + 1
        pairs = len(self._factor)
        try:
            channels = self._channel_dims.get(name)
            if channels is None:
                channels = known_channels(module, self._before.get(module))
            feats, channel_dim = split_batch(_checked(output), 2 * pairs, channels)
            state = self.states.get((name, call))
            if state is None:
                state = self.states[name, call] = self._make_state(feats.shape[channel_dim], feats.device)
            # A state restored from a file is on the CPU, and the layers of one model may live on several devices.
            state.to(feats.device)
            factor, source = self._factor.to(feats.device), self._source.to(feats.device)
            state.update(feats[:pairs], feats[pairs:], factor, source=source, channel_dim=channel_dim)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {name!r}: {error}") from error


def _checked(output: object) -> Tensor:
    feats = first_tensor(output)
    if feats is None:
        raise TypeError(f"output: expected a tensor, or a tuple, list or dict with one, got {type(output).__name__}")
    if not feats.is_floating_point():
        raise TypeError(f"output: expected floating-point features, got {feats.dtype}")
    return feats


def split_batch(feats: Tensor, clips: int, channels: int | Channels) -> tuple[Tensor, int]:
    """Return features whose first dimension is the clips, (clips, ...), and their channel dimension.

    Models that fold the frames of a clip into the batch return (clips * k, ...), clip by clip; k becomes a dimension
    of positions. `channels` is the dimension of the channels, or what is known of them.
    """
    ndim, shape = feats.ndim, tuple(feats.shape)
    if ndim < 2:
        raise ValueError(f"output: expected shape (N, C) or (N, C, ...), got {shape}")
    channel_dim = channels if isinstance(channels, int) else channels.find(shape)
    if not -ndim <= channel_dim < ndim or channel_dim % ndim == 0:
        raise ValueError(f"channel_dim: expected a dimension other than 0 of the output {shape}, got {channel_dim}")
    if shape[0] == clips:
        return feats, channel_dim
    if shape[0] == 0 or shape[0] % clips:
        raise ValueError(
            f"output: expected a first dimension of {clips} (both clips of {clips // 2} pairs) or a multiple of it, "
            f"got shape {shape}"
        )
    return feats.unflatten(0, (clips, -1)), channel_dim % ndim + 1


@contextmanager
def untouched(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Run a block with the model in eval mode, on a device and without gradients; yield that device.

    Afterwards training flags, device and the random state are as before. Gradients are off by no_grad, not
    inference_mode: a model may keep a tensor of the forward pass (rotary tables, say) and train with it later.

    Raises:
        ValueError: the model is spread over several devices and would have to move.
    """
    homes = list(dict.fromkeys(tensor.device for tensor in (*model.parameters(), *model.buffers())))
    home = homes[0] if homes else torch.device("cpu")
    target = home if device is None else torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
    moves = device is not None and homes not in ([], [target])
    if moves and len(homes) > 1:
        raise ValueError(f"device: the model lives on {', '.join(map(str, homes))}; expected None, got {device}")
    training = [(module, module.training) for module in model.modules()]
    draws = {"devices": []} if target.type == "cpu" else {"devices": [target], "device_type": target.type}
    with torch.random.fork_rng(**draws), torch.no_grad():
        try:
            model.eval()
            if moves:
                model.to(target)
            yield target
        finally:
            # Set one by one: a module may have been frozen while its parent was training.
            for module, flag in training:
                module.training = flag
            if moves:
                model.to(home)
