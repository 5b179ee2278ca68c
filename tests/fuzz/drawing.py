"""What a case is made of: shapes, memory and values, all drawn from its seed and its number."""

import math
import random

import numpy as np
import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Around the widths of vectors, of blocks of columns, and of runs that are re-centred.
CHANNELS = (1, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 130)
POSITIONS = (1, 1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 24, 31, 33, 49, 64, 65, 130, 260, 600, 1100)
BATCHES = (1, 2, 2, 3, 4, 5, 7, 8, 12, 16, 17, 33, 60, 260, 520)
SPREADS = ("even", "even", "relu", "few", "outlier", "mixed", "constant", "offset")


class Draw:
    """The random choices of one case."""

    always_threads = False

    def __init__(self, seed: int, number: int) -> None:
        self.choices = random.Random(f"{seed}.{number}")
        self.rng = np.random.Generator(np.random.PCG64(self.choices.getrandbits(64)))

    def threads(self, large: bool) -> int:
        """Return how many threads torch is to use: several where there is work for them, or where all should."""
        return self.one(2, 3) if large or self.always_threads else 1

    def one(self, *values):
        return values[int(self.choices.random() * len(values))]

    def chance(self, share: float) -> bool:
        return self.choices.random() < share

    def below(self, end: int) -> int:
        return int(self.choices.random() * end)

    def shape(self, elements: int = 3000) -> tuple[int, ...]:
        """Return (N, C, *positions), of up to three positions and about so many elements."""
        sizes = [self.one(*CHANNELS)]
        for _ in range(self.one(0, 0, 1, 1, 1, 2, 3)):
            most = max(1, elements // math.prod(sizes))
            fitting = [size for size in POSITIONS if size <= most]
            sizes.append(self.one(*fitting) if len(sizes) < 2 else min(self.one(1, 2, 3, 5, 7, 8), most))
        most = max(1, elements // math.prod(sizes))
        return (self.one(*[size for size in BATCHES if size <= most]), *sizes)

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype, own: bool = False) -> tuple[Tensor, Tensor]:
        """Return bytes, all 0xFF, and a view of them: with gaps, shared places and odd addresses, unless `own`.

        0xFF is NaN in each floating-point type: reading what lies in between shows. With `own`, each element has a
        place of its own.
        """
        kind = self.one("plain", "plain", "permuted", "permuted", "gaps", "expanded", "overlapping")
        order = list(range(len(shape)))
        if kind != "plain":
            self.choices.shuffle(order)
        strides, step = [0] * len(shape), 1
        for d in reversed(order):
            if kind == "overlapping" and not own:
                strides[d] = self.below(4)
                continue
            if kind == "gaps":
                step += self.below(3)
            strides[d] = step
            step = (shape[d] - 1) * step + max(step, 1)
            if kind == "expanded" and not own and self.chance(0.5):
                strides[d], step = 0, max(1, step // max(shape[d], 1))
        item = dtype.itemsize
        extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        skipped = self.one(0, 0, 0, 1, 5)
        odd = self.one(0, 0, 0, 0, 1, item // 2)
        whole = np.full((skipped + extent + self.one(0, 0, 3)) * item + odd, 0xFF, dtype=np.uint8)
        memory = torch.from_numpy(whole[odd:])
        return memory, memory.view(dtype).as_strided(shape, strides, skipped)

    def numbers(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return float64 values whose channels are along dimension 1."""
        values = self.rng.standard_normal(shape)
        spread = self.one(*SPREADS)
        channels = values.swapaxes(0, 1)  # a view
        some = slice(self.below(shape[1]), None, self.one(1, 2, 3))
        if spread == "relu":
            np.maximum(values, 0, out=values)
        elif spread == "few":
            np.round(values, out=values)
        elif spread == "outlier":
            channels[some, 0] *= self.one(-50.0, 1e3, 1e5)
        elif spread == "mixed":
            values *= 10.0 ** self.rng.integers(-12, 12, shape)
        elif spread == "constant":
            channels[some] = self.one(0.0, 0.1, -3.0, 1e4)
        elif spread == "offset":
            values += 10.0 ** self.rng.integers(-2, 6)
        return values

    def magnitude(self, dtype: torch.dtype) -> float:
        """Return what to multiply values by, up to the ends of what a type holds."""
        if self.chance(0.7):
            return 1.0
        low, high = {torch.float64: (-120, 120), torch.float16: (-6, 2)}.get(dtype, (-38, 30))
        return 10.0 ** self.choices.randint(low, high)

    def fill(self, view: Tensor, values: np.ndarray, bad: bool = True) -> None:
        """Write values to a view, whose elements may share places, and here and there what is not finite."""
        values = torch.from_numpy(values).to(view.dtype)
        if view.dtype == torch.float16 or view.dtype == torch.bfloat16:
            values.nan_to_num_(posinf=60000.0, neginf=-60000.0)
        if bad and self.chance(0.07):
            place = tuple(self.below(size) for size in view.shape)
            values[place] = self.one(math.nan, math.inf, -math.inf)
        # Along dimensions of stride 0 the first values count.
        own = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in view.stride())
        view[own].copy_(values[own])

    def labels(self, count: int, factors: int) -> Tensor:
        """Return labels (count,) int64 in memory of any kind."""
        _, view = self.memory((count,), torch.int64)
        values = torch.from_numpy(self.rng.integers(0, factors, count))
        if self.chance(0.2):
            values.sort()
        if view.stride(0) == 0 and count > 1:
            view[:1].copy_(values[:1])
        else:
            view.copy_(values)
        return view


def same_bits(x: Tensor, y: Tensor) -> bool:
    """Tell whether all bytes are equal but those of NaN, which are NaN in both."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    if torch.equal(x.view(integers), y.view(integers)):
        return True
    return bool(((x.view(integers) == y.view(integers)) | (x.isnan() & y.isnan())).all())
