"""Batches of pairs by their numbers, from a dataset or from whatever yields pairs or batches."""

import operator
import re
from collections import deque
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


class Batches:
    """Load the batches of pairs that are asked for.

    Whole batches are dealt out to processes, so that every batch is the same however many processes there are. Each is
    (clips_a, clips_b, factor, source). Where the pairs name no source, every pair is its own: source is its place among
    all pairs of all processes.

    Args:
        pairs: a map-style dataset of (clip_a, clip_b, factor) or (clip_a, clip_b, factor, source), or an iterable of
            such pairs, or of batches of them, (N, ...) and (N,).
        batch_size: pairs a batch, where pairs come one by one.
        num_workers: processes that load them.
        pin_memory: load into memory from which a GPU copies at once.

    Attributes:
        number: how many batches there are, None where only the end will tell, and this process has not seen it.
        as_asked: whether a process may measure any of them; not where it keeps those that it had before.

    Raises:
        ValueError: a map-style dataset is empty.
    """

    def __init__(self, pairs: Any, batch_size: int, num_workers: int = 0, pin_memory: bool = False) -> None:
        check_integer("batch_size", batch_size, 1)
        check_integer("num_workers", num_workers, 0)
        self.pairs, self.batch_size, self.num_workers = pairs, int(batch_size), int(num_workers)
        self._pin_memory = pin_memory
        self.map_style = (
            hasattr(pairs, "__getitem__") and hasattr(pairs, "__len__") and not isinstance(pairs, IterableDataset)
        )
        self.as_asked = self.map_style and not getattr(pairs, "always_dealt_alike", False)
        if not self.map_style and not isinstance(pairs, Iterable):
            raise TypeError(f"pairs: expected a dataset or an iterable of batches, got {type(pairs).__name__}")
        if self.map_style and len(pairs) == 0:
            raise ValueError("pairs: expected at least one pair, got none")
        self.number = -(-len(pairs) // self.batch_size) if self.map_style else None

    @property
    def num_pairs(self) -> int | None:
        """How many pairs all processes measure together, or None where only the end will tell."""
        return len(self.pairs) if self.map_style else None

    def load(self, numbers: Iterable[int]) -> Iterator[Sourced]:
        """Yield the batches of these numbers, which for an iterable ascend, until it ends.

        A number is asked for when its batch begins to be loaded, which is ahead of its turn where processes load.
        """
        for start, (clips_a, clips_b, factor, source) in (self._loaded if self.map_style else self._passing)(numbers):
            if source is None:
                source = torch.arange(start, start + len(factor))
            yield clips_a, clips_b, factor, source

    def _loaded(self, numbers: Iterable[int]) -> Iterator[tuple[int, Batch]]:
        """Iterate over batches of a dataset, and how many pairs there are before each."""
        indices = _Indices(numbers, len(self.pairs), self.batch_size)
        loader = DataLoader(
            self.pairs,
            batch_sampler=indices,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=self._pin_memory,
        )
        for batch in _alike(_as_raised(loader)):
            yield indices.begun.popleft(), batch

    def _passing(self, numbers: Iterable[int]) -> Iterator[tuple[int, Batch]]:
        """Iterate over batches of an iterable that passes by, and how many pairs there are before each."""
        passing = enumerate(_alike(in_batches(self.pairs, self.batch_size)))
        start, passed = 0, 0
        for wanted in numbers:
            for number, batch in passing:
                start, before, passed = start + len(batch[2]), start, number + 1
                if number == wanted:
                    yield before, batch
                    break
            else:
                self.number = passed
                return


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
    except (EOFError, ConnectionError) as error:
        if loader.num_workers == 0:
            raise
        raise RuntimeError("pairs: a DataLoader worker is gone; killed, perhaps, as memory ran out") from error
    except Exception as error:
        if not (caught := re.match(r"Caught (\w+) in DataLoader worker", str(error))):
            raise
        own = re.split(rf"^(?:[\w<>]+\.)*{caught[1]}(?:: |$)", str(error), flags=re.MULTILINE)[-1]
        raise type(error)(own.strip() or caught[1]) from error


class _Indices:
    """The indices of batches; the last one may be smaller. `begun` holds where each begins that is not yet there."""

    def __init__(self, numbers: Iterable[int], num_pairs: int, batch_size: int) -> None:
        self.begun: deque[int] = deque()
        self._numbers, self._num_pairs, self._batch_size = numbers, num_pairs, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for number in self._numbers:
            start = number * self._batch_size
            self.begun.append(start)
            yield [*range(start, min(start + self._batch_size, self._num_pairs))]


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
