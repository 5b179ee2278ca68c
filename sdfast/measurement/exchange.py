"""The pieces of all processes merged: each is sent once, and neighbours in the tree merge where the left one is."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdfast.measurement.capture import MakeState
from sdfast.measurement.checkpoint import described, restored
from sdfast.measurement.numbers import Numbers
from sdfast.measurement.pieces import Piece, by_key, by_text
from sdfast.measurement.processes import Processes


def merged(
    base: Piece | None, nodes: Sequence[Piece], make_state: MakeState[Any], processes: Processes
) -> Piece | None:
    """Merge the pieces of all processes, and return what is there of it at process 0; elsewhere, and of nothing, None.

    Args:
        base: what this process has beside the tree; process 0 puts these first, by rank.
        nodes: what it has in the tree; they are used up.
        make_state: makes the states that are received.
        processes: all of them have to call this.
    """
    mine = {piece.place: piece for piece in nodes}
    rows = processes.gather("pieces", [base is not None, sorted(mine)])
    holders = {tuple(place): rank for rank, (_, places) in enumerate(rows) for place in places}
    level = 0
    while len(holders) > 1:
        for index in sorted(index for height, index in holders if height == level):
            if (source := holders.pop((level, index), None)) is None:
                continue  # it went into its neighbour
            piece = mine.pop((level, index), None)
            if index % 2 == 0 and (level, index + 1) in holders:
                other = mine.pop((level, index + 1), None)
                other = _moved(other, holders.pop((level, index + 1)), source, make_state, processes)
                if piece is not None and other is not None:
                    piece.take(other)
            place = level + 1, index // 2
            holders[place] = source
            if piece is not None:
                piece.place, mine[place] = place, piece
        level += 1
    rest = [(base, rank) for rank, (has, _) in enumerate(rows) if has]
    rest += [(mine.get(place), source) for place, source in holders.items()]  # one, or none
    total = None
    for piece, source in rest:
        found = _moved(piece, source, 0, make_state, processes)
        if total is None:
            total = found
        elif found is not None:
            total.take(found)
    return total


def spread(piece: Piece | None, make_state: MakeState[Any], processes: Processes) -> Piece | None:
    """Return the piece of process 0 at all processes: each sends it to two others, 0 to 1 and 2, 1 to 3 and 4, ..."""
    for target in range(1, processes.world):
        piece = _moved(piece, (target - 1) // 2, target, make_state, processes) or piece
    return piece


def _moved(
    piece: Piece | None, source: int, target: int, make_state: MakeState[Any], processes: Processes
) -> Piece | None:
    """Return at the target what the source has, and None elsewhere."""
    if source == target:
        return piece if processes.rank == target else None

    def send() -> Iterator[Tensor]:
        assert piece is not None, "the source has it"
        layout, arrays = described(by_text(piece.states))
        header = json.dumps([piece.held.to_json(), layout]).encode()
        yield torch.tensor([len(header)])
        yield torch.frombuffer(bytearray(header), dtype=torch.uint8)
        yield from (torch.from_numpy(array) for array in arrays if array.size)

    def take(fill: Callable[[Tensor], None]) -> Piece:
        def read(dtype: np.dtype[Any], shape: Sequence[int]) -> Tensor:
            array = np.empty(shape, dtype)
            if array.size:
                fill(torch.from_numpy(array))
            return torch.from_numpy(array)

        length = read(np.dtype(np.int64), (1,))
        header = read(np.dtype(np.uint8), (int(length),)).numpy().tobytes()
        held, layout = json.loads(header)
        return Piece(Numbers.from_json(held), by_key(restored(layout, read, make_state)))

    found: Piece | None = processes.move(source, target, send, take)
    return found
