"""The report of each head of an attention layer, whose channels are a part of the layer's."""

import warnings
from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from sdfast.foundation import check_integer
from sdfast.models import named_layers
from sdfast.report import BiasReport

# What attention's last linear layer is called in torch, timm, transformers and Llama's kin; it mixes the heads.
_PROJECTIONS = ("out_proj", "o_proj", "proj", "c_proj", "to_out", "wo", "dense", "output", "proj_out")
_ATTENTION = ("attention", "attn")


def check_heads(model: nn.Module, numbers: Mapping[str, int]) -> Mapping[str, int]:
    """Return how many heads each layer has; warn where a layer looks as if an output projection had mixed them.

    Raises:
        ValueError: that is no number from 1 on, or of nn.MultiheadAttention, which returns what it has projected.
    """
    modules = named_layers(model) if numbers else {}
    for name, number in numbers.items():
        check_integer(f"heads: {name}", number, 1)
        if isinstance(modules[name], nn.MultiheadAttention):
            raise ValueError(
                f"heads: {name!r} is an nn.MultiheadAttention, whose output projection mixes the heads: its channels "
                "are of none; name a layer that runs before the projection"
            )
        if projection := _projection(name, modules):
            warnings.warn(
                f"heads: {projection!r} looks like an output projection, after which every channel is a mix of all "
                f"heads: the parts of {name!r} are no heads then; name a layer that runs before it",
                stacklevel=3,
            )
    return numbers


def _projection(name: str, modules: Mapping[str, nn.Module]) -> str | None:
    """Return the name of the output projection that a layer is or ends with, as far as names tell, or None."""
    *above, last = name.split(".")
    if last in _PROJECTIONS:
        around = [modules[".".join(above[: end + 1])] for end in range(len(above))][-2:]
        if _is_attention(above[-2:], around):
            return name
    if _is_attention([last], [modules[name]]):
        for child in (f"{name}.{end}" for end in _PROJECTIONS):
            if child in modules and any(isinstance(part, nn.Linear) for part in modules[child].modules()):
                return child
    return None


def _is_attention(names: list[str], modules: list[nn.Module]) -> bool:
    kinds = [type(module).__name__ for module in modules]
    return any(word in name.lower() for name in (*names, *kinds) for word in _ATTENTION)


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
