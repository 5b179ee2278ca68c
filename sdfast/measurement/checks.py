"""Whether the pairs so far are enough: asked by all processes together, at the same batches."""

from collections.abc import Mapping
from typing import Any

import torch

from sdfast.measurement.capture import Key, MakeState
from sdfast.measurement.exchange import merged
from sdfast.measurement.pieces import Piece, Pieces
from sdfast.measurement.processes import Processes
from sdfast.measurement.stopping import Stopping
from sdfast.statistics import PairState


class Checks:
    """Ask every so often.

    Args:
        stopping: says when, and whether it is enough.
        pieces: what this process has.
        make_state: makes an empty state.
        processes: all of them ask together.
        after: at which batch an earlier run has ended: what that was asked before is not asked again.
    """

    def __init__(
        self, stopping: Stopping[Any], pieces: Pieces, make_state: MakeState[Any], processes: Processes, after: int
    ) -> None:
        self._stopping, self._pieces, self._make_state, self._processes = stopping, pieces, make_state, processes
        self._due = (done * processes.world for done in stopping.checks())
        self._next = next((batch for batch in self._due if batch >= after), None)

    def enough(self, number: int | None, batches: int | None) -> bool:
        """Tell whether to stop.

        Args:
            number: of the batch that this process would go on with; None where it has no more.
            batches: how many there are, as far as it knows.
        """
        while self._next is not None and (number is None or number >= self._next):
            known = self._processes.gather("batches known", batches)
            if any(end is not None and end < self._next for end in known):
                self._next = None  # they run out before
            elif self._reached():
                return True
            else:
                self._next = next(self._due, None)
        return False

    def _reached(self) -> bool:
        stopping, pieces = self._stopping, self._pieces

        def make_asked(num_channels: int, device: torch.device) -> PairState:
            return stopping.asked_of(self._make_state(num_channels, device))

        def copied(piece: Piece) -> Piece:
            states = {key: stopping.asked_of(state) for key, state in piece.states.items()}
            return Piece(piece.held, states, piece.plan, piece.place)

        base = None if pieces.base is None else copied(pieces.base)
        total = merged(base, [copied(piece) for piece in pieces.all()], make_asked, self._processes)
        return self._processes.from_first("enough", total is not None and stopping.reached(by_report(total.states)))


def by_report(states: Mapping[Key, PairState]) -> dict[str, PairState]:
    """Return states by the names of their reports: a layer that is called several times has one a call."""
    repeated = {name for name, call in states if call}
    return {f"{name}#{call + 1}" if name in repeated else name: state for (name, call), state in states.items()}
