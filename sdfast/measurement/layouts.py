"""What was found of a model's layers, in a file: to be looked at, compared, and told to the next measurement."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sdfast.foundation import StrPath, write_atomically
from sdfast.measurement.listing import LayerOutput

_NUMBERS = ("batch_dim", "positions", "channel_dim", "channels")


def layouts_text(layouts: Iterable[LayerOutput]) -> str:
    """Return layers as JSON, as `sdfast layers --json` prints them.

    >>> json.loads(layouts_text([LayerOutput("head", "Linear", refused="not called")]))[0]["refused"]
    'not called'
    """
    return json.dumps([layer._asdict() for layer in layouts], indent=1)


def save_layouts(layouts: Iterable[LayerOutput], path: StrPath) -> None:
    """Write layers, as `list_layers` returns them, to a JSON file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    text = layouts_text(layouts) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def load_layouts(path: StrPath) -> list[LayerOutput]:
    """Return the layers that `save_layouts` wrote, or `sdfast layers --json` printed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.

    >>> import tempfile, torch
    >>> from sdfast.measurement import list_layers
    >>> found = list_layers(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.rand(1, 4), torch.rand(1, 4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_layouts(found, Path(folder, "layouts.json"))
    ...     load_layouts(Path(folder, "layouts.json")) == found
    True
    """
    text = Path(path).read_bytes()
    try:
        return [_layer(row) for row in json.loads(text)]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"{path}: expected layers as save_layouts writes them ({error!r})") from error


def dims_of(layouts: Sequence[LayerOutput]) -> dict[str, dict[str, int]]:
    """Return `channel_dim` and `batch_dim` by layer, for `measure` to be told: `measure(..., **dims_of(layouts))`.

    Left out are layers that were refused, and what a number cannot say: dimensions in which two calls of one layer
    differ, and clips that are folded between positions of others.

    >>> dims_of([LayerOutput("attn", "Attention", (7, 2, 4), batch_dim=1, channel_dim=2, channels=4)])
    {'channel_dim': {'attn': 2}, 'batch_dim': {'attn': 1}}
    """
    dims: dict[str, dict[str, int]] = {}
    for argument in ("channel_dim", "batch_dim"):
        by_name: dict[str, set[int | None]] = {}
        for layer in layouts:
            unsayable = layer.refused or (argument == "batch_dim" and layer.clips_inside)
            dim = None if unsayable else getattr(layer, argument)
            by_name.setdefault(layer.name.partition("#")[0], set()).add(dim)
        found = {name: of_calls.pop() for name, of_calls in by_name.items() if len(of_calls) == 1}
        dims[argument] = {name: dim for name, dim in found.items() if dim is not None}
    return dims


def _layer(row: dict[str, Any]) -> LayerOutput:
    if row["shape"] is not None:
        row["shape"] = tuple(row["shape"])
    for name in _NUMBERS:
        if not isinstance(row[name], int | None):
            raise TypeError(f"{name}: expected an integer, got {row[name]!r}")
    return LayerOutput(**row)
