"""`python -m experiments.fusion`: which fusion is least static and best on camouflage, to tables and a figure."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from experiments.arguments import experiment_parser, seeds_of
from experiments.fusion.experiment import Job, kept_runs, run_all
from experiments.fusion.results import save, tables
from experiments.fusion.rows import ROWS
from experiments.fusion.summary import Summaries
from experiments.fusion.training import Settings
from experiments.kept import RUNS, versions
from sdfast.commands import Parser, RunError, cores, run_command, try_writing

QUICK_SEEDS, SEEDS = 2, 8
QUICK_STEPS = 200


def parser() -> Parser:
    """Return the parser of the command."""
    return experiment_parser(
        "fusion",
        "Train small two-stream networks to segment what moves, for four fusions and three kinds of cross connections; "
        "test them on camouflaged objects and on plain ones; measure the static and dynamic information of each stream "
        "and fusion layer.",
        SEEDS,
        f"fewer seeds ({QUICK_SEEDS}) and steps ({QUICK_STEPS})",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code, as `sdfast` does."""
    return run_command(run, parser().parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Train as the arguments say, save the results and print the tables."""
    settings = Settings()
    settings = replace(settings, steps=args.steps or (QUICK_STEPS if args.quick else settings.steps))
    seeds = seeds_of(args, SEEDS, QUICK_SEEDS)
    try_writing(args.out, megabytes=1)
    kept = kept_runs(args.out / RUNS, args.resume, args.any_code)
    start = time.perf_counter()
    try:
        jobs = [Job(row, seed, settings) for seed in seeds for row in ROWS]
        runs = run_all(jobs, args.processes or cores(), kept)
        seconds = round(time.perf_counter() - start, 1)
        found = Summaries(runs)
        about = {**versions(), **asdict(settings), "seeds": list(seeds), "seconds": seconds}
        written = save(args.out, found, runs, {**about, "runs_of_other_code": kept.others})
    except OSError as error:
        raise RunError(str(error)) from error
    print(tables(found))
    print()
    for path in written:
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
