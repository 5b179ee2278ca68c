"""Leaving out a group at a time in plain torch, on any device."""

import torch
from torch import Tensor


def leave_one_out(grouped: Tensor) -> Tensor:
    """Return the co-moments of all groups but one, of (6, G, ...) float64, through a tree.

    In it each node's rest is its parent's rest and its sibling: all G take 3 G merges in 2 log2(G) steps.
    """
    groups = grouped.shape[1]
    width = 1 << max(groups - 1, 1).bit_length()
    nodes = torch.cat([grouped, grouped.new_zeros((6, width - groups, *grouped.shape[2:]))], dim=1)
    tree = []
    while nodes.shape[1] > 2:
        tree.append(nodes)
        nodes = _merged(nodes[:, ::2], nodes[:, 1::2])
    rest = nodes.flip(1)
    while tree:
        nodes = tree.pop()
        sides = [_merged(rest, nodes[:, 1 - side :: 2]) for side in (0, 1)]
        rest = torch.stack(sides, dim=2).flatten(1, 2)
    return rest[:, :groups]


def _merged(one: Tensor, other: Tensor) -> Tensor:
    """Return the co-moments of two sets together, (6, ...) each, by Chan's formula."""
    merged = one + other
    part = other[0] / merged[0].clamp(min=1)
    gap = other[1:3] - one[1:3]
    torch.addcmul(one[1:3], gap, part, out=merged[1:3])
    weighted = gap * (one[0] * part)
    merged[3:5].addcmul_(gap, weighted)
    merged[5].addcmul_(gap[0], weighted[1])
    return merged
