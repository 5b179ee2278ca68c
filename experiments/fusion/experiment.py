"""All rows over all seeds, in processes of one thread each; every run is kept as soon as it ends."""

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.fusion.rows import Row
from experiments.fusion.textures import Textures
from experiments.fusion.training import Run, Settings, train
from sdfast import __version__
from sdfast.foundation import write_atomically

DECIDING = ("data", "model", "rows", "textures", "training")  # files that change what a run finds


@dataclass(frozen=True)
class Kept:
    """The runs of a folder, a file each, and what each was made by: settings, versions and code.

    Args:
        folder: where they are; it exists.
        settings: of the runs.
    """

    folder: Path
    settings: Settings

    def write(self, run: Run) -> None:
        """Keep a run."""
        text = json.dumps({"made_by": self._origin(), "run": run.to_dict()}, indent=1) + "\n"
        write_atomically(self._path(run.row, run.seed), lambda part: part.write_text(text, encoding="utf-8"))

    def read(self, row: str, seed: int) -> Run | None:
        """Return a run, or None if it has not been kept.

        Raises:
            ValueError: its file is damaged, or was made by other settings, versions or code.
        """
        path = self._path(row, seed)
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            made_by, run = content["made_by"], Run(**content["run"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"--resume: {path} is damaged; delete it, or leave --resume out") from error
        if made_by != self._origin() or (run.row, run.seed) != (row, seed):
            raise ValueError(f"--resume: {path} is of other settings, versions or code; leave --resume out")
        return run

    def _path(self, row: str, seed: int) -> Path:
        return self.folder / f"{row.replace(', ', '-').replace(' ', '_')}-{seed}.json"

    def _origin(self) -> dict[str, Any]:
        here = Path(__file__).parent
        code = hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in DECIDING)).hexdigest()
        return {"settings": asdict(self.settings), "sdfast": __version__, "torch": torch.__version__, "code": code}


def run_all(
    rows: Sequence[Row],
    seeds: Sequence[int],
    kept: Kept,
    processes: int = 1,
    resume: bool = False,
    progress: bool = True,
    textures: Textures | None = None,
) -> list[Run]:
    """Train every row with every seed, or take what an earlier call has kept.

    Args:
        rows: what to compare.
        seeds: what to repeat it with; all rows of one before the next.
        kept: keeps each run as soon as it ends.
        processes: how many runs there are at a time; the results do not depend on it.
        resume: whether to take runs that are there already.
        progress: whether to show a bar.
        textures: as `train` takes them.

    Returns:
        The runs, row by row and seed by seed.

    Raises:
        ValueError: a run that is there cannot be taken.
    """
    jobs = [(row, seed) for seed in seeds for row in rows]
    found = {(row.name, seed): kept.read(row.name, seed) if resume else None for row, seed in jobs}
    left = [(row, seed) for row, seed in jobs if found[row.name, seed] is None]
    with (
        tqdm(
            total=len(jobs), initial=len(jobs) - len(left), unit=" runs", disable=not progress, dynamic_ncols=True
        ) as bar,
        closing(_runs(left, partial(_train, kept.settings, textures), processes)) as runs,
    ):
        for run in runs:
            kept.write(run)
            found[run.row, run.seed] = run
            bar.update()
    return [found[row.name, seed] for row in rows for seed in seeds]


def _runs(jobs: Sequence[tuple[Row, int]], run: partial, processes: int) -> Iterator[Run]:
    """Yield runs as they end."""
    processes = min(processes, len(jobs))
    if processes <= 1:
        yield from map(run, jobs)
        return
    # Spawned: the threads of torch do not survive a fork. Left early, the pool ends its processes.
    with multiprocessing.get_context("spawn").Pool(processes, _ignore_interrupts) as pool:
        yield from pool.imap_unordered(run, jobs)


def _train(settings: Settings, textures: Textures | None, job: tuple[Row, int]) -> Run:
    return train(*job, settings, textures)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
