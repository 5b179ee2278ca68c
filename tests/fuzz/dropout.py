"""StaticDropout of random features and masks, bit by bit, and no byte beyond."""

import numpy as np
import torch
from torch import Tensor

import sdfast
from sdfast.backends import load
from sdfast.ops import GRANULARITIES
from tests.fuzz.drawing import DTYPES, Draw, same_bits
from tests.support.dropout import true_dropout

MASK_DTYPES = (torch.float32, torch.float32, torch.bool, torch.uint8, torch.float64, torch.float16, torch.bfloat16)
SEEDS = (0, 1, -1, 2**32, 2**63 - 1, -(2**63))
_C = load("cpu")


def dropped(draw: Draw, isas) -> str | None:
    """Drop in place or to an output of any layout."""
    dtype, shape = draw.one(*DTYPES), draw.shape()
    large = draw.chance(0.01)
    shape = draw.one((4, 70, 300), (2, 600, 64), (300, 260)) if large else shape
    torch.set_num_threads(draw.threads(large))
    channel_dim = draw.below(len(shape) - 1) + 1
    route = draw.one("function", "in place", "output")
    memory, x = draw.memory(shape, dtype, own=route == "in place")
    values = draw.numbers(shape) * draw.magnitude(dtype)
    draw.fill(x, values)
    granularity = draw.below(3)
    mask = draw_mask(draw, shape, channel_dim) if draw.chance(0.6) else None
    weight = draw_weight(draw, shape[channel_dim]) if draw.chance(0.3) else None
    p = draw.one(0.0, 1.0, 0.5, 0.5, 0.1, draw.choices.random(), 2.0**-17, 1 - 2.0**-17)
    seed = draw.one(*SEEDS) if draw.chance(0.2) else draw.choices.getrandbits(64) - 2**63
    rescale = draw.chance(0.5)
    settings = {"mask": mask, "channel_weight": weight, "rescale": rescale, "channel_dim": channel_dim}
    expected = true_dropout(x, seed, p, mask, weight, GRANULARITIES[granularity], rescale, channel_dim)
    before = memory.clone()
    for _ in isas:
        said = ""
        memory.copy_(before)
        if route == "output":
            out_memory, out = draw.memory(shape, dtype, own=True)
            beyond = out_memory.clone()
            kernel_weight = None if weight is None else weight.float().contiguous()
            args = (mask, kernel_weight, granularity, rescale, channel_dim)
            _C.static_dropout(x, out, torch.tensor(seed), p, *args)
            again = view_of(out_memory, out).copy_(out)  # a copy of what is there: now only the rest is looked at
            view_of(beyond, out).copy_(again)
            said = "" if torch.equal(beyond, out_memory) else "a byte beside the output was written; "
        else:
            inplace = route == "in place"
            settings |= {"seed": seed, "granularity": GRANULARITIES[granularity], "inplace": inplace}
            out = sdfast.static_dropout(x, p, **settings)
            if inplace:
                beyond = before.clone()
                view_of(beyond, x).copy_(x)
                said = "" if torch.equal(beyond, memory) else "a byte beside x was written; "
        if route != "in place" and not torch.equal(before, memory):
            said += "x was written; "
        if not same_bits(out.contiguous(), expected):
            said += "bits"
        if said:
            told = "no mask" if mask is None else f"mask {mask.dtype} {tuple(mask.shape)} {mask.stride()}"
            weighted = "" if weight is None else ", weights"
            return (
                f"{said}, {route}: {dtype} {shape}, strides {x.stride()}, channel_dim {channel_dim}, p={p}, {told}"
                f"{weighted}, {GRANULARITIES[granularity]}, rescale={rescale}"
            )
    return None


def view_of(memory: Tensor, like: Tensor) -> Tensor:
    """Return the view of other memory that `like` is of its own."""
    return memory.view(like.dtype).as_strided(like.shape, like.stride(), like.storage_offset())


def draw_mask(draw: Draw, shape: tuple[int, ...], channel_dim: int) -> Tensor:
    """Return a mask of any grid: of zeros and ones, of fractions, or with wide gaps."""
    sizes = [size for d, size in enumerate(shape) if d not in (0, channel_dim)]
    grid = [max(1, draw.one(size, size, size, (size + 1) // 2, 2 * size + 1, 1)) for size in sizes]
    full = (shape[0], *([1] if draw.chance(0.2) else []), *grid)
    values = draw.rng.random(full)
    kind = draw.one("halves", "rare", "gaps", "fractions", "ones", "zeros")
    if kind == "gaps":
        line = values.reshape(-1)
        begin, period = draw.below(200), draw.one(150, 224, 300, 700)
        line[:] = (np.arange(line.size) + begin) % period < draw.one(1, 40, 140, 200)
    elif kind != "fractions":
        values = values < {"halves": 0.5, "rare": 0.01, "ones": 2, "zeros": -1}[kind]
    dtype = draw.one(*MASK_DTYPES)
    memory, mask = draw.memory(full, torch.uint8 if dtype == torch.bool else dtype)
    own = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in mask.stride())
    if mask.dtype != torch.uint8:
        memory.zero_()  # what lies in between is read where sizes are 1
    mask[own].copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))[own])
    if dtype == torch.bool:
        mask[own].mul_(draw.one(1, 1, 2, 255))  # any byte but 0 is true
        mask = mask.view(torch.bool)
    return mask


def draw_weight(draw: Draw, channels: int) -> Tensor:
    """Return the weights of channels, some of them 0 or 1, in memory of any kind."""
    _, weight = draw.memory((channels,), draw.one(torch.float32, torch.float32, torch.float64, torch.float16))
    values = np.clip(draw.rng.random(channels) * 1.5 - 0.25, 0, 1)
    own = slice(0, 1) if weight.stride(0) == 0 else slice(None)
    weight[own].copy_(torch.from_numpy(values)[own])
    return weight
