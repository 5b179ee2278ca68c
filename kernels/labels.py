"""Which row of the result a pair belongs to: that of its factor, or of its group of sources and its factor."""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor


class Labels(NamedTuple):
    """The labels of pairs, (N,) int64, or None where all are of one row."""

    factor: Tensor | None
    factor_stride: int
    source: Tensor | None
    source_stride: int
    factors: int  # of a group
    groups: int

    def all_alike(self) -> bool:
        """Return whether there is one row for all pairs."""
        return self.factor is None and self.source is None


def labels_of(factor: Tensor | None, num_factors: int, source: Tensor | None = None, groups: int = 1) -> Labels:
    """Return labels as kernels take them; group `source % groups`, with so many factors each."""
    strides = [0 if x is None else x.stride(0) for x in (factor, source)]
    return Labels(factor, strides[0], source, strides[1], num_factors, groups)


@triton.jit
def labelled(labels):
    """Return whether pairs may be of several rows."""
    return labels.factor is not None or labels.source is not None


@triton.jit
def is_of(row, labels, n, inside):
    """Return which of the pairs n are of a row; those outside, and those of no factor, are of none."""
    if labels.factor is None:
        found = tl.load(labels.source + n * labels.source_stride, mask=inside, other=0) % labels.groups
        found = tl.where(inside, found, -1)
    else:
        found = tl.load(labels.factor + n * labels.factor_stride, mask=inside, other=-1)
        if labels.source is not None:
            group = tl.load(labels.source + n * labels.source_stride, mask=inside, other=0) % labels.groups
            known = (found >= 0) & (found < labels.factors)
            found = tl.where(known, group * labels.factors + found, -1)
    return found == row
