"""What a measurement keeps in its state file, and what makes a state file its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sdfast.measurement import checkpoint
from sdfast.measurement.batches import Share
from sdfast.measurement.capture import Capture
from sdfast.statistics import CoMoments


def describe_job(
    model: nn.Module, share: Share, matches: Mapping[str, Sequence[str]], channel_dims: Mapping[str, int]
) -> dict[str, Any]:
    """Return, as JSON values, all that the co-moments depend on. Kind and threshold are not among it."""
    pairs = {"class": type(share.pairs).__qualname__}
    if callable(getattr(share.pairs, "fingerprint", None)):
        # The fingerprint covers the settings, too, but an error that names them says more.
        settings = ("seed", "clip_frames", "frame_size")
        pairs |= {name: getattr(share.pairs, name) for name in settings if hasattr(share.pairs, name)}
        pairs["fingerprint"] = share.pairs.fingerprint()
    return {
        "model": {"class": type(model).__qualname__, "weights": checkpoint.weights_digest(model)},
        "layers": [name for group in matches.values() for name in group],
        "channel_dim": dict(channel_dims),
        "pairs": pairs,
        "num_pairs": share.num_pairs,
        "batch_size": share.batch_size if share.map_style else None,
        "processes": share.world,
    }


class Journal:
    """The state file of one process.

    Args:
        folder: where the state files of all processes lie; made if it is missing.
        job: what is measured.
        rank: which process this is.
        world: how many there are.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], rank: int, world: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = checkpoint.state_path(folder, rank, world)
        self._job = {**job, "rank": rank}
        self._world = world

    def restore(self, capture: Capture) -> int:
        """Put the state back, if there is one, and return how many batches it holds.

        Raises:
            CheckpointError: it is damaged, or of another job.
        """
        if not self._path.exists():
            self._refuse_other_worlds()
            return 0
        done, moments = checkpoint.load(self._path, self._job)
        for key, x in moments.items():
            name, _, call = key.rpartition("#")
            state = capture.states[name, int(call)] = CoMoments(x.shape[2])
            state.load_state_dict({"moments": x})
        return done

    def write(self, capture: Capture, done: int) -> None:
        """Replace the state file."""
        moments = {f"{name}#{call}": state.moments for (name, call), state in capture.states.items()}
        checkpoint.save(self._path, self._job, done, moments)

    def _refuse_other_worlds(self) -> None:
        for path in checkpoint.state_files(self._path.parent):
            if not path.stem.endswith(f"of{self._world}"):
                raise checkpoint.CheckpointError(
                    f"{path}: of a run with another number of processes, now {self._world}; delete it to start over"
                )
