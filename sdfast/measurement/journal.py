"""What a measurement keeps in its state files, what makes a state file its own, and who deletes it."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

import torch
from torch import nn

from sdfast.foundation import StrPath
from sdfast.measurement import checkpoint
from sdfast.measurement.batches import Share
from sdfast.measurement.capture import Capture, MakeState, State
from sdfast.measurement.identity import code_digest, weights_digest

STATES = "state.rank*of*.sdfast"
SMALL = 8 << 20  # bytes
PART = 0.02  # of the time of a run


def describe_job(
    model: nn.Module,
    share: Share,
    matches: Mapping[str, Sequence[str]],
    channel_dims: Mapping[str, int],
    batch_dims: Mapping[str, int],
    make_state: MakeState[State],
    forward: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Return, as JSON values, all that the states depend on. How they are read later is not among it."""
    pairs = {"class": type(share.pairs).__qualname__}
    if callable(getattr(share.pairs, "fingerprint", None)):
        # The fingerprint covers the settings, too, but an error that names them says more.
        settings = ("seed", "clip_frames", "frame_size")
        pairs |= {name: getattr(share.pairs, name) for name in settings if hasattr(share.pairs, name)}
        pairs["fingerprint"] = share.pairs.fingerprint()
    if getattr(share.pairs, "transform", None) is not None:
        pairs["transform"] = code_digest(share.pairs.transform)
    # An empty state of one channel shows the settings of its class in what it would save.
    state = make_state(1, torch.device("cpu"))
    shapes = {name: list(x.shape) for name, x in state.state_dict().items()}
    return {
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
        "num_pairs": share.num_pairs,
        "batch_size": share.batch_size if share.map_style else None,
        "processes": share.world,
        "state": {"class": type(state).__qualname__, **shapes},
    }


class Journal(Generic[State]):
    """The state file of one process, replaced after each batch; a large one so often that it takes 2 % of the time.

    Args:
        folder: where the state files of all processes lie; made if it is missing.
        job: what is measured.
        make_state: makes the states that are read back.
        rank: which process this is.
        world: how many there are.
    """

    def __init__(
        self, folder: Path, job: Mapping[str, Any], make_state: MakeState[State], rank: int, world: int
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = _path(folder, rank, world)
        self._job = {**job, "rank": rank}
        self._make_state = make_state
        self._world = world
        self._done = 0  # batches in the file
        self._began, self._spent, self._last = time.perf_counter(), 0.0, 0.0  # seconds

    def restore(self, capture: Capture[State]) -> int:
        """Put the states back, if there are any, and return how many batches they hold.

        Raises:
            CheckpointError: the file is damaged, or of another job.
        """
        if not self._path.exists():
            self._refuse_other_worlds()
            return 0
        done, states = checkpoint.load(self._path, self._job, self._make_state)
        for key, state in states.items():
            name, _, call = key.rpartition("#")
            capture.states[name, int(call)] = state
        self._done = done
        return done

    def write(self, capture: Capture[State], done: int, last: bool = False) -> None:
        """Replace the state file, unless it is too early for one of its size; `last` writes what is not in it yet."""
        start = time.perf_counter()
        if done == self._done or not (last or self._spent + self._last <= PART * (start - self._began)):
            return
        states = {f"{name}#{call}": state for (name, call), state in capture.states.items()}
        size = checkpoint.save(self._path, self._job, done, states)
        self._done = done
        if size > SMALL:
            self._last = time.perf_counter() - start
            self._spent += self._last

    def _refuse_other_worlds(self) -> None:
        for path in _paths(self._path.parent):
            if not path.stem.endswith(f"of{self._world}"):
                raise checkpoint.CheckpointError(
                    f"{path}: of a run with another number of processes, now {self._world}; delete it to start over"
                )


def forget_states(folder: StrPath, rank: int = 0, world: int = 1) -> None:
    """Delete the state files in a folder, so that the next measurement there starts from its first pair.

    Process 0 deletes those of all processes of all runs, every other one its own: then none reads what another one
    is about to delete.

    Raises:
        OSError: a file cannot be deleted.

    >>> forget_states("no/such/folder")
    """
    for path in _paths(Path(folder)) if rank == 0 else [_path(Path(folder), rank, world)]:
        path.unlink(missing_ok=True)


def _path(folder: Path, rank: int, world: int) -> Path:
    return folder / f"state.rank{rank}of{world}.sdfast"


def _paths(folder: Path) -> list[Path]:
    """Return the state files of all processes in a folder, whatever run they are of."""
    return sorted(folder.glob(STATES))
