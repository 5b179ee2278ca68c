"""Features drawn on a device, several sets to take turns, and the truth about them in float64."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.features import shape_text
from benchmarks.gpu.device import Device
from sdfast.backends import reference as torch_reference
from sdfast.bench import draw_pair
from sdfast.statistics import estimator_of

LAYOUTS = ("contiguous", "channels-last", "transposed", "strided")
_CHUNK = 1 << 26  # elements that are float64 at a time


def seed_of(seed: int, name: str) -> int:
    """Return a seed of its own for a name: the same for a seed, whatever else has been drawn."""
    return (seed + zlib.crc32(name.encode())) % 2**63


def batch_of(size: int, sample_shape: tuple[int, ...], dtype: torch.dtype, tensors: int) -> int:
    """Return the batch size at which so many tensors together are at least `size` bytes."""
    return -(-size // (tensors * dtype.itemsize * torch.Size(sample_shape).numel()))


def size_text(size: float) -> str:
    """Return bytes as text, in powers of ten.

    >>> size_text(1_075_000_000), size_text(4096)
    ('1.07 GB', '4.1 kB')
    """
    for unit, scale, digits in (("GB", 1e9, 2), ("MB", 1e6, 1)):
        if size >= scale:
            return f"{size / scale:.{digits}f} {unit}"
    return f"{size / 1e3:.1f} kB"


def dtype_text(dtype: torch.dtype) -> str:
    """Return torch.float32 as float32."""
    return str(dtype).removeprefix("torch.")


def in_layout(x: Tensor, layout: str) -> Tensor:
    """Return the same values in memory of another order; gaps hold NaN."""
    if layout == "channels-last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "transposed":
        back = tuple(reversed(range(x.ndim)))
        return x.permute(back).contiguous().permute(back)
    if layout == "strided":
        wide = x.new_full([2 * size for size in x.shape], torch.nan)
        view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
        return view.copy_(x)
    return x


@dataclass(frozen=True)
class Pairs:
    """Sets of paired features (N, C, ...) that take turns, with a scratch tensor to copy to."""

    sets: list[tuple[Tensor, Tensor]]
    scratch: Tensor
    labels: Tensor | None
    num_factors: int

    @classmethod
    def draw(
        cls,
        device: Device,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        layout: str,
        seed: int,
        num_factors: int = 1,
        most: int | None = None,
    ) -> "Pairs":
        """Draw as many sets as no cache holds, at most `most`."""
        generator = device.generator(seed)
        first = draw_pair(shape, dtype, layout, generator=generator)
        count = device.sets(first[0].nbytes + first[1].nbytes)
        count = count if most is None else min(count, most)
        sets = [first, *(draw_pair(shape, dtype, layout, generator=generator) for _ in range(count - 1))]
        labels = None
        if num_factors > 1:
            labels = torch.randint(num_factors, shape[:1], generator=generator, device=generator.device)
        return cls(sets, torch.empty_like(first[0]), labels, num_factors)

    @property
    def moved(self) -> int:
        """Bytes that must be read: those of one set."""
        a, b = self.sets[0]
        return a.nbytes + b.nbytes

    @property
    def shape(self) -> str:
        return shape_text(self.sets[0][0].shape)

    def copy(self, i: int) -> None:
        """Move as many bytes as reading a set takes: one of its tensors is read, another is written."""
        self.scratch.copy_(self.sets[i][0])

    def truth(self, pool: bool) -> Tensor:
        """Return the (F, C) correlations of the first set, a few channels at a time to bound the memory."""
        a, b = self.sets[0]
        step = max(1, _CHUNK * a.shape[1] // a.numel())
        parts = []
        for begin in range(0, a.shape[1], step):
            part = (x.narrow(1, begin, min(step, a.shape[1] - begin)) for x in (a, b))
            moments = torch_reference.comoments(*part, self.labels, self.num_factors, 1, pool)
            parts.append(estimator_of("pearson").correlation(moments))
        return torch.cat(parts, dim=1)

    def on(self, run: Callable[[Tensor, Tensor], object]) -> Callable[[int], object]:
        """Return a call on the set of a number."""
        return lambda i: run(*self.sets[i])
