"""The networks that are trained, by what a row says of them."""

from typing import Any

from torch import nn

from experiments.debias.model import SmallNet
from experiments.debias.transformer import SmallTransformer


def make_network(
    size: tuple[int, int, int, int], classes: int, kind: str = "convolutions", **options: Any
) -> nn.Module:
    """Return a network with random weights.

    Args:
        size: (C, T, H, W) of a clip.
        classes: of the labels.
        kind: "convolutions" for `SmallNet`, "transformer" for `SmallTransformer`.
        options: other arguments of `SmallNet`.

    >>> type(make_network((1, 8, 24, 24), 4, kind="transformer")).__name__
    'SmallTransformer'
    """
    return (
        SmallTransformer(size, classes, **options) if kind == "transformer" else SmallNet(size[0], classes, **options)
    )
