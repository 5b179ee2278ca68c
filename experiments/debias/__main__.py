"""`python -m experiments.debias`: what StaticDropout does, from nothing to a table and two figures."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from experiments.debias.experiment import run_all
from experiments.debias.results import save, table
from experiments.debias.rows import ROWS
from experiments.debias.summary import summarise
from experiments.debias.training import Settings
from sdfast import __version__
from sdfast.commands import Parser, RunError, cores, not_negative, positive, run_command, try_writing

QUICK_SEEDS, SEEDS = 2, 8
QUICK_STEPS = 200


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    command = Parser(
        prog="python -m experiments.debias",
        description="Train a small 3-D CNN on clips in which the texture gives the motion away, without dropout, with "
        "ordinary ones and with StaticDropout; test it where the texture misleads; measure its static and dynamic "
        "information meanwhile.",
    )
    add = command.add_argument
    add("--quick", action="store_true", help=f"fewer seeds ({QUICK_SEEDS}) and steps ({QUICK_STEPS}): a first look")
    add("--seeds", type=positive, metavar="N", help=f"how often to repeat everything ({SEEDS})")
    add("--steps", type=positive, metavar="N", help="steps of training")
    add("--seed", type=not_negative, default=0, metavar="N", help="the first seed (%(default)s)")
    add("--processes", type=positive, metavar="N", help="trainings at a time (default: one a core)")
    add("--out", type=Path, default=Path("sdfast-debias"), metavar="FOLDER", help="for the results (%(default)s)")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sdfast` does."""
    return run_command(run, parser().parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Train as the arguments say, save the results and print the table."""
    settings = Settings()
    steps = args.steps or (QUICK_STEPS if args.quick else settings.steps)
    settings = replace(settings, steps=steps)
    count = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    seeds = range(args.seed, args.seed + count)
    try_writing(args.out, megabytes=1)
    start = time.perf_counter()
    runs = run_all(ROWS, seeds, settings, args.processes or cores())
    seconds = round(time.perf_counter() - start, 1)
    summaries = summarise(ROWS, runs)
    try:
        written = save(args.out, summaries, runs, _settings(settings, seeds, seconds))
    except OSError as error:
        raise RunError(str(error)) from error
    print(table(summaries))
    print()
    for path in written:
        print(f"wrote {path}")


def _settings(settings: Settings, seeds: range, seconds: float) -> dict[str, Any]:
    versions = {"sdfast": __version__, "torch": torch.__version__}
    return {**versions, **asdict(settings), "seeds": list(seeds), "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
