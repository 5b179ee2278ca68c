"""When a measurement is sure enough to stop: every layer's shares are known as well as was asked for."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic

from sdfast.measurement.capture import State
from sdfast.report import BiasReport
from sdfast.statistics import GroupedCoMoments, Jackknife, estimator_of

LEVEL = 0.95  # that of reports
LEAST_SOURCES = 20  # of fewer, intervals by chance too narrow would stop it too early
_GROWTH = 10  # a check whenever there is a tenth more


class Stopping(Generic[State]):
    """Never stop before the pairs run out.

    Attributes:
        until: what is to be reached, a fraction of the layer, or None.
        status: what a progress bar says of it.
    """

    until: float | None = None
    status: str = ""

    def checks(self) -> Iterator[int]:
        """Yield after how many batches of each process to ask; it depends on nothing else."""
        return iter(())

    def asked_of(self, state: State) -> State:
        """Return a copy of what has to be known of a state for that; it is merged over all processes then."""
        return copy.deepcopy(state)

    def reached(self, states: Mapping[str, State]) -> bool:
        """Tell whether what was asked of all layers, merged over all processes, is enough."""
        return False


NEVER: Stopping[Any] = Stopping()


class SharesKnown(Stopping[GroupedCoMoments]):
    """Stop when no layer has a share whose 95 % interval is wider than it may be.

    Args:
        until: the widest half-width to be reached, a fraction of the layer.
        kind: of correlation.
        least_pairs: that each factor has to have.

    Raises:
        ValueError: until is not between 0 and 1.

    Source: Chow and Robbins, Annals of Mathematical Statistics 36 (1965): stopping as soon as an interval is narrow
    enough keeps its level in the limit. In simulations of shares 93 to 100 % of runs were within ± until.
    """

    until: float

    def __init__(self, until: float, kind: str = "pearson", least_pairs: int = 0) -> None:
        number = isinstance(until, int | float) and not isinstance(until, bool)
        if not number or not 0 < until < 1:
            raise ValueError(f"until: expected a half-width between 0 and 1, such as 0.01 for ±1 %, got {until!r}")
        self.until, self._estimator, self._least_pairs = float(until), estimator_of(kind), least_pairs

    def checks(self) -> Iterator[int]:
        """Yield after how many batches of each process to ask: whenever they have grown by a tenth.

        So all processes, and a run that goes on from an earlier one, ask at the same batches.

        >>> import itertools
        >>> [done for done in itertools.islice(SharesKnown(0.01).checks(), 33) if 37 <= done < 60]
        [39, 42, 46, 50, 55]
        """
        done = 1
        while True:
            yield done
            done += max(1, done // _GROWTH)

    def asked_of(self, state: GroupedCoMoments) -> GroupedCoMoments:
        """Return a copy of the sums alone: shares follow from them, and samples beside them may be many."""
        return state.sums()

    def reached(self, states: Mapping[str, GroupedCoMoments]) -> bool:
        """Tell whether there are sources and pairs enough, and every share is known as well as it shall be."""
        if any(state.num_sources < LEAST_SOURCES for state in states.values()):
            return False
        if any(state.count.min() < self._least_pairs for state in states.values()):
            return False
        spreads = (Jackknife(state.moments, self._estimator).shares for state in states.values())
        widest = _widest(float(spread.half_width(LEVEL).max()) for spread in spreads)
        self.status = f"widest share ±{percent(widest)}"
        return widest <= self.until


def widest_share(reports: Iterable[BiasReport]) -> float:
    """Return the widest half-width of an interval of a share, a fraction of the layer; NaN where one is unknown.

    >>> import torch
    >>> widest_share([BiasReport(torch.rand(6, 2, 3))])
    nan
    """
    return _widest(float((high - low).max()) / 200 for low, high in (report.share_interval() for report in reports))


def _widest(half_widths: Iterable[float]) -> float:
    half_widths = list(half_widths)
    return math.nan if any(map(math.isnan, half_widths)) else max(half_widths)


def ran_out(reports: Mapping[str, BiasReport], until: float) -> str:
    """Return what to say if the pairs ran out before `until` was reached, else an empty string."""
    widest, sources = widest_share(reports.values()), min(report.num_sources or 0 for report in reports.values())
    if sources >= LEAST_SOURCES and widest <= until * (1 + 1e-9):  # less than rounding is no failure
        return ""
    if math.isnan(widest):
        known = "is not known at all"
    else:
        needed = max(report.needed_sources(until) or 0 for report in reports.values())
        known = f"is known to ±{percent(widest)}, about {max(needed, LEAST_SOURCES):,} sources would do"
    few = f" (fewer than {LEAST_SOURCES} are never enough)" * (sources < LEAST_SOURCES)
    return f"until: the pairs ran out before ±{percent(until)}: with {sources:,} sources{few} the widest share {known}"


def percent(half_width: float) -> str:
    """Return a fraction in percent, to two digits.

    >>> percent(0.0123)
    '1.2 %'
    """
    return f"{100 * half_width:.2g} %"
