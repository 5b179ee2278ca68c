"""How far all processes are together, on a bar that the first one shows."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from sdfast.foundation import progress_bar
from sdfast.measurement.batches import Batches
from sdfast.measurement.stopping import Stopping

# From the numbers of channels of all states, and how many pairs there will be, to a line for stderr.
Told = Callable[[Sequence[int], int | None], str]


class Progress:
    """Show a bar of pairs in a `with` block.

    Args:
        shown: False shows nothing; a string is the title.
        batches: those that are measured.
        before: how many of them earlier runs have measured.
        stopping: whose status is shown.
        told: what is said when the channels are known.
    """

    def __init__(
        self, shown: bool | str, batches: Batches, before: int, stopping: Stopping[Any], told: Told | None
    ) -> None:
        self._batches, self._before, self._stopping = batches, before, stopping
        self._pairs = self._own = 0
        self._bar = progress_bar(
            batches.num_pairs,
            "pairs",
            shown,
            0 if batches.num_pairs is None else self._known(before * batches.batch_size),
        )
        self._told = told if shown else None

    def __enter__(self) -> "Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def began(self, channels: Sequence[int]) -> None:
        """Say what is told of states with so many channels."""
        if self._told is not None:
            self._bar.write(self._told(channels, self._batches.num_pairs), file=sys.stderr)

    def measured(self, pairs: int) -> None:
        """Count a batch of this process."""
        self._pairs += pairs
        self._own += 1

    def show(self, everywhere: int) -> None:
        """Show how many batches all processes have measured in this run; those of others count as the own do."""
        done = self._before + everywhere
        each = self._pairs / self._own if self._own else self._batches.batch_size
        if done == self._batches.number and self._batches.num_pairs is not None:
            pairs = self._batches.num_pairs
        else:
            pairs = self._known(self._before * self._batches.batch_size + round(each * everywhere))
        self._bar.set_postfix_str(self._stopping.status, refresh=False)
        self._bar.update(max(0, pairs - self._bar.n))

    def _known(self, pairs: int) -> int:
        total = self._batches.num_pairs
        return pairs if total is None else min(total, pairs)
