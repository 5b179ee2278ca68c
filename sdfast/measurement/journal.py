"""What a measurement keeps in its state files, what makes a state file its own, and who deletes it."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdfast.foundation import FolderLock, StrPath
from sdfast.measurement import checkpoint
from sdfast.measurement.batches import Batches
from sdfast.measurement.capture import MakeState, State
from sdfast.measurement.identity import code_digest, weights_digest
from sdfast.measurement.numbers import Numbers
from sdfast.measurement.pieces import Piece, Plan, by_key, by_text
from sdfast.measurement.processes import Processes

STATES = "state.*.sdfast"
SMALL = 8 << 20  # bytes
PART = 0.02  # of the time of a run


def describe_job(
    model: nn.Module,
    batches: Batches,
    matches: Mapping[str, Sequence[str]],
    channel_dims: Mapping[str, int],
    batch_dims: Mapping[str, int],
    make_state: MakeState[State],
    forward: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Return, as JSON values, all that the states depend on. How they are read later is not among it."""
    from sdfast import __version__

    pairs = {"class": type(batches.pairs).__qualname__}
    if callable(getattr(batches.pairs, "fingerprint", None)):
        # The fingerprint covers the settings, too, but an error that names them says more.
        settings = ("seed", "clip_frames", "frame_size")
        pairs |= {name: getattr(batches.pairs, name) for name in settings if hasattr(batches.pairs, name)}
        pairs["fingerprint"] = batches.pairs.fingerprint()
    if getattr(batches.pairs, "transform", None) is not None:
        pairs["transform"] = code_digest(batches.pairs.transform)
    # An empty state of one channel shows the settings of its class in what it would save.
    state = make_state(1, torch.device("cpu"))
    shapes = {name: list(x.shape) for name, x in state.state_dict().items()}
    return {
        "sdfast": __version__,
        "model": {
            "class": type(model).__qualname__,
            "code": code_digest(model),
            "weights": weights_digest(model),
            **({} if forward is None else {"forward": code_digest(forward)}),
        },
        "layers": [name for group in matches.values() for name in group],
        "channel_dim": dict(channel_dims),
        "batch_dim": dict(batch_dims),
        "pairs": pairs,
        "num_pairs": batches.num_pairs,
        "batch_size": batches.batch_size if batches.map_style else None,
        "state": {"class": type(state).__qualname__, **shapes},
    }


class Journal:
    """The state files of one process, one for each piece that it has, named after the first of its batches.

    A file is replaced after each batch; large ones so often that it takes 2 % of the time.

    Args:
        folder: where the state files of all processes lie; made if it is missing.
        job: what is measured.
        make_state: makes the states that are read back.
        lock: of the folder, where it is this process that has it.
    """

    def __init__(
        self, folder: Path, job: Mapping[str, Any], make_state: MakeState[Any], lock: FolderLock | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._job, self._make_state, self._lock = folder, job, make_state, lock
        self._began, self._spent, self._last = time.perf_counter(), 0.0, 0.0  # seconds

    def restore(self, plan: Plan, processes: Processes) -> tuple[list[Piece], Numbers, set[int]]:
        """Read what earlier runs, of any number of processes, have left; each file is read by one that sees it.

        Returns:
            The pieces that this process has read, the batches of those of all processes, and the parts of the plan of
            which any process has a piece.

        Raises:
            CheckpointError: a file is damaged, or of another job.
        """
        seen = processes.gather("files", sorted(path.name for path in self._folder.glob(STATES)))
        found = []
        for number, name in enumerate(sorted(set().union(*seen))):
            readers = [rank for rank, names in enumerate(seen) if name in names]
            home = _first(name) % processes.world if plan.strided else -1
            if processes.rank == (home if home in readers else readers[number % len(readers)]):
                found.append(self._read(name, plan, processes.rank))
        rows = processes.gather("found", [[piece.held.to_json(), _node(piece, plan)] for piece in found])
        # Largest first: a process that was killed may have left a piece beside the larger one it had gone into.
        order = [(rank, i, Numbers.from_json(row[0])) for rank, own in enumerate(rows) for i, row in enumerate(own)]
        held: set[int] = set()
        kept: list[Piece] = []
        started: set[int] = set()
        for rank, i, numbers in sorted(order, key=lambda row: (-len(row[2]), row[2].first, row[0])):
            if not held.isdisjoint(numbers):
                continue
            held.update(numbers)
            if rank == processes.rank:
                kept.append(found[i])
            if (place := rows[rank][i][1]) is not None:
                level, index = place
                started.update(range(index << level, (index + 1) << level))
        return kept, Numbers.of(sorted(held)), started

    def write(self, piece: Piece, last: bool = False) -> None:
        """Replace the file of a piece, unless it is too early for one of its size; `last` writes it anyhow."""
        start = time.perf_counter()
        if piece.saved or not (last or self._spent + self._last <= PART * (start - self._began)):
            return
        if self._lock is not None:
            self._lock.check()
        node = None if piece.plan is None else [piece.plan, piece.place]
        size = checkpoint.save(
            self._path(piece.held.first), self._job, [piece.held.to_json(), node], by_text(piece.states)
        )
        for first in piece.replaces:
            self._path(first).unlink(missing_ok=True)
        piece.saved, piece.replaces = True, []
        if size > SMALL:
            self._last = time.perf_counter() - start
            self._spent += self._last

    def _read(self, name: str, plan: Plan, rank: int) -> Piece:
        path = self._folder / name
        done, states = checkpoint.load(path, self._job, self._make_state)
        try:
            held, node = done
            piece = Piece(Numbers.from_json(held), by_key(states), saved=True)
            if node is not None:
                (batches, parts, strided), (level, index) = node
                if Plan(batches, parts, strided) == plan:
                    piece.plan, piece.place = plan, (int(level), int(index))
        except (ValueError, TypeError) as error:
            raise checkpoint.CheckpointError(f"{path}: damaged, {error}; delete it to start over") from error
        if piece.plan is not None and plan.strided and piece.place != (0, rank):
            piece.plan = None  # a part that is not for this process
        return piece

    def _path(self, first: int) -> Path:
        return self._folder / STATES.replace("*", str(first))


def forget_states(folder: StrPath) -> None:
    """Delete the state files in a folder, so that the next measurement there starts from its first pair.

    Where several processes measure, all may call it before that.

    Raises:
        OSError: a file cannot be deleted.

    >>> forget_states("no/such/folder")
    """
    for path in Path(folder).glob(STATES):
        path.unlink(missing_ok=True)


def _first(name: str) -> int:
    digits = name.split(".")[1]
    return int(digits) if digits.isdecimal() else 0


def _node(piece: Piece, plan: Plan) -> tuple[int, int] | None:
    return piece.place if piece.plan == plan else None
