"""State dicts of guided models for models that have no StaticDropout."""

import warnings
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sdfast.dropout.insertion import NAME
from sdfast.dropout.layer import StaticDropout
from sdfast.models import check_model, unwrapped

_WEIGHT = "channel_weight"


def accept_guided(model: nn.Module) -> RemovableHandle:
    """Let a model without StaticDropout load what guided ones have saved, with strict=True and a warning.

    A layer of torch has no room for channel weights, and only a hook of its own makes a module overlook them: here one
    on the model, which stays until its handle removes it. It leaves out the weights of layers that this model has
    nn.Dropout, nn.Identity or another module without a state for, and of those that `insert_static_dropout` has put
    into the other one. Any other key that does not fit is an error as ever. The other way round nothing is needed.

    Args:
        model: any model; what is wrapped around it may load, too.

    Returns:
        A handle; `remove()` takes the hook away.

    >>> import torch, sdfast
    >>> guided = nn.Sequential(nn.Linear(2, 2), sdfast.StaticDropout(channel_weight=torch.tensor([0.0, 1.0])))
    >>> plain = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    >>> handle = accept_guided(plain)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     plain.load_state_dict(guided.state_dict())
    <All keys matched successfully>
    >>> len(caught)
    1
    """
    check_model(model)
    handle: RemovableHandle = unwrapped(model).register_load_state_dict_pre_hook(_leave_out)
    return handle


def _leave_out(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    modules = dict(model.named_modules(remove_duplicate=False))
    keys = [key for key in state_dict if key.startswith(prefix) and _has_no_place(key.removeprefix(prefix), modules)]
    for key in keys:
        del state_dict[key]
    if keys:
        named = ", ".join(map(repr, keys[:3])) + " ..." * (len(keys) > 3)
        warnings.warn(f"state_dict: leaves out {named} of a guided model: this one has no StaticDropout", stacklevel=2)


def _has_no_place(key: str, modules: dict[str, nn.Module]) -> bool:
    """Tell whether a key is the weights of a StaticDropout where these modules have none."""
    place, _, last = key.rpartition(".")
    if last != _WEIGHT:
        return False
    if place in modules:
        return not isinstance(modules[place], StaticDropout) and not modules[place].state_dict()
    host, _, name = place.rpartition(".")
    return name == NAME and host in modules
