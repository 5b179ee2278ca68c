"""The report of each head of an attention layer, whose channels are a part of the layer's."""

from collections.abc import Mapping
from dataclasses import replace

from sdfast.foundation import check_integer
from sdfast.report import BiasReport


def check_heads(numbers: Mapping[str, int]) -> Mapping[str, int]:
    """Return how many heads each layer has; raise ValueError where that is no number from 1 on."""
    for name, number in numbers.items():
        check_integer(f"heads: {name}", number, 1)
    return numbers


def head_size(name: str, channels: int, number: int) -> int:
    """Return how many channels each head of a layer has.

    Raises:
        ValueError: the channels do not part into so many heads.
    """
    size, rest = divmod(channels, number)
    if rest:
        raise ValueError(
            f"heads: expected a number that parts the {channels} channels of {name!r} evenly, got {number}"
        )
    return size


def by_head(report: BiasReport, number: int | None) -> dict[str, BiasReport]:
    """Return a report of each head, `name.head0` and so on; none where the number of heads is not known.

    >>> import torch
    >>> moments = torch.tensor([9.0, 0, 0, 9, 9, 8]).view(6, 1, 1).repeat(1, 2, 6)
    >>> [head.num_channels for head in by_head(BiasReport(moments, name="attn"), 3).values()]
    [2, 2, 2]
    """
    if number is None:
        return {}
    size = head_size(report.name, report.num_channels, number)
    heads = {}
    for head in range(number):
        name, own = f"{report.name}.head{head}", slice(head * size, (head + 1) * size)
        sums = report.moments if report.groups is None else report.groups
        information = None if report.information is None else report.information[:, own]
        heads[name] = replace(report, moments=sums[..., own], groups=None, information=information, name=name)
    return heads
