"""What a command leaves and says: folders that hold something already, and where tables go."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from sdfast.commands.arguments import Add


def add_output(add: Add) -> None:
    """Add to a command what it does with results that are there already, and whether it says what it found."""
    add("--overwrite", action="store_true", help="replace the results of an earlier run in --out")
    add("--quiet", action="store_true", help="print errors and warnings only (and JSON, if asked for)")


def check_new(args: argparse.Namespace, out: Path, names: Iterable[str]) -> None:
    """Raise ValueError where a folder holds results, unless they are to be replaced or gone on from.

    Args:
        args: those of a command, --overwrite among them.
        out: where it will write to.
        names: of the files that it writes, or glob patterns.
    """
    resumes = getattr(args, "resume", None)
    if args.overwrite or resumes or not out.is_dir():
        return
    found = sorted(str(path.relative_to(out)) for name in names for path in out.glob(name))
    if found:
        ways = "--overwrite replaces what is there" + (", --resume goes on with it" if resumes is not None else "")
        raise ValueError(f"--out: expected a folder without results, {out} has {', '.join(found[:3])}; {ways}")


def told(args: argparse.Namespace) -> TextIO:
    """Return where a command prints its tables: beside JSON on stderr, and with --quiet nowhere."""
    if args.quiet:
        return open(os.devnull, "w")
    return sys.stderr if getattr(args, "json", False) else sys.stdout
