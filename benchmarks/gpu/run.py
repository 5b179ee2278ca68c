"""Starts processes that measure, watches them, and goes on behind what takes one down."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.gpu.journal import Journal

WORKER = (sys.executable, "-m", "benchmarks.gpu.worker")
SILENCE = 150.0  # seconds without news of a process that measures
GRACE = 30.0  # seconds beyond the deadline for what was begun before it
_MOST_PROCESSES = 10
_LOOK_EVERY = 0.2


def measure(
    settings: Mapping,
    journal: Journal,
    folder: Path,
    environment: Mapping[str, str],
    news: Callable[[], None] = lambda: None,
) -> None:
    """Run workers until every stage is done, left out or given up.

    Args:
        settings: of the worker; `deadline` is a time as `time.time()` gives it.
        folder: to run in.
        news: called when the journal has grown.
    """
    command = [*WORKER, json.dumps(dict(settings))]
    for _ in range(_MOST_PROCESSES):
        before = len(journal.events)
        process = subprocess.Popen(command, cwd=folder, env=dict(environment), start_new_session=True)
        try:
            # Beyond the deadline it only says what is left out, and is given the time for that.
            why = _watch(process, journal, max(settings["deadline"], time.time()) + GRACE, news)
        finally:
            _end(process)
        journal.reload()
        if why is None:
            return
        found = journal.unfinished()
        if found is None:
            journal.add("given_up", note=f"a process that measures {why}")
            if len(journal.events) == before + 1:
                return  # it does not even start
            continue
        stage, candidate = found
        if journal.events[-1]["event"] == "lost":
            why = f"has lost the device: {journal.events[-1]['note']}"
        journal.add("died", stage=stage, candidate=candidate, note=why)
        print(f"{stage}, {candidate or 'while it was timed'}: {why}; going on without it", flush=True)
    journal.add("given_up", note=f"{_MOST_PROCESSES} processes have died")


def _watch(process: subprocess.Popen, journal: Journal, end: float, news: Callable[[], None]) -> str | None:
    """Return how a process has ended, None where it has done all it was to."""
    size, heard = 0, time.time()
    while process.poll() is None:
        time.sleep(_LOOK_EVERY)
        now = time.time()
        grown = journal.path.stat().st_size if journal.path.exists() else 0
        if grown != size:
            size, heard = grown, now
            journal.reload()
            news()
        if now > end:
            return "was stopped: the time was used up"
        if now - heard > SILENCE:
            return f"was stopped: no answer for {SILENCE:.0f} s"
    if process.returncode == 0:
        return None
    if process.returncode < 0:
        return f"was ended by {signal.Signals(-process.returncode).name}"
    return f"has ended with exit code {process.returncode}"


def _end(process: subprocess.Popen) -> None:
    """End a process and those that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
