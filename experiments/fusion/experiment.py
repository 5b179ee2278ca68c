"""All rows over all seeds."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments.fusion.rows import Row
from experiments.fusion.textures import Textures
from experiments.fusion.training import Run, Settings, train
from experiments.kept import Kept, made_by
from experiments.running import run_jobs

# What starts runs, sums them up and shows them: it changes none.
AROUND = ("__init__", "__main__", "experiment", "figure", "results", "summary")


@dataclass(frozen=True)
class Job:
    """A run that is to be made."""

    row: Row
    seed: int
    settings: Settings

    @property
    def length(self) -> int:
        """How many steps it takes."""
        return self.settings.steps

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values, which tell it from all others."""
        return asdict(self)


def kept_runs(path: Path | None = None, resume: bool = False, any_code: bool = False) -> Kept[Run]:
    """Return the file of the runs; the arguments are those of `Kept`."""
    return Kept(Run, path, resume, made_by("fusion", AROUND), any_code)


def run_all(
    jobs: Sequence[Job],
    processes: int = 1,
    kept: Kept[Run] | None = None,
    progress: bool = True,
    textures: Textures | None = None,
) -> list[Run]:
    """Make the runs of all jobs, those of one seed in turn; the arguments are those of `run_jobs` and of `train`."""
    return run_jobs(jobs, partial(_train, textures), processes, kept or kept_runs(), progress)


def _train(textures: Textures | None, job: Job, on_step: Callable[[], object]) -> Run:
    return train(job.row, job.seed, job.settings, textures, on_step)
