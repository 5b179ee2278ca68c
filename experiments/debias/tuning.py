"""How much of each way to train: the same number of values is tried for each, on the same seeds, which no test sees."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from experiments.debias.experiment import Job, run_all
from experiments.debias.rows import TRIES, TUNED, Row
from experiments.debias.settings import Settings
from experiments.debias.training import Run
from experiments.kept import Kept
from sdfast.foundation import write_atomically

SEEDS = (1000, 1001)  # apart from those of any test


def tune(
    rows: Sequence[Row],
    settings: Settings,
    processes: int = 1,
    kept: Kept[Run] | None = None,
    seeds: Sequence[int] = SEEDS,
    path: Path = TUNED,
) -> dict[str, float]:
    """Try all values of each row, and write those that did best out of distribution to a file.

    Args:
        rows: what to tune, each by what its `tries` says: p, the weight of its loss, the amount of its change, or,
            where it has none of these, the learning rate.
        settings: of each run.
        processes: how many runs there are at a time.
        kept: where runs are kept.
        seeds: over which the accuracy is averaged.
        path: of the file, in which the values of other worlds and starts stay.

    Returns:
        The best value of each row; of equal ones the first.
    """
    tries = [(row, value) for row in rows for value in TRIES[row.tries]]
    jobs = [Job(row.having(value), seed, settings) for seed in seeds for row, value in tries]
    runs = run_all(jobs, processes, kept)
    best = {}
    for row in rows:
        found = {
            value: fmean(
                run.accuracy["out"] for job, run in zip(jobs, runs, strict=True) if job.row == row.having(value)
            )
            for value in TRIES[row.tries]
        }
        best[row.name] = max(found, key=found.get)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known.setdefault(settings.world, {})[settings.start] = best
    text = json.dumps(known, indent=1) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
    return best
