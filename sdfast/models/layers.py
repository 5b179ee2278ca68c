"""Layers by name or pattern, and what users say of the dimensions of what they return."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn


def check_model(model: nn.Module) -> None:
    """Raise TypeError unless model is a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")


def match_layers(model: nn.Module, layers: str | Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of the modules that each name or glob pattern matches, in the order of the model.

    Raises:
        ValueError: there is no pattern, or one matches nothing.
        TypeError: they are no strings.
    """
    patterns = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"layers: expected names or glob patterns, got {type(pattern).__name__}")
    if not patterns:
        raise ValueError("layers: expected at least one name or pattern, got none")
    return {pattern: _match("layers", pattern, model) for pattern in patterns}


def _match(argument: str, pattern: str, model: nn.Module) -> tuple[str, ...]:
    # A module shared between two places answers to both names.
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    found = (pattern,) if pattern in names else tuple(name for name in names if fnmatchcase(name, pattern))
    if not found:
        raise ValueError(f"{argument}: {pattern!r} matches no layer of {type(model).__name__}; {_near(pattern, names)}")
    return found


def _near(pattern: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(pattern.strip("*"), names, n=5, cutoff=0.4)
    what = "near names" if near else "it has"
    shown = near or names[:5]
    return f"{what}: {', '.join(shown)}" if shown else "it has no layers"


def check_called(name: str, module: nn.Module) -> None:
    """Raise ValueError if a module only holds others: nobody calls it, so that a hook would wait for ever."""
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        raise ValueError(f"layers: {name!r} is a {type(module).__name__}, which is never called; name what it holds")


def match_dims(
    argument: str, model: nn.Module, dims: int | Mapping[str, int] | None, matches: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Return the dimension of every measured layer that is given one; the first pattern that fits decides.

    Args:
        argument: what the dimensions are called, for errors: "channel_dim" or "batch_dim".
        model: the model.
        dims: one for all layers, or by name or pattern.
        matches: the measured layers, by pattern.

    Raises:
        ValueError: a pattern matches nothing in the model. That it matches nothing measured is fine.
        TypeError: dims is neither a number nor numbers by pattern.
    """
    names = [name for group in matches.values() for name in group]
    if dims is None:
        return {}
    if isinstance(dims, int):
        return dict.fromkeys(names, dims)
    if not isinstance(dims, Mapping) or not all(isinstance(dim, int) for dim in dims.values()):
        raise TypeError(f"{argument}: expected an integer, or a dict of them by pattern, got {dims!r}")
    found: dict[str, int] = {}
    for pattern, dim in dims.items():
        for name in _match(argument, pattern, model):
            if name in names:
                found.setdefault(name, dim)
    return found
