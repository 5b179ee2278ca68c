"""The first tensor of what a layer returns: itself, or in a tuple, list, dict or ModelOutput."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from torch import Tensor


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor of an output, or None."""
    path = _path(output)
    return None if path is None else reduce(getitem, path, output)


def change_first_tensor(output: Any, change: Callable[[Tensor], Tensor]) -> tuple[Any, bool]:
    """Return an output with its first tensor changed, and whether it has one; what holds it is copied."""
    path = _path(output)
    return (output, False) if path is None else (_changed(output, path, change), True)


def _path(output: Any) -> tuple[Any, ...] | None:
    """Return the keys and indices that lead to the first tensor."""
    if isinstance(output, Tensor):
        return ()
    inside: Iterable[tuple[Any, Any]]
    if isinstance(output, Mapping):
        inside = output.items()
    else:
        inside = enumerate(output) if isinstance(output, tuple | list) else ()
    for key, value in inside:
        path = _path(value)
        if path is not None:
            return key, *path
    return None


def _changed(output: Any, path: Sequence[Any], change: Callable[[Tensor], Tensor]) -> Any:
    if not path:
        return change(output)
    key, *rest = path
    changed = _changed(output[key], rest, change)
    if isinstance(output, tuple | list):
        items = [*output[:key], changed, *output[key + 1 :]]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    copied = copy.copy(output)  # a ModelOutput stays one
    copied[key] = changed
    return copied
