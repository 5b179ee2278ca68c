"""What was found in some of the batches, and the tree in which such pieces merge: the same whoever measured what."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sdfast.measurement.capture import Key
from sdfast.measurement.numbers import Numbers
from sdfast.statistics import PairState

PARTS = 128  # for each process, where they are dealt out as they are asked for


class Plan(NamedTuple):
    """How batches are parted. A part is measured by one process, in the order of its batches, into one state.

    The states of parts merge as in a binary tree, 0 and 1, 2 and 3, then these two, and so on. So the result depends on
    the plan alone, to the last bit, and neighbours take no more room than one.

    Attributes:
        batches: how many there are, or None where only the end will tell.
        parts: in how many they are parted.
        strided: whether part i is batches i, i + parts, ...; else parts are as even runs of batches as can be.
    """

    batches: int | None
    parts: int
    strided: bool

    @classmethod
    def of(cls, batches: int | None, world: int, strided: bool) -> "Plan":
        """Return the plan for so many processes: a part for each, or, unless strided, 128 where there are as many.

        >>> Plan.of(1000, 2, strided=False).numbers(255), Plan.of(None, 2, strided=True).numbers(1)[:3]
        (range(996, 1000), range(1, 7, 2))
        """
        if strided or world == 1 or batches is None:
            return cls(batches, world, True)
        return cls(batches, min(batches, PARTS * world), False)

    def numbers(self, part: int) -> range:
        """Return the batches of a part."""
        if self.strided or self.batches is None:
            return range(part, sys.maxsize if self.batches is None else self.batches, self.parts)
        return range(self.batches * part // self.parts, self.batches * (part + 1) // self.parts)


@dataclass
class Piece:
    """A state for each layer and call, of some batches.

    Attributes:
        held: the batches.
        states: the states, in the order in which the layers first ran.
        plan: that in whose tree this has a place; None if it has none.
        place: the level in the tree, and the number on this level from the left.
        replaces: the first batches of pieces that have gone into this one.
        saved: whether a file holds all of it.
    """

    held: Numbers
    states: dict[Key, PairState]
    plan: Plan | None = None
    place: tuple[int, int] = (0, 0)
    replaces: list[int] = field(default_factory=list)
    saved: bool = False

    def add(self, number: int) -> None:
        """Note that the states have a batch more."""
        self.held.append(number)
        self.saved = False

    def take(self, other: "Piece") -> None:
        """Add another piece, of other batches, to this one.

        Raises:
            ValueError: a layer has another number of channels there.
        """
        for key, state in other.states.items():
            mine = self.states.setdefault(key, state)
            if mine.num_channels != state.num_channels:
                raise ValueError(
                    f"layer {key[0]!r}: expected {mine.num_channels} channels everywhere, got {state.num_channels} "
                    "elsewhere"
                )
            if mine is not state:
                mine.merge(state)
        self.replaces += [other.held.first, *other.replaces]
        self.held = self.held | other.held
        self.saved = False


class Pieces:
    """The pieces that one process has.

    Args:
        plan: how the batches are parted.
        found: pieces of an earlier run. Those of another plan are merged at once, out of the tree.
        held: all that any process has found.
    """

    def __init__(self, plan: Plan, found: Iterable[Piece] = (), held: Numbers | None = None) -> None:
        self.plan = plan
        self.base: Piece | None = None
        self.begun: dict[int, Piece] = {}
        self.nodes: dict[tuple[int, int], Piece] = {}
        self._held = held or Numbers()
        for piece in sorted(found, key=lambda piece: piece.held.first):
            level, part = piece.place
            if piece.plan != plan:
                if self.base is None:
                    self.base = piece
                else:
                    self.base.take(piece)
            elif level == 0 and next(self.missing(part), None) is not None:
                self.begun[part] = piece
            else:
                self._climb(piece)

    def missing(self, part: int) -> Iterator[int]:
        """Yield the batches of a part that no process has found."""
        return (number for number in self.plan.numbers(part) if number not in self._held)

    def of(self, part: int) -> Piece:
        """Return the piece of a part that is not done."""
        if part not in self.begun:
            self.begun[part] = Piece(Numbers(), {}, self.plan, (0, part))
        return self.begun[part]

    def done(self, part: int) -> Piece:
        """Merge a part that is done with its neighbours, and return the piece that has it now."""
        return self._climb(self.begun.pop(part))

    def all(self) -> list[Piece]:
        """Return all pieces that are in the tree."""
        return [*self.begun.values(), *self.nodes.values()]

    def _climb(self, piece: Piece) -> Piece:
        level, index = piece.place
        while (other := self.nodes.pop((level, index ^ 1), None)) is not None:
            left, right = (other, piece) if index % 2 else (piece, other)
            left.take(right)
            piece, level, index = left, level + 1, index // 2
        piece.place = level, index
        self.nodes[level, index] = piece
        return piece


def by_text(states: Mapping[Key, PairState]) -> dict[str, PairState]:
    """Return states by names that fit into a file."""
    return {f"{name}#{call}": state for (name, call), state in states.items()}


def by_key(states: Mapping[str, PairState]) -> dict[Key, PairState]:
    """Return states by layer and call again."""
    parts = ((text.rpartition("#"), state) for text, state in states.items())
    return {(name, int(call)): state for (name, _, call), state in parts}
