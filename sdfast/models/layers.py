"""Layers by name or pattern, and which dimension of what they return holds the channels."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

_CHANNELS_FIRST = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
)


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


def match_channel_dims(
    model: nn.Module, channel_dim: int | Mapping[str, int] | None, matches: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Return the channel dimension of every measured layer that has one; the first pattern that fits decides.

    Raises:
        ValueError: a pattern matches nothing in the model. That it matches nothing measured is fine.
        TypeError: it is neither a number nor numbers by pattern.
    """
    names = [name for group in matches.values() for name in group]
    if channel_dim is None:
        return {}
    if isinstance(channel_dim, int):
        return dict.fromkeys(names, channel_dim)
    if not isinstance(channel_dim, Mapping) or not all(isinstance(dim, int) for dim in channel_dim.values()):
        raise TypeError(f"channel_dim: expected an integer, or a dict of them by pattern, got {channel_dim!r}")
    dims: dict[str, int] = {}
    for pattern, dim in channel_dim.items():
        for name in _match("channel_dim", pattern, model):
            if name in names:
                dims.setdefault(name, dim)
    return dims


def implied_channel_dim(module: nn.Module) -> int | None:
    """Return the channel dimension that the type of a layer leaves no doubt about."""
    if isinstance(module, nn.Linear) or (isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1):
        return -1
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    return None
