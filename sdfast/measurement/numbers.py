"""Which batches a state holds: their numbers, kept as the few ranges that they are."""

import heapq
from collections.abc import Iterable, Iterator


class Numbers:
    """A set of numbers from 0 on, as ranges one after the other.

    >>> held = Numbers.of([0, 2, 4, 6, 7, 8])
    >>> held.ranges, 4 in held, 5 in held, len(held)
    ([range(0, 7, 2), range(7, 9)], True, False, 6)
    """

    def __init__(self) -> None:
        self.ranges: list[range] = []

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "Numbers":
        """Return the set of numbers that ascend."""
        found = cls()
        for number in numbers:
            found.append(number)
        return found

    @classmethod
    def from_json(cls, rows: object) -> "Numbers":
        """Return the set that `to_json` has made rows of; ValueError where they are no such rows."""
        found, end = cls(), -1
        for row in rows if isinstance(rows, list) else [rows]:
            if not isinstance(row, list) or len(row) != 3 or not all(type(value) is int for value in row):
                raise ValueError(f"expected ranges of batches, [start, stop, step], got {row!r}")
            if row[2] < 1 or not (numbers := range(*row)) or numbers[0] <= end:
                raise ValueError(f"expected ranges of batches that ascend, got {row!r}")
            found.ranges.append(numbers)
            end = numbers[-1]
        return found

    def to_json(self) -> list[list[int]]:
        """Return a row [start, stop, step] for each range."""
        return [[numbers.start, numbers.stop, numbers.step] for numbers in self.ranges]

    def append(self, number: int) -> None:
        """Add a number above all that there are."""
        if self.ranges:
            last = self.ranges[-1]
            if len(last) == 1 or number - last[-1] == last.step:
                self.ranges[-1] = range(last.start, number + 1, number - last[-1])
                return
        self.ranges.append(range(number, number + 1))

    def __or__(self, other: "Numbers") -> "Numbers":
        if not (self and other):
            return Numbers.of(self or other)
        if [*self._solid(), *other._solid()] == [self.first, self.last, self.last + 1, other.last]:
            joined = Numbers()
            joined.ranges = [range(self.first, other.last + 1)]
            return joined
        return Numbers.of(heapq.merge(self, other))

    @property
    def first(self) -> int:
        """The lowest number."""
        return self.ranges[0][0]

    @property
    def last(self) -> int:
        """The highest number."""
        return self.ranges[-1][-1]

    def __contains__(self, number: int) -> bool:
        return any(number in numbers for numbers in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for numbers in self.ranges:
            yield from numbers

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def _solid(self) -> list[int]:
        """Return the first and the last number where there are all between, else nothing."""
        return [self.first, self.last] if len(self) == self.last - self.first + 1 else []
