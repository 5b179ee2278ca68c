"""`python -m experiments.debias`: what keeps a model from a shortcut, from nothing to tables and figures."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from experiments.arguments import experiment_parser, seeds_of
from experiments.debias.channels import NETWORKS, USUAL, channel_jobs, channel_table
from experiments.debias.costs import step_costs
from experiments.debias.experiment import Job, kept_runs, run_all
from experiments.debias.results import save, tables
from experiments.debias.rows import TUNED, tuned_rows
from experiments.debias.settings import FOUR, Settings
from experiments.debias.summary import summarise
from experiments.debias.training import Run
from experiments.debias.tuning import tune
from experiments.debias.world import WORLDS, make_world
from experiments.kept import RUNS, Kept, versions
from sdfast.commands import Parser, RunError, cores, run_command, try_writing

SEEDS, CHANNEL_SEEDS, QUICK_SEEDS = 8, 4, 2
QUICK = {"steps": 150, "tuning_steps": 50, "trunk_steps": 100, "test_clips": 256, "test_pairs": 128}


def parser() -> Parser:
    """Return the parser of the command."""
    command = experiment_parser(
        "debias",
        "Train a small 3-D CNN on clips in which the texture gives the motion away, without dropout, with ordinary "
        "ones, with StaticDropout and with what others propose; test it where the texture misleads; measure its static "
        "and dynamic information meanwhile.",
        SEEDS,
        f"{QUICK_SEEDS} seeds, one setting, few steps",
    )
    add = command.add_argument
    add("--world", choices=list(WORLDS), default="shapes", help="whose clips (%(default)s)")
    add("--rows", choices=("all", "channels"), default="all", help="all, or the ways to choose channels (%(default)s)")
    add("--networks", nargs="+", choices=list(NETWORKS), default=list(USUAL), metavar="NAME",
        help=f"of --rows channels: some of {', '.join(NETWORKS)} (without the last)")  # fmt: skip
    add("--tune", action="store_true", help="choose how much of each way, on other seeds, and end")
    add("--settings", type=int, choices=range(1, 5), metavar="N", help="how many of the four settings (4)")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sdfast` does."""
    return run_command(run, parser().parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Train as the arguments say, save the results and print the tables."""
    base = replace(Settings(world=args.world), **(QUICK if args.quick else {}))
    base = replace(base, steps=args.steps or base.steps)
    try_writing(args.out, megabytes=1)
    kept = kept_runs(args.out / RUNS, args.resume, args.any_code)
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


def _tune(base: Settings, processes: int, kept: Kept[Run]) -> None:
    for start in dict.fromkeys(start for _, start in FOUR):
        settings = replace(base, start=start, curves=False)
        for name, value in tune(tuned_rows(base.world, start), settings, processes, kept).items():
            print(f"{start}: {name}: {value:g}")
    print(f"wrote {TUNED}")


def _channels(args: argparse.Namespace, base: Settings, processes: int, kept: Kept[Run]) -> None:
    seeds = seeds_of(args, CHANNEL_SEEDS, QUICK_SEEDS)
    jobs = channel_jobs(seeds, replace(base, curves=False), args.networks)
    text = channel_table(run_all(jobs, processes, kept), args.networks)
    (args.out / "channels.md").write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nwrote {args.out / 'channels.md'}")


def _all(args: argparse.Namespace, base: Settings, processes: int, kept: Kept[Run]) -> None:
    seeds = seeds_of(args, SEEDS, QUICK_SEEDS)
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
    about = {**versions(), **asdict(base), "seeds": list(seeds), "seconds": seconds, "runs_of_other_code": kept.others}
    written = save(args.out, summaries, costs, runs, about, chance)
    print(tables(summaries, costs))
    print()
    for path in written:
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
