"""`python -m experiments.debias`: what keeps a model from a shortcut, from nothing to tables and figures."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from experiments.debias.channels import channel_jobs, channel_table
from experiments.debias.costs import step_costs
from experiments.debias.experiment import Job, Kept, run_all
from experiments.debias.results import save, tables
from experiments.debias.rows import TUNED, tuned_rows
from experiments.debias.settings import FOUR, Settings
from experiments.debias.summary import summarise
from experiments.debias.tuning import tune
from experiments.debias.world import WORLDS, make_world
from sdfast import __version__
from sdfast.commands import Parser, RunError, cores, not_negative, positive, run_command, try_writing

SEEDS, CHANNEL_SEEDS, QUICK_SEEDS = 8, 4, 2
QUICK = {"steps": 150, "tuning_steps": 50, "trunk_steps": 100, "test_clips": 256, "test_pairs": 128}
RUNS = "runs.jsonl"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    command = Parser(
        prog="python -m experiments.debias",
        description="Train a small 3-D CNN on clips in which the texture gives the motion away, without dropout, with "
        "ordinary ones, with StaticDropout and with what others propose; test it where the texture misleads; measure "
        "its static and dynamic information meanwhile.",
    )
    add = command.add_argument
    add("--world", choices=list(WORLDS), default="shapes", help="whose clips (%(default)s)")
    add("--rows", choices=("all", "channels"), default="all", help="all, or the ways to choose channels (%(default)s)")
    add("--tune", action="store_true", help="choose how much of each way, on other seeds, and end")
    add("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds, one setting, few steps: a first look")
    add("--seeds", type=positive, metavar="N", help=f"how often to repeat everything ({SEEDS})")
    add("--steps", type=positive, metavar="N", help="steps of training from scratch")
    add("--seed", type=not_negative, default=0, metavar="N", help="the first seed (%(default)s)")
    add("--settings", type=int, choices=range(1, 5), metavar="N", help="how many of the four settings (4)")
    add("--processes", type=positive, metavar="N", help="trainings at a time (default: one a core)")
    add("--out", type=Path, default=Path("sdfast-debias"), metavar="FOLDER", help="for the results (%(default)s)")
    add("--resume", action="store_true", help="keep the runs of an interrupted experiment in that folder")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sdfast` does."""
    return run_command(run, parser().parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Train as the arguments say, save the results and print the tables."""
    base = replace(Settings(world=args.world), **(QUICK if args.quick else {}))
    base = replace(base, steps=args.steps or base.steps)
    try_writing(args.out, megabytes=1)
    kept = Kept(args.out / RUNS, args.resume)
    processes = args.processes or cores()
    try:
        if args.tune:
            _tune(base, processes, kept)
        elif args.rows == "channels":
            _channels(args, base, processes, kept)
        else:
            _all(args, base, processes, kept)
    except OSError as error:
        raise RunError(str(error)) from error


def _tune(base: Settings, processes: int, kept: Kept) -> None:
    for start in dict.fromkeys(start for _, start in FOUR):
        settings = replace(base, start=start, curves=False)
        for name, value in tune(tuned_rows(base.world, start), settings, processes, kept).items():
            print(f"{start}: {name}: {value:g}")
    print(f"wrote {TUNED}")


def _channels(args: argparse.Namespace, base: Settings, processes: int, kept: Kept) -> None:
    seeds = _seeds(args, CHANNEL_SEEDS)
    jobs = channel_jobs(seeds, replace(base, curves=False))
    text = channel_table(run_all(jobs, processes, kept))
    (args.out / "channels.md").write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nwrote {args.out / 'channels.md'}")


def _all(args: argparse.Namespace, base: Settings, processes: int, kept: Kept) -> None:
    seeds = _seeds(args, SEEDS)
    count = args.settings or (1 if args.quick else len(FOUR))
    chosen = [replace(base, camera=camera, start=start, curves=False) for camera, start in FOUR[:count]]
    chosen[0] = replace(chosen[0], curves=True)
    start = time.perf_counter()
    rows = {settings.name: tuned_rows(base.world, settings.start) for settings in chosen}
    jobs = [Job(row, seed, settings) for settings in chosen for seed in seeds for row in rows[settings.name]]
    runs = run_all(jobs, processes, kept)
    costs = step_costs(rows[chosen[0].name], chosen[0], rounds=5 if args.quick else 25)
    summaries = {name: summarise(of, [run for run in runs if run.setting == name]) for name, of in rows.items()}
    seconds = round(time.perf_counter() - start, 1)
    chance = 1 / make_world(base.world).classes
    written = save(args.out, summaries, costs, runs, _about(base, seeds, seconds), chance)
    print(tables(summaries, costs))
    print()
    for path in written:
        print(f"wrote {path}")


def _seeds(args: argparse.Namespace, count: int) -> range:
    return range(args.seed, args.seed + (args.seeds or (QUICK_SEEDS if args.quick else count)))


def _about(settings: Settings, seeds: range, seconds: float) -> dict[str, Any]:
    versions = {"sdfast": __version__, "torch": torch.__version__}
    return {**versions, **asdict(settings), "seeds": list(seeds), "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
