"""StaticDropout after named modules of a model that knows nothing of it, and out again."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from sdfast.backends import forget_compiled
from sdfast.dropout.layer import StaticDropout
from sdfast.models import (
    change_first_tensor,
    check_called,
    check_model,
    known_channels,
    layers_before,
    match_layers,
    named_layers,
    tokens_first,
)

NAME = "static_dropout"


class Insertion:
    """Layers of StaticDropout inside a model; `remove`, or the end of a `with` block, takes them out.

    Attributes:
        layers: the StaticDropout after each module, by the module's name.
    """

    def __init__(self, hosts: dict[str, nn.Module], layers: dict[str, StaticDropout]):
        self.layers = layers
        self._hosts = hosts
        self._hooks = []
        for name, host in hosts.items():
            host.add_module(NAME, layers[name])
            if not _runs_its_children(host):
                self._hooks.append(host.register_forward_hook(_drop))
        forget_compiled()

    def remove(self) -> None:
        """Restore the model; a second call does nothing."""
        while self._hooks:
            self._hooks.pop().remove()
        while self._hosts:
            name, host = self._hosts.popitem()
            if getattr(host, NAME, None) is self.layers[name]:
                delattr(host, NAME)
            if not self._hosts:
                forget_compiled()

    def __enter__(self) -> "Insertion":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def insert_static_dropout(model: nn.Module, layers: str | Sequence[str], **kwargs: Any) -> Insertion:
    """Put a StaticDropout after modules of a model, as their submodule `static_dropout`.

    It follows `.train()`, `.eval()` and `.to()`, and the model's state_dict holds its channel weights, if it has any:
    they load into a model with the same layers inserted, guided or not. A bare model's loads into a guided one with a
    warning; for the other way round, call `sdfast.dropout.accept_guided(bare)` before. Of outputs
    that are tuples, lists or dicts it drops from the first tensor; one without any is a TypeError. What torch.compile
    has compiled so far in this process is compiled again, here and at removal: compiled code does not look for new
    layers.

    Args:
        model: any model; changed in place.
        layers: names or glob patterns of its modules.
        **kwargs: arguments of StaticDropout, the same for each. Without channel_dim the first forward pass in training
            tells it by the types and sizes of the modules, as `sdfast.measure` does, and raises a ValueError where
            these are not clear.

    Returns:
        A handle with `layers`, a dict from names to the StaticDropout after them, and `remove()`; as a context
        manager it removes them at the end of its block.

    Raises:
        ValueError: a pattern matches nothing, a module is a container that is never called, has one already, or is of
            those of torch that return (tokens, N, C), as with batch_first=False.

    >>> import torch, sdfast
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(3, 8, 3), torch.nn.ReLU())
    >>> with sdfast.insert_static_dropout(model, "1", p=0.3) as inserted:
    ...     model[1]
    ReLU(
      (static_dropout): StaticDropout(p=0.3, inplace=False)
    )
    >>> model[1]
    ReLU()
    """
    check_model(model)
    modules = named_layers(model)
    hosts: dict[str, nn.Module] = {}
    second, before = tokens_first(model), layers_before(model)
    for name in (name for group in match_layers(model, layers).values() for name in group):
        if modules[name] not in hosts.values():  # one under two names runs once for both
            _check_host(name, modules[name])
            if modules[name] in second:
                raise ValueError(
                    f"layers: {name!r} returns (tokens, N, C), and StaticDropout takes the first dimension for the "
                    "clips; build it with batch_first=True, or name a layer after which the clips are first"
                )
            hosts[name] = modules[name]
    return Insertion(hosts, {name: _layer_after(host, before.get(host), kwargs) for name, host in hosts.items()})


def _layer_after(host: nn.Module, before: nn.Module | None, arguments: dict[str, Any]) -> StaticDropout:
    layer = StaticDropout(**arguments)
    if "channel_dim" not in arguments:
        layer.find_channels(known_channels(host, before))
    return layer.train(host.training)


def _check_host(name: str, host: nn.Module) -> None:
    check_called(name, host)
    if isinstance(host, nn.Sequential) and not _runs_its_children(host):
        raise ValueError(
            f"layers: {name!r} is a Sequential with a forward method of its own, which may run a layer inside it "
            "twice or not; name a layer that it holds"
        )
    if hasattr(host, NAME):
        raise ValueError(f"layers: {name!r} has a {NAME} already")


def _runs_its_children(host: nn.Module) -> bool:
    """Tell a plain nn.Sequential, where the new submodule is the last to run and needs no hook."""
    return isinstance(host, nn.Sequential) and type(host).forward is nn.Sequential.forward


def _drop(host: nn.Module, _: tuple[Any, ...], output: object) -> object:
    # By name, so that a deep copy of the model runs its own layer.
    changed, found = change_first_tensor(output, getattr(host, NAME))
    if not found:
        raise TypeError(
            f"static_dropout after {type(host).__name__}: expected a tensor, or a tuple, list or dict with one, "
            f"got {type(output).__name__}"
        )
    return changed
