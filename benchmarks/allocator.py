"""The same comparisons where freed memory is kept and used again.

By default glibc gives large temporaries back and gets them anew, so that every call pays for page faults. How it
behaves is read from the environment when a process starts, hence another process.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import sdfast
from benchmarks.contest import Contest, Lineup, compete
from sdfast.bench import Rounds

_KEEP = {
    "MALLOC_MMAP_MAX_": "0",  # large blocks from the heap
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),  # which is never given back
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def compete_warm(lineup: Callable[..., Lineup], **settings) -> Contest:
    """Check and time what a function of a module lines up, in a process that keeps its memory.

    Args:
        lineup: found again there by its name.
        settings: its arguments, JSON values.
    """
    paths = [str(Path(__file__).parents[1]), str(Path(sdfast.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.allocator", lineup.__module__, lineup.__qualname__, json.dumps(settings)],
        env={**os.environ, **_KEEP, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(f"with a warm allocator: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    seconds = answer.pop("seconds")
    rounds = None if seconds is None else Rounds({name: tuple(taken) for name, taken in seconds.items()})
    return Contest(rounds=rounds, **answer)


def _main() -> None:
    module, name, settings = sys.argv[1:]
    contest = compete(getattr(importlib.import_module(module), name)(**json.loads(settings)))
    answer = {
        "case": contest.case,
        "shape": contest.shape,
        "seconds": None if contest.rounds is None else contest.rounds.seconds,
        "errors": contest.errors,
        "notes": contest.notes,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
