"""How features lie in memory, in the words of the kernels: sizes and strides of batch, channels and positions."""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

BYTES = 16  # what a thread loads at once


def odd(number: int) -> int:
    """Return 2 n - 1. Triton compiles kernels anew for 1, which stays 1, and multiples of 16, which are not odd."""
    return 2 * number - 1


@triton.jit
def plain(number):
    """Return what `odd` was given."""
    return (number >> 1) + 1


@triton.jit
def size_of(layout):
    """Return the number of positions, int64, so that whatever is made of it is."""
    return tl.cast(layout.size, tl.int64) * layout.p_vector


@triton.jit
def offset_of(p, sizes, strides):
    """Return the memory offset of flattened positions, int64; the last of the dimensions runs fastest."""
    offset = p.to(tl.int64) * 0
    for d in tl.static_range(len(sizes) - 1, 0, -1):
        offset += (p % sizes[d]).to(tl.int64) * plain(strides[d])
        p = p // sizes[d]
    return offset + p.to(tl.int64) * plain(strides[0])


@triton.jit
def place_of(n, c, p, layout, strides):
    """Return the memory offset of samples, channels and flattened positions; n and c are int64."""
    sample = n * plain(strides.n) * (layout.p_vector * layout.c_vector) + c * plain(strides.c) * layout.p_vector
    return sample + offset_of(p, layout.sizes, strides.p) * layout.c_vector


def positions(x: Tensor, channel_dim: int) -> list[int]:
    """Return the dimensions that are neither batch nor channel, in their order."""
    return [d for d in range(1, x.ndim) if d != channel_dim % x.ndim]


def join(dims: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return dimensions (size, stride, ...) without those of size 1, those that lie end to end joined."""
    joined: list[tuple[int, ...]] = []
    for size, *strides in (d for d in dims if d[0] != 1):
        if joined and all(outer == inner * size for outer, inner in zip(joined[-1][1:], strides, strict=True)):
            joined[-1] = (joined[-1][0] * size, *strides)
        else:
            joined.append((size, *strides))
    return joined or [(1, *(0 for _ in dims[0][1:]))] if dims else []


class Strides(NamedTuple):
    """How far apart the elements of a tensor lie along its batch, its channels and each dimension of its positions."""

    n: int
    c: int
    p: tuple[int, ...]


class Layout(NamedTuple):
    """Where the elements of several tensors of one shape lie."""

    batch: int
    channels: int
    size: int  # the number of positions
    sizes: tuple[int, ...]
    strides: tuple[Strides, ...]
    p_vector: int = 1  # elements loaded at once
    c_vector: int = 1

    def near(self) -> str:
        """Return the dimension that lies closest in the first tensor: "n", "p" or "c"."""
        n, c, p = self.strides[0]
        counts = {"p": (self.size, p[-1]), "n": (self.batch, n), "c": (self.channels, c)}
        strides = {name: stride for name, (count, stride) in counts.items() if count > 1}
        return min(strides, key=strides.__getitem__, default="p")

    def in_vectors(self, p: int, c: int) -> "Layout":
        """Return the layout as kernels take it: in whole vectors, and `odd` what may depend on the batch size."""
        strides = tuple(
            Strides(odd(s.n // (p * c)), odd(s.c // p), tuple(odd(d // c) for d in s.p)) for s in self.strides
        )
        vectors = tl.constexpr(p), tl.constexpr(c)
        return Layout(odd(self.batch), self.channels // c, self.size // p, self.sizes, strides, *vectors)

    def vectors(self, *tensors: Tensor) -> tuple[int, int]:
        """Return how many elements can be loaded at once along the positions and along the channels.

        One of the two is 1. That many divide all that is added to an address but the index along that dimension, and
        the end of that dimension.
        """
        near, most = self.near(), BYTES // tensors[0].element_size()
        if near == "n" or any(x.data_ptr() % BYTES for x in tensors):
            return 1, 1
        steps = [n for n, _, _ in self.strides] if self.batch > 1 else []
        if near == "c":
            steps += [self.channels, *(stride for _, _, p in self.strides for stride in p)]
            unit = all(c == 1 for _, c, _ in self.strides)
        else:
            steps += [c for _, c, _ in self.strides] if self.channels > 1 else []
            steps.append(self.size)
            unit = len(self.sizes) == 1 and all(p == (1,) for _, _, p in self.strides)
        while unit and most > 1 and any(step % most for step in steps):
            most //= 2
        most = most if unit else 1
        return (1, most) if near == "c" else (most, 1)
