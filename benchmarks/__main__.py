"""`python -m benchmarks`: run the suite, and end with whether every reach is met."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.outcome import MISSED, status, summary

FOLDER = Path(__file__).parent
KEPT = FOLDER / "results" / "latest.json"


def main(argv: list[str] | None = None) -> int:
    """Run as the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure every operation beside its peers and the limit of this machine.",
        epilog="Exit code: 0 every reach is met, 1 one is missed or an answer was wrong, 3 none is missed, but for one "
        "the rounds do not agree (noise) or it was not run.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer rounds, and only what has a target: under 2 minutes")
    add("-k", metavar="EXPRESSION", help="only tests whose names match, as pytest has it")
    add("--last", action="store_true", help="do not measure; take the figures that the last run has kept")
    add("--page", action="store_true", help="write benchmarks/RESULTS.md and its plots")
    add("--compare", metavar="REV", help="instead, time this tree against another revision of it, in turn")
    args = parser.parse_args(argv)
    if args.compare is not None:
        from benchmarks.compare import compare

        return compare(args.compare)
    failed = not args.last and _measure(args) != 0
    if not KEPT.exists():
        print("there are no figures: run without --last", file=sys.stderr)
        return MISSED
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if args.page:
        from benchmarks.page import write_page

        for path in write_page(kept, FOLDER):
            print(f"wrote {path}")
    print(*summary(kept), sep="\n")
    return MISSED if failed else status(kept)


def _measure(args: argparse.Namespace) -> int:
    """Run pytest on this folder, in a process of its own: how thorough it is is read when modules are imported."""
    KEPT.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", str(FOLDER), *(["-k", args.k] if args.k else [])]
    environment = {**os.environ, **({"SDFAST_BENCH": "quick"} if args.quick else {})}
    return subprocess.run(command, cwd=FOLDER.parent, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
