"""`sdfast debias`: the experiment that shows what StaticDropout does, from nothing to a table and two figures."""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sdfast.commands.arguments import not_negative, positive
from sdfast.commands.machine import cores, try_writing
from sdfast.commands.measure import RunError

QUICK_SEEDS, SEEDS = 2, 8
QUICK_STEPS = 200


def register(subparsers) -> None:
    """Add `debias` to the subcommands."""
    command = subparsers.add_parser(
        "debias",
        help="train a small network on biased clips with and without StaticDropout",
        description="Train a small 3-D CNN on clips in which the texture gives the motion away, without dropout, with "
        "ordinary ones and with StaticDropout; test it where the texture misleads; measure its static and dynamic "
        "information meanwhile.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--quick", action="store_true", help=f"fewer seeds ({QUICK_SEEDS}) and steps ({QUICK_STEPS}): a first look")
    add("--seeds", type=positive, metavar="N", help=f"how often to repeat everything ({SEEDS})")
    add("--steps", type=positive, metavar="N", help="steps of training")
    add("--seed", type=not_negative, default=0, metavar="N", help="the first seed (%(default)s)")
    add("--processes", type=positive, metavar="N", help="trainings at a time (default: one a core)")
    add("--out", type=Path, default=Path("sdfast-debias"), metavar="FOLDER", help="for the results (%(default)s)")


def run(args: argparse.Namespace) -> None:
    """Train as the arguments say, save the results and print the table."""
    from sdfast.debias.experiment import run_all
    from sdfast.debias.results import save, table
    from sdfast.debias.rows import ROWS
    from sdfast.debias.summary import summarise
    from sdfast.debias.training import Settings

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


def _settings(settings, seeds: range, seconds: float) -> dict[str, Any]:
    from sdfast import __version__

    versions = {"sdfast": __version__, "torch": torch.__version__}
    return {**versions, **asdict(settings), "seeds": list(seeds), "seconds": seconds}
