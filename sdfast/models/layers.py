"""Layers by name or pattern, and what users say of the dimensions of what they return."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from sdfast.models.wrappers import WRAPPED, unwrapped


def check_model(model: nn.Module) -> None:
    """Raise TypeError unless model is a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules inside a model by their names; what is shared between two places answers to both.

    What torch.compile, DistributedDataParallel and their like put around a module adds nothing to its name.

    >>> list(named_layers(nn.DataParallel(nn.Sequential(nn.Sequential(nn.ReLU())))))
    ['0', '0.0']
    """
    found: dict[str, nn.Module] = {}

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module._modules.items():  # named_children() leaves out what comes twice
            if child is not None:
                child = found[prefix + name] = unwrapped(child)
                walk(child, f"{prefix}{name}.")

    walk(unwrapped(model), "")
    return found


def model_and_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the model by an empty name, less what was put around it, and the modules inside it by theirs.

    >>> list(model_and_layers(nn.Sequential(nn.ReLU())))
    ['', '0']
    """
    return {"": unwrapped(model), **named_layers(model)}


def match_layers(model: nn.Module, layers: str | Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of the modules that each name or glob pattern matches, in the order of the model.

    A `*` stands for anything between two dots, so that `blocks.*` are the direct children of blocks; `blocks.**` is all
    below it, and `**.attn` every attn, however deep.

    Raises:
        ValueError: there is no pattern, or one matches nothing.
        TypeError: they are no strings.

    >>> model = nn.ModuleDict({"blocks": nn.Sequential(nn.Sequential(nn.ReLU()))})
    >>> match_layers(model, ["blocks.*", "blocks.**"])
    {'blocks.*': ('blocks.0',), 'blocks.**': ('blocks.0', 'blocks.0.0')}
    """
    patterns = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"layers: expected names or glob patterns, got {type(pattern).__name__}")
    if not patterns:
        raise ValueError("layers: expected at least one name or pattern, got none")
    return {pattern: _match("layers", pattern, model) for pattern in patterns}


def _match(argument: str, pattern: str, model: nn.Module) -> tuple[str, ...]:
    names = list(named_layers(model))
    # A user may have copied a name out of a wrapped model.
    plain = ".".join(part for part in pattern.split(".") if part not in WRAPPED)
    for wanted in (pattern, plain):
        if wanted in names:
            return (wanted,)
        if found := tuple(name for name in names if _fits(name.split("."), wanted.split("."))):
            return found
    raise ValueError(f"{argument}: {pattern!r} matches no layer of {type(model).__name__}; {_near(pattern, names)}")


def _fits(name: Sequence[str], pattern: Sequence[str]) -> bool:
    if not name or not pattern:
        return not name and not pattern
    head, *rest = pattern
    if head == "**":
        return not rest or any(_fits(name[first:], rest) for first in range(len(name)))
    return fnmatchcase(name[0], head) and _fits(name[1:], rest)


def _near(pattern: str, names: Sequence[str]) -> str:
    if "*" in pattern and any(fnmatchcase(name, pattern) for name in names):
        return "a * does not go past a dot; ** does: **.NAME, blocks.**"
    inside = [name for name in names if f".{name}.".endswith(f".{pattern}.")]
    near = inside[:5] or difflib.get_close_matches(pattern.strip("*"), names, n=5, cutoff=0.4)
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
