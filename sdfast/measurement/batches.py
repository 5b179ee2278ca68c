"""The share of the batches of pairs that one process measures."""

import operator
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sdfast.foundation import check_integer
from sdfast.models import Clips, map_clips, stack_clips, tensors_of
from sdfast.ops import check_factor_values
from sdfast.statistics import FACTORS

# Clips (N, ...) twice, factor (N,) int64, and the number of the source of each pair (N,) int64, where pairs tell it.
Batch = tuple[Clips, Clips, Tensor, Tensor | None]
Sourced = tuple[Clips, Clips, Tensor, Tensor]  # the same with a source for each pair
_INTEGERS = (("factor", "label"), ("source", "number"))
_MIXED = "pairs: expected a source with every pair or with none, got some with and some without"


class Share:
    """Iterate over batches rank, rank + world, ... of the pairs, without those already done.

    Whole batches are dealt out, so that every batch is the same however many processes there are. Each is (clips_a,
    clips_b, factor, source). Where the pairs name no source, every pair is its own: source is its place among all
    pairs of all processes.

    Args:
        pairs: a map-style dataset of (clip_a, clip_b, factor) or (clip_a, clip_b, factor, source), or an iterable of
            such pairs, or of batches of them, (N, ...) and (N,).
        batch_size: pairs a batch, where pairs come one by one.
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

    @property
    def num_batches(self) -> int | None:
        """How many batches all processes measure together, or None where only the end will tell."""
        return -(-len(self.pairs) // self.batch_size) if self.map_style else None

    def __iter__(self) -> Iterator[Sourced]:
        for start, (clips_a, clips_b, factor, source) in self._loaded() if self.map_style else self._dealt():
            if source is None:
                source = torch.arange(start, start + len(factor))
            yield clips_a, clips_b, factor, source

    @property
    def _first(self) -> int:
        return self.rank + self.done * self.world

    def _loaded(self) -> Iterator[tuple[int, Batch]]:
        """Iterate over the own batches of a dataset, and how many pairs there are before each."""
        indices = _Indices(len(self.pairs), self.batch_size, self._first, self.world)
        loader = DataLoader(
            self.pairs,
            batch_sampler=indices,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=self.pin_memory,
        )
        return zip(indices.starts, _alike(_as_raised(loader)), strict=True)

    def _dealt(self) -> Iterator[tuple[int, Batch]]:
        """Iterate over the own batches of an iterable, and how many pairs there are before each."""
        start, first = 0, self._first
        for number, batch in enumerate(_alike(in_batches(self.pairs, self.batch_size))):
            if number >= first and (number - first) % self.world == 0:
                yield start, batch
            start += len(batch[2])


def in_batches(items: Iterable[Any], batch_size: int) -> Iterator[Any]:
    """Yield batches as they come, and single pairs, whose factor is a number, in batches of `batch_size`."""
    gathered = []
    for item in items:
        if isinstance(item, tuple | list) and len(item) > 2 and np.ndim(item[2]) == 0:
            gathered.append(item)
            if len(gathered) == batch_size:
                yield collate(gathered)
                gathered = []
        elif gathered:
            raise TypeError("pairs: expected pairs or batches of them, got both")
        else:
            yield item
    if gathered:
        yield collate(gathered)


def _alike(batches: Iterable[Any]) -> Iterator[Batch]:
    """Check batches, one by one and that all have sources or none."""
    sourced = None
    for batch in map(checked, batches):
        if sourced not in (None, batch[3] is not None):
            raise ValueError(_MIXED)
        sourced = batch[3] is not None
        yield batch


def _as_raised(loader: "DataLoader[Any]") -> Iterator[Any]:
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

    def __iter__(self) -> Iterator[list[int]]:
        for start in self.starts:
            yield [*range(start, min(start + self.batch_size, self.num_pairs))]


def collate(pairs: list[Any]) -> tuple[Any, ...]:
    """Stack pairs, (clip_a, clip_b, factor) or with a source, to a batch; clips are of one shape and kind."""
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) not in (3, 4):
            raise TypeError(f"pairs: expected items (clip_a, clip_b, factor[, source]), got {_describe(pair)}")
        if len(pair) != len(pairs[0]):
            raise ValueError(_MIXED)
    columns = list(zip(*pairs, strict=True))
    stacked = [stack_clips(clips, f"pairs: {name}") for name, clips in zip(("clip_a", "clip_b"), columns, strict=False)]
    for (name, what), column in zip(_INTEGERS, columns[2:], strict=False):
        stacked.append(torch.tensor([_integer(name, what, value) for value in column]))
    return tuple(stacked)


def _integer(name: str, what: str, value: Any) -> int:
    try:
        # int, bool, either of NumPy, or an integer tensor
        return operator.index(value.item() if isinstance(value, np.generic) else value)
    except TypeError:
        raise TypeError(f"pairs: {name}: expected an integer {what}, got {value!r}") from None


def checked(batch: object) -> Batch:
    """Return a batch as tensors, and None for a source it has not; raise an error that names what does not fit."""
    if not isinstance(batch, tuple | list) or len(batch) not in (3, 4):
        raise TypeError(f"pairs: expected batches (clips_a, clips_b, factor[, source]), got {_describe(batch)}")
    named = zip(("clips_a", "clips_b"), batch, strict=False)
    clips_a, clips_b = (map_clips(_with_rows, clips, where=f"pairs: {name}") for name, clips in named)
    integers = list(map(torch.as_tensor, batch[2:]))
    map_clips(_check_alike, clips_b, clips_a, where="pairs: clips_b")
    if isinstance(clips_a, Tensor):
        count = len(clips_a)
    else:  # of packed clips, with several rows each, some tensor tells how many there are: the grid of each, say
        count = min(map(len, tensors_of(clips_a)))
        map_clips(partial(_check_rows, count), clips_a, where="pairs: clips_a")
    for (name, what), column in zip(_INTEGERS, integers, strict=False):
        if column.is_floating_point() or column.is_complex():
            raise TypeError(f"pairs: {name}: expected integer {what}s, got {column.dtype}")
        if column.shape != (count,):
            raise ValueError(f"pairs: {name}: expected shape ({count},), one {what} a pair, got {tuple(column.shape)}")
    factor, source = integers[0].long(), integers[1].long() if len(integers) == 2 else None
    check_factor_values(factor, len(FACTORS))
    if source is not None and source.min() < 0:
        raise ValueError(f"pairs: source: expected numbers from 0 on, got {int(source.min())}")
    return clips_a, clips_b, factor, source


def _with_rows(where: str, clips: Tensor) -> Tensor:
    if clips.ndim < 1 or len(clips) == 0:
        raise ValueError(f"{where}: expected batches of at least one pair, got clips of shape {tuple(clips.shape)}")
    return clips


def _check_alike(where: str, clips_b: Tensor, clips_a: Tensor) -> Tensor:
    if clips_b.shape != clips_a.shape:
        raise ValueError(f"{where}: expected shape {tuple(clips_a.shape)} like clips_a, got {tuple(clips_b.shape)}")
    if clips_b.dtype != clips_a.dtype:
        raise TypeError(f"{where}: expected dtype {clips_a.dtype} like clips_a, got {clips_b.dtype}")
    return clips_b


def _check_rows(count: int, where: str, clips: Tensor) -> Tensor:
    if len(clips) % count:
        raise ValueError(f"{where}: expected a multiple of {count} rows, as another tensor has, got {len(clips)}")
    # Rows are parted evenly among the clips, which says nothing where their patches are not as many.
    if "grid" in where and (clips != clips[:1]).any():
        raise ValueError(f"{where}: expected one grid for all clips of a batch, got {clips.unique(dim=0).tolist()}")
    return clips


def _describe(value: object) -> str:
    return f"{type(value).__name__} of length {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
