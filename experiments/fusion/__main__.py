"""`python -m experiments.fusion`: which fusion is least static and best on camouflage, to tables and a figure."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from experiments.fusion.experiment import Kept, run_all
from experiments.fusion.results import save, tables
from experiments.fusion.rows import ROWS
from experiments.fusion.summary import Summaries
from experiments.fusion.training import Settings
from sdfast import __version__
from sdfast.commands import Parser, RunError, cores, not_negative, positive, run_command, try_writing

QUICK_SEEDS, SEEDS = 2, 8
QUICK_STEPS = 200


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    command = Parser(
        prog="python -m experiments.fusion",
        description="Train small two-stream networks to segment what moves, for four fusions and three kinds of cross "
        "connections; test them on camouflaged objects and on plain ones; measure the static and dynamic information "
        "of each stream and fusion layer.",
    )
    add = command.add_argument
    add("--quick", action="store_true", help=f"fewer seeds ({QUICK_SEEDS}) and steps ({QUICK_STEPS}): a first look")
    add("--seeds", type=positive, metavar="N", help=f"how often to repeat everything ({SEEDS})")
    add("--steps", type=positive, metavar="N", help="steps of training")
    add("--seed", type=not_negative, default=0, metavar="N", help="the first seed (%(default)s)")
    add("--processes", type=positive, metavar="N", help="trainings at a time (default: one a core)")
    add("--out", type=Path, default=Path("sdfast-fusion"), metavar="FOLDER", help="for the results (%(default)s)")
    add("--resume", action="store_true", help="go on from where a run with the same --out was stopped")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sdfast` does."""
    return run_command(run, parser().parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Train as the arguments say, save the results and print the tables."""
    settings = Settings()
    settings = replace(settings, steps=args.steps or (QUICK_STEPS if args.quick else settings.steps))
    seeds = range(args.seed, args.seed + (args.seeds or (QUICK_SEEDS if args.quick else SEEDS)))
    kept = Kept(args.out / "runs", settings)
    try_writing(kept.folder, megabytes=1)
    start = time.perf_counter()
    try:
        runs = run_all(ROWS, seeds, kept, args.processes or cores(), args.resume)
        seconds = round(time.perf_counter() - start, 1)
        found = Summaries(runs)
        written = save(args.out, found, runs, _settings(settings, seeds, seconds))
    except OSError as error:
        raise RunError(str(error)) from error
    print(tables(found))
    print()
    for path in written:
        print(f"wrote {path}")


def _settings(settings: Settings, seeds: range, seconds: float) -> dict[str, Any]:
    versions = {"sdfast": __version__, "torch": torch.__version__}
    return {**versions, **asdict(settings), "seeds": list(seeds), "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
