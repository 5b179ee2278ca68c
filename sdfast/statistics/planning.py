"""What can be said with the sources there are, and how many more it would take."""

import math

import torch
from torch import Tensor

from sdfast.foundation import check_integer

CLASSES = ("residual", "dynamic", "static", "joint", "undetermined")


def channel_classes(interval: Tensor, threshold: float, undefined: Tensor) -> Tensor:
    """Return the class of each channel, (C,) int64 into `CLASSES`, by which intervals lie above the threshold.

    Args:
        interval: lower and upper end of the correlations, (2, 2, C): dynamic and static of each.
        threshold: a channel encodes a factor when its correlation exceeds this.
        undefined: channels that never vary or have a NaN, (C,) bool: residual.

    Returns:
        A channel is undetermined where one of its intervals straddles the threshold, or is unknown itself.

    >>> import torch
    >>> interval = torch.tensor([[[0.6, 0.6], [-0.1, 0.4]], [[0.8, 0.8], [0.1, 0.6]]])
    >>> [CLASSES[i] for i in channel_classes(interval, 0.5, torch.zeros(2, dtype=torch.bool))]
    ['dynamic', 'undetermined']
    """
    low, high = interval
    above, below = low > threshold, high <= threshold
    classes = above[0] + 2 * above[1].long()
    classes = torch.where((above | below).all(0), classes, CLASSES.index("undetermined"))
    return torch.where(undefined, 0, classes)


def needed_sources(half_width: float, wanted: float, sources: int) -> int:
    """Return how many sources it would take for an interval to be as narrow as wanted.

    Args:
        half_width: half the width of the interval with the sources there are.
        wanted: half the width that is wanted.
        sources: how many there are.

    Raises:
        ValueError: an argument is out of range. Where the half-width is NaN nothing can be planned.

    Source: errors shrink with the root of the number of sources.

    >>> needed_sources(half_width=0.04, wanted=0.01, sources=30)
    480
    """
    check_integer("sources", sources, 1)
    if not 0 <= half_width < math.inf:
        raise ValueError(f"half_width: expected a finite number from 0 on, got {half_width!r}")
    if not 0 < wanted < math.inf:
        raise ValueError(f"wanted: expected a positive number, got {wanted!r}")
    # What is an exact multiple shall not become one more by rounding.
    return math.ceil(sources * (half_width / wanted) ** 2 * (1 - 1e-12))
