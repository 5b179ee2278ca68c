"""All rows over all seeds and settings."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.debias.rows import Row
from experiments.debias.settings import Settings
from experiments.debias.training import Run, train
from experiments.kept import Kept, made_by
from experiments.running import run_jobs
from sdfast.report import plain

# What starts runs, sums them up and shows them: it changes none.
AROUND = (
    "__init__",
    "__main__",
    "channels",
    "costs",
    "experiment",
    "figures",
    "mask_picture",
    "results",
    "summary",
    "tuning",
)


@dataclass(frozen=True)
class Job:
    """A run that is to be made."""

    row: Row
    seed: int
    settings: Settings

    @property
    def length(self) -> int:
        """How many steps it takes."""
        return self.settings.length

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values, which tell it from all others."""
        return plain({"row": self.row.settings(), "seed": self.seed, "settings": asdict(self.settings)})


def kept_runs(path: Path | None = None, resume: bool = False, any_code: bool = False) -> Kept[Run]:
    """Return the file of the runs; the arguments are those of `Kept`."""
    return Kept(Run, path, resume, made_by("debias", AROUND), any_code)


def run_all(jobs: Sequence[Job], processes: int = 1, kept: Kept[Run] | None = None, progress: bool = True) -> list[Run]:
    """Make the runs of all jobs; the arguments are those of `run_jobs`."""
    return run_jobs(jobs, _train, processes, kept or kept_runs(), progress)


def _train(job: Job, on_step: Callable[[], object]) -> Run:
    return train(job.row, job.seed, job.settings, on_step)
