"""Which process measures which batches: as each asks for them, or as was said before."""

from collections.abc import Iterator

from sdfast.measurement.pieces import Pieces
from sdfast.measurement.processes import Processes


class Dealing:
    """Deal out the parts of the batches that no process has begun.

    Each process has a run of the parts, and takes one after the other from its front; who has none left takes the rear
    half of the longest run. The runs lie in the store of the processes and change by compare-and-set: a part is one
    question, and no process waits for another.

    Args:
        pieces: what this process has begun.
        started: parts that any process has begun, or has done.
        processes: who measures. Afterwards all have to wait for each other, once.
        as_asked: else process r has the parts r, r + number of processes, ...
    """

    def __init__(self, pieces: Pieces, started: set[int], processes: Processes, as_asked: bool) -> None:
        self._pieces, self._processes, self._as_asked = pieces, processes, as_asked
        free = (part for part in range(pieces.plan.parts) if part not in started)
        self._free = [part for part in free if next(pieces.missing(part), None) is not None]
        if as_asked:
            size, rank, world = len(self._free), processes.rank, processes.world
            self._own = (size * rank // world, size * (rank + 1) // world)
            processes.tell(_key(rank), self._text(*self._own))

    def batches(self) -> Iterator[tuple[int, int, bool]]:
        """Yield (part, batch, whether it is the last of the part) for all batches that this process shall measure."""
        for part in self._parts():
            numbers = self._pieces.missing(part)
            number = next(numbers, None)
            while number is not None:
                following = next(numbers, None)
                yield part, number, following is None
                number = following

    def _parts(self) -> Iterator[int]:
        yield from sorted(self._pieces.begun)
        if self._as_asked:
            yield from self._asked()
        else:
            rank, world = self._processes.rank, self._processes.world
            yield from (part for part in self._free if part % world == rank)

    def _asked(self) -> Iterator[int]:
        rank, processes = self._processes.rank, self._processes
        own = self._text(*self._own)
        while True:
            low, high = _run(own)
            while low < high:
                rest = self._text(low + 1, high)
                own = processes.exchange(_key(rank), own, rest)
                if own == rest:
                    yield self._free[low]
                low, high = _run(own)  # or another has taken the rear
            runs = processes.told(map(_key, range(processes.world)))
            longest = max(range(len(runs)), key=lambda other: len(range(*_run(runs[other]))))
            low, high = _run(runs[longest])
            if low == high:
                return
            front = self._text(low, (low + high) // 2)
            if processes.exchange(_key(longest), runs[longest], front) == front:
                own = self._text((low + high) // 2, high)
                processes.tell(_key(rank), own)

    def _text(self, low: int, high: int) -> str:
        """Return a run as text; who wrote it is a part of it, as two may want to write the same."""
        return f"{low}:{high}:{self._processes.rank}"


def _key(rank: int) -> str:
    return f"run/{rank}"


def _run(text: str) -> tuple[int, int]:
    low, high, _ = map(int, text.split(":"))
    return low, high
