"""Time candidates in turn, A B C A B C ..., so that whatever the machine does meanwhile happens to all of them."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

SECONDS = 3.0  # for all rounds of a comparison
MIN_ROUNDS, MAX_ROUNDS = 7, 101
_SAMPLE = 1e-3  # seconds that a sample lasts at least, in as many calls as that takes


@dataclass(frozen=True)
class Spread:
    """The values of all rounds, shown as their median and extremes."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The middle half of the rounds lies between these."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    def map(self, change: Callable[[float], float]) -> "Spread":
        """Return the spread of the changed values."""
        return Spread(tuple(map(change, self.values)))

    def to_dict(self) -> dict[str, float]:
        """Return what is kept of it, as JSON values."""
        low, high = self.quartiles
        ends = {"min": min(self.values), "max": max(self.values)}
        return {"median": self.median, **ends, "quartile_1": low, "quartile_3": high, "rounds": len(self.values)}


@dataclass(frozen=True)
class Rounds:
    """Seconds a call of each candidate in each round."""

    seconds: Mapping[str, tuple[float, ...]]

    def of(self, name: str) -> Spread:
        """Return the seconds of one candidate."""
        return Spread(self.seconds[name])

    def ratio(self, over: str, under: str) -> Spread:
        """Return how many times the seconds of `under` those of `over` are, round by round."""
        pairs = zip(self.seconds[over], self.seconds[under], strict=True)
        return Spread(tuple(long / short for long, short in pairs))


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    settle: Callable[[], object] | None = None,
    wait: Callable[[], object] | None = None,
    clock: Callable[[Callable[[], object], int], float] | None = None,
    seconds: float = SECONDS,
) -> Rounds:
    """Time candidates in turn, in at least 7 rounds.

    Args:
        candidates: what is called; each is warmed up first.
        settle: called before each sample and not timed, to give all candidates the same caches.
        wait: returns when the device has done what it was asked; called before a sample, and as its last part.
        clock: takes a sample in place of `sample`: returns the seconds that each of some calls in a row takes.
        seconds: how long all rounds may take together, beyond the least number of them.
    """
    clock = clock or partial(sample, wait=wait)
    for run in candidates.values():
        run()
    calls = {name: _calls_a_sample(run, clock) for name, run in candidates.items()}
    begin = time.perf_counter()
    first = _round(candidates, calls, settle, clock)
    rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(seconds / (time.perf_counter() - begin))))
    collecting = gc.isenabled()
    gc.disable()
    try:
        taken = [first, *(_round(candidates, calls, settle, clock) for _ in range(rounds - 1))]
    finally:
        if collecting:
            gc.enable()
    return Rounds({name: tuple(each[name] for each in taken) for name in candidates})


def sample(run: Callable[[], object], calls: int, wait: Callable[[], object] | None = None) -> float:
    """Return the seconds that each of some calls in a row takes."""
    repeats: Iterable[int] = range(calls)
    if wait is not None:
        wait()
    begin = time.perf_counter()
    for _ in repeats:
        run()
    if wait is not None:
        wait()
    return (time.perf_counter() - begin) / calls


def _calls_a_sample(run: Callable[[], object], clock: Callable[[Callable[[], object], int], float] = sample) -> int:
    """Return how many calls it takes for a sample to last long enough."""
    return max(1, math.ceil(_SAMPLE / clock(run, 1)))


def _round(
    candidates: Mapping[str, Callable[[], object]],
    calls: Mapping[str, int],
    settle: Callable[[], object] | None,
    clock: Callable[[Callable[[], object], int], float],
) -> dict[str, float]:
    taken = {}
    for name, run in candidates.items():
        if settle is not None:
            settle()
        taken[name] = clock(run, calls[name])
    return taken
