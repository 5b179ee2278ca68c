"""How features lie in memory, in the words of the kernels: sizes and strides of batch, channels and positions."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def offset_of(index, sizes, strides):
    """Return the memory offset of a flattened index, int64; the last of the dimensions runs fastest."""
    offset = index.to(tl.int64) * 0
    for d in tl.static_range(len(sizes) - 1, 0, -1):
        offset += (index % sizes[d]) * strides[d]
        index = index // sizes[d]
    return offset + index * strides[0]


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
