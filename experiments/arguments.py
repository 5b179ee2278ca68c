"""What the commands of all experiments may be told, and what they write."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdfast.commands import Parser, not_negative, positive
from sdfast.foundation import require, write_atomically


def experiment_parser(name: str, description: str, seeds: int, quick: str) -> Parser:
    """Return a parser with the arguments that all experiments have.

    Args:
        name: of the package of the experiment.
        description: what it does.
        seeds: how many there are by default, in words of the help.
        quick: what --quick makes of it.
    """
    command = Parser(prog=f"python -m experiments.{name}", description=description)
    add = command.add_argument
    add("--quick", action="store_true", help=f"{quick}: a first look")
    add("--seeds", type=positive, metavar="N", help=f"how often to repeat everything ({seeds})")
    add("--steps", type=positive, metavar="N", help="steps of training (from scratch)")
    add("--seed", type=not_negative, default=0, metavar="N", help="the first seed (%(default)s)")
    add("--processes", type=positive, metavar="N", help="trainings at a time (default: one a core)")
    add("--out", type=Path, default=Path(f"sdfast-{name}"), metavar="FOLDER", help="for the results (%(default)s)")
    add("--resume", action="store_true", help="go on from where a run with the same --out was stopped")
    add("--any-code", action="store_true",
        help="of --resume: take runs that other versions or other code made, too")  # fmt: skip
    return command


def seeds_of(args: argparse.Namespace, usual: int, quick: int) -> range:
    """Return the seeds that were asked for."""
    return range(args.seed, args.seed + (args.seeds or (quick if args.quick else usual)))


def write_results(folder: Path, texts: Mapping[str, str], draw: Callable[[], Mapping[str, Any]]) -> list[Path]:
    """Write texts and, if matplotlib is there, the figures that `draw` makes, by names of files; return the files."""
    for name, text in texts.items():
        write_atomically(folder / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))
    try:
        require("matplotlib")
    except ImportError as error:
        print(f"no pictures: {error}")
        return [folder / name for name in texts]
    figures = draw()
    for name, figure in figures.items():
        write_atomically(folder / name, figure.savefig)
    return [folder / name for name in (*texts, *figures)]
