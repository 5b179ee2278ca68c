"""What there is to measure: stages, and comparisons before their features are drawn."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from benchmarks.contest import Contest, Run, contend
from benchmarks.device import Device
from benchmarks.targets import AIMS
from sdfast.bench import shape_text


@dataclass(frozen=True)
class Stage:
    """Something to measure, begun and ended as one, on features of `size` bytes; `hold` writes what it finds.

    Args:
        quick: it has a target or must be right, and is part of a quick run.
        warm: in a process that keeps freed memory. By default glibc gives large temporaries back and gets them anew,
            so that every call that makes a tensor pays for page faults.
    """

    name: str
    hold: Callable[[Run], object]
    quick: bool = True
    warm: bool = False
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared on features of one shape and dtype: `case(run)` draws them.

    Args:
        sample: the shape of a sample; there are as many as make up `size` bytes, or what no cache holds.
        shape: instead, one of its own.
    """

    kind: ClassVar[str]
    tensors: ClassVar[int]  # that make up the size
    label: str
    dtype: torch.dtype = torch.float32
    sample: tuple[int, ...] = ()
    size: int | None = None
    shape: tuple[int, ...] | None = None
    rivals: tuple[str, ...] = ()
    warm: bool = False

    @property
    def key(self) -> str:
        """What its targets are found by."""
        return f"{self.kind}, {self.label}"

    def shape_on(self, device: Device) -> tuple[int, ...]:
        """Return the shape of the features; tiny in a rehearsal, but where they are small anyway."""
        if self.shape is not None:
            return self.shape
        if device.rehearses:
            return (6, 8, *(min(3, size) for size in self.sample[1:]))
        a_sample = self.tensors * self.dtype.itemsize * torch.Size(self.sample).numel()
        return (-(-(self.size or device.large) // a_sample), *self.sample)

    def hold(self, run: Run) -> Contest:
        """Compare."""
        return contend(self.case(run), run)


def stages_of(plans: Iterable[Plan], device: Device) -> Iterator[Stage]:
    """Yield a stage a plan; the first of those that share targets is part of a quick run."""
    keys = set()
    for plan in plans:
        shape, judged = plan.shape_on(device), plan.key in AIMS[device.kind].keys() - keys
        size = plan.tensors * plan.dtype.itemsize * torch.Size(shape).numel()
        yield Stage(f"{plan.key} {shape_text(shape)}", plan.hold, judged, plan.warm and device.kind == "cpu", size)
        keys.add(plan.key)
