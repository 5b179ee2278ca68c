"""The share of the batches of pairs that one process measures."""

import operator
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sdfast.foundation import check_integer
from sdfast.ops import check_factor_values
from sdfast.statistics import FACTORS

Batch = tuple[Tensor, Tensor, Tensor]


class Share:
    """Iterate over batches rank, rank + world, ... of the pairs, without those already done.

    Whole batches are dealt out, so that every batch is the same however many processes there are.

    Args:
        pairs: a map-style dataset of (clip_a, clip_b, factor), or an iterable of batches of that, (N, ...) and (N,).
        batch_size: pairs a batch, of a map-style dataset.
        num_workers: processes that load them.
        rank: which process this is.
        world: how many processes there are.
        pin_memory: load into memory from which a GPU copies at once.

    Raises:
        ValueError: a map-style dataset is empty.
    """

    def __init__(
        self, pairs: Any, batch_size: int, num_workers: int = 0, rank: int = 0, world: int = 1, pin_memory: bool = False
    ) -> None:
        check_integer("batch_size", batch_size, 1)
        check_integer("num_workers", num_workers, 0)
        self.pairs, self.batch_size, self.num_workers = pairs, int(batch_size), int(num_workers)
        self.rank, self.world, self.pin_memory = rank, world, pin_memory
        self.done = 0
        self.map_style = (
            hasattr(pairs, "__getitem__") and hasattr(pairs, "__len__") and not isinstance(pairs, IterableDataset)
        )
        if not self.map_style and not isinstance(pairs, Iterable):
            raise TypeError(f"pairs: expected a dataset or an iterable of batches, got {type(pairs).__name__}")
        if self.map_style and len(pairs) == 0:
            raise ValueError("pairs: expected at least one pair, got none")

    @property
    def num_pairs(self) -> int | None:
        """How many pairs all processes measure together, or None where only the end will tell."""
        return len(self.pairs) if self.map_style else None

    def __iter__(self) -> Iterator[Batch]:
        first = self.rank + self.done * self.world
        if not self.map_style:
            return (checked(batch) for batch in islice(self.pairs, first, None, self.world))
        loader = DataLoader(
            self.pairs,
            batch_sampler=_Indices(len(self.pairs), self.batch_size, first, self.world),
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=self.pin_memory,
        )
        return map(checked, _loaded(loader))


def _loaded(loader: DataLoader) -> Iterator[Batch]:
    """Iterate over a loader; what one of its processes raised says here what it said there, without the traceback."""
    try:
        yield from loader
    except Exception as error:
        if not (caught := re.match(r"Caught (\w+) in DataLoader worker", str(error))):
            raise
        own = re.split(rf"^(?:[\w<>]+\.)*{caught[1]}(?:: |$)", str(error), flags=re.MULTILINE)[-1]
        raise type(error)(own.strip() or caught[1]) from error


class _Indices:
    """The indices of every `step`-th batch from the `first` on; the last batch may be smaller."""

    def __init__(self, num_pairs: int, batch_size: int, first: int, step: int) -> None:
        self.starts = range(first * batch_size, num_pairs, step * batch_size)
        self.num_pairs, self.batch_size = num_pairs, batch_size

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[range]:
        for start in self.starts:
            yield range(start, min(start + self.batch_size, self.num_pairs))


def collate(pairs: list) -> Batch:
    """Stack pairs (clip_a, clip_b, factor) to a batch; the clips are tensors or NumPy arrays of one shape."""
    columns = []
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 3:
            raise TypeError(f"pairs: expected items (clip_a, clip_b, factor), got {_describe(pair)}")
    for name, column in zip(("clip_a", "clip_b"), list(zip(*pairs, strict=True))[:2], strict=True):
        clips = [torch.as_tensor(clip) for clip in column]
        for clip in clips:
            if clip.shape != clips[0].shape:
                raise ValueError(
                    f"pairs: {name}: expected shape {tuple(clips[0].shape)} like the first of its batch, "
                    f"got {tuple(clip.shape)}"
                )
        columns.append(torch.stack(clips))
    return (*columns, torch.tensor([_label(pair[2]) for pair in pairs]))


def _label(factor: object) -> int:
    try:
        return operator.index(factor)  # int, NumPy integer or integer tensor
    except TypeError:
        raise TypeError(f"pairs: factor: expected an integer label, got {factor!r}") from None


def checked(batch: object) -> Batch:
    """Return a batch as tensors, (N, ...) twice and (N,) int64; raise an error that names what does not fit."""
    if not isinstance(batch, tuple | list) or len(batch) != 3:
        raise TypeError(f"pairs: expected batches (clips_a, clips_b, factor), got {_describe(batch)}")
    clips_a, clips_b, factor = map(torch.as_tensor, batch)
    if clips_a.ndim < 1 or len(clips_a) == 0:
        raise ValueError(f"pairs: expected batches of at least one pair, got clips of shape {tuple(clips_a.shape)}")
    if clips_b.shape != clips_a.shape:
        raise ValueError(
            f"pairs: clips_b: expected shape {tuple(clips_a.shape)} like clips_a, got {tuple(clips_b.shape)}"
        )
    if clips_b.dtype != clips_a.dtype:
        raise TypeError(f"pairs: clips_b: expected dtype {clips_a.dtype} like clips_a, got {clips_b.dtype}")
    if factor.is_floating_point() or factor.is_complex():
        raise TypeError(f"pairs: factor: expected integer labels, got {factor.dtype}")
    if factor.shape != clips_a.shape[:1]:
        raise ValueError(
            f"pairs: factor: expected shape ({len(clips_a)},), one label a pair, got {tuple(factor.shape)}"
        )
    factor = factor.long()
    check_factor_values(factor, len(FACTORS))
    return clips_a, clips_b, factor


def _describe(value: object) -> str:
    return f"{type(value).__name__} of length {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
