"""How features lie in memory, in the words of the kernels: sizes and strides of batch, channels and positions."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

BYTES = 16  # what a thread loads at once
THREADS = 128  # of a program


@triton.jit
def offset_of(index, sizes, strides):
    """Return the memory offset of a flattened index, int64; the last of the dimensions runs fastest."""
    offset = index.to(tl.int64) * 0
    for d in tl.static_range(len(sizes) - 1, 0, -1):
        offset += (index % sizes[d]).to(tl.int64) * strides[d]
        index = index // sizes[d]
    return offset + index.to(tl.int64) * strides[0]


def positions(x: Tensor, channel_dim: int) -> list[int]:
    """Return the dimensions that are neither batch nor channel, in their order."""
    return [d for d in range(1, x.ndim) if d != channel_dim % x.ndim]


def join(dims: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return dimensions (size, stride, ...) without those of size 1, those that lie end to end joined."""
    joined = []
    for size, *strides in (d for d in dims if d[0] != 1):
        if joined and all(outer == inner * size for outer, inner in zip(joined[-1][1:], strides, strict=True)):
            joined[-1] = (joined[-1][0] * size, *strides)
        else:
            joined.append((size, *strides))
    return joined or [(1, *(0 for _ in dims[0][1:]))] if dims else []


def processors(x: Tensor) -> int:
    """Return the number of multiprocessors of the device of x; the interpreter pretends to eight."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 8


def warps(x: Tensor) -> int:
    """Return how many warps have THREADS threads on the device of x: AMD's may be twice as wide as NVIDIA's."""
    if triton.knobs.runtime.interpret or (x.is_cuda and not torch.version.hip):
        return THREADS // 32
    return THREADS // triton.runtime.driver.active.get_current_target().warp_size


class Layout(NamedTuple):
    """Where the elements of several tensors of one shape lie. Strides are (n, c, (p, ...)), one tuple a tensor."""

    batch: int
    channels: int
    size: int  # the number of positions
    sizes: tuple[int, ...]
    strides: tuple[tuple[int, int, tuple[int, ...]], ...]

    def near(self) -> str:
        """Return the dimension that lies closest in the first tensor: "n", "p" or "c"."""
        n, c, p = self.strides[0]
        counts = {"p": (self.size, p[-1]), "n": (self.batch, n), "c": (self.channels, c)}
        strides = {name: stride for name, (count, stride) in counts.items() if count > 1}
        return min(strides, key=strides.get, default="p")

    def in_vectors(self, along_p: int, along_c: int) -> tuple:
        """Return what kernels take: sizes, strides of the positions, then n and c of each tensor, in whole vectors."""
        (a_n, a_c, a_p), (b_n, b_c, b_p) = self.strides
        both = along_p * along_c
        positions = (tuple(stride // along_c for stride in p) for p in (a_p, b_p))
        return self.sizes, *positions, a_n // both, a_c // along_p, b_n // both, b_c // along_p

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
