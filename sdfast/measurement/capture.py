"""Forward hooks that feed the outputs of chosen layers into a state each, and leave the model as it was."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from sdfast.measurement.heads import head_size
from sdfast.measurement.layout import FIRST, Layout, clips_are_first, find_layout, split_batch
from sdfast.models import (
    Channels,
    Clips,
    first_tensor,
    known_channels,
    layers_before,
    model_and_layers,
    pick_clips,
    tokens_first,
)
from sdfast.statistics import PairState

if TYPE_CHECKING:
    from typing_extensions import Self

# (layer, call): how often the layer had been called before in the same forward pass.
Key = tuple[str, int]
State = TypeVar("State", bound=PairState)
# From how many channels a layer has, and the device of its features, to an empty state.
MakeState = Callable[[int, torch.device], State]


class Capture(Generic[State]):
    """Hook layers and consume what they return, batch by batch; the hooks are gone after the `with` block.

    Attributes:
        states: what `make_state` made for each layer and call that has been seen, with all pairs so far.
        unclear: the layers and calls of the last forward pass whose clips were not told by its shapes; `settle` adds
            what they returned.
    """

    def __init__(
        self,
        model: nn.Module,
        matches: Mapping[str, Sequence[str]],
        channel_dims: Mapping[str, int],
        make_state: MakeState[State],
        batch_dims: Mapping[str, int] = MappingProxyType({}),
        heads: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.states: dict[Key, State] = {}
        self.unclear: dict[Key, Tensor | None] = {}
        self._stage = "count"
        self._few_clips = 0
        self._layouts: dict[Key, Layout] = {}
        self._batch_dims = batch_dims
        self._heads = heads
        self._make_state = make_state
        self._matches = matches
        self._channel_dims = channel_dims
        self._modules = model_and_layers(model)
        # A module under two names runs one hook; the first name that was asked for stands for it.
        self._names: dict[nn.Module, str] = {}
        for group in matches.values():
            for name in group:
                self._names.setdefault(self._modules[name], name)
        self._before = layers_before(model)
        second = tokens_first(model)
        self._tokens_first = {module for module in self._names if not second.isdisjoint(module.modules())}
        self._channels: dict[nn.Module, int | Channels] = {}
        self._calls = dict.fromkeys(self._names, 0)
        self._factor = self._source = torch.empty(0, dtype=torch.int64)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "Self":
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
                    "(a container, or a model scripted before the hooks were set)"
                )

    def settle(self, run: Callable[[Clips], object], clips: Clips) -> None:
        """Run fewer clips to see which dimensions follow their number, then all again for the layers left out."""
        pairs = len(self._factor)
        few = [0, pairs] if pairs > 1 else [0, 1, 0, 1]
        self._few_clips = len(few)
        for self._stage, inputs in (("try", pick_clips(clips, few, 2 * pairs)), ("settle", clips)):
            self._calls = dict.fromkeys(self._calls, 0)
            run(inputs)
        self._stage = "count"
        self.unclear.clear()

    def _consume(self, module: nn.Module, _: tuple[Any, ...], output: object) -> None:
        name, call = self._names[module], self._calls[module]
        key = name, call
        self._calls[module] = call + 1
        if self._stage != "count" and key not in self.unclear:
            return
        try:
            feats = _checked(output)
            if self._stage == "try":
                self.unclear[key] = feats.clone()  # the model may go on in place
                return
            channels = self._known(name, module)
            layout = self._layout(key, module, feats, channels)
            if layout is None:
                self.unclear[key] = None
                return
            self._add(key, feats, channels, layout)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {name!r}: {error}") from error

    def _add(self, key: Key, feats: Tensor, channels: int | Channels, layout: Layout) -> None:
        """Put features whose clips and channels are known where they belong."""
        pairs = len(self._factor)
        feats, channel_dim = split_batch(feats, 2 * pairs, channels, layout)
        state = self.states.get(key)
        if state is None:
            if key[0] in self._heads:  # said now, not after the last pair
                head_size(key[0], feats.shape[channel_dim], self._heads[key[0]])
            state = self.states[key] = self._make_state(feats.shape[channel_dim], feats.device)
        # A state restored from a file is on the CPU, and the layers of one model may live on several devices.
        state.to(feats.device)
        factor, source = self._factor.to(feats.device), self._source.to(feats.device)
        state.update(feats[:pairs], feats[pairs:], factor, source=source, channel_dim=channel_dim)

    def _known(self, name: str, module: nn.Module) -> int | Channels:
        if name in self._channel_dims:
            return self._channel_dims[name]
        if module not in self._channels:
            self._channels[module] = known_channels(module, self._before.get(module))
        return self._channels[module]

    def _layout(self, key: Key, module: nn.Module, feats: Tensor, channels: int | Channels) -> Layout | None:
        """Return where the clips are, as given, as seen before or as it shows, or None."""
        clips = 2 * len(self._factor)
        if key in self._layouts:
            return self._layouts[key]
        if key[0] in self._batch_dims:
            found = Layout(self._batch_dims[key[0]])
        elif (few := self.unclear.get(key)) is not None:
            found = find_layout(feats, clips, few, self._few_clips)
        elif clips_are_first(tuple(feats.shape), clips, channels, module in self._tokens_first):
            found = FIRST
        else:
            return None
        self._layouts[key] = found
        return found


def _checked(output: object) -> Tensor:
    feats = first_tensor(output)
    if feats is None:
        raise TypeError(f"output: expected a tensor, or a tuple, list or dict with one, got {type(output).__name__}")
    if not feats.is_floating_point():
        raise TypeError(f"output: expected floating-point features, got {feats.dtype}")
    return feats


@contextmanager
def untouched(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Run a block with the model in eval mode, on a device, without gradients and uncompiled; yield that device.

    Afterwards training flags, device and the random state are as before. Gradients are off by no_grad, not
    inference_mode: a model may keep a tensor of the forward pass (rotary tables, say) and train with it later.
    Uncompiled, because hooks do not run in compiled code.

    Raises:
        ValueError: there is no such device, or the model is spread over several and would have to move.
    """
    homes = list(dict.fromkeys(tensor.device for tensor in (*model.parameters(), *model.buffers())))
    home = homes[0] if homes else torch.device("cpu")
    try:
        target = home if device is None else torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError, TypeError) as error:
        said = str(error).splitlines()[0]
        raise ValueError(f"device: expected one there is, such as cpu or cuda, got {device!r} ({said})") from error
    moves = device is not None and homes not in ([], [target])
    if moves and len(homes) > 1:
        raise ValueError(f"device: the model lives on {', '.join(map(str, homes))}; expected None, got {device}")
    training = [(module, module.training) for module in model.modules()]
    draws = {"devices": []} if target.type == "cpu" else {"devices": [target], "device_type": target.type}
    # Where nothing has been compiled, there is no need to import the compiler.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    with eager, torch.random.fork_rng(**draws), torch.no_grad():
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
