"""Starts processes that measure, watches them, and goes on behind what takes one down."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.logbook import Logbook

WORKER = (sys.executable, "-m", "benchmarks.worker")
SILENCE = {"cuda": 150.0, "cpu": 600.0}  # seconds without news of a process that measures
GRACE = 30.0  # seconds beyond the deadline for what was begun before it
_MOST_PROCESSES = 10
_LOOK_EVERY = 0.2


def measure(settings: Mapping, log: Logbook, folder: Path, environment: Mapping[str, str]) -> None:
    """Run workers in a folder until every stage is done, left out or given up; `settings` are theirs."""
    command = [*WORKER, json.dumps(dict(settings))]
    for _ in range(_MOST_PROCESSES):
        before = len(log.events)
        process = subprocess.Popen(command, cwd=folder, env=dict(environment), start_new_session=True)
        try:
            why = _watch(process, log, settings)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with those that it has started
            process.wait()
        log.reload()
        if why is None:
            return
        stage, candidate = log.unfinished() or (None, None)
        if stage is None:
            log.add("given_up", note=f"a process that measures {why}")
            if len(log.events) == before + 1:
                return  # it does not even start
            continue
        if log.events[-1]["event"] == "lost":
            why = f"has lost the device: {log.events[-1]['note']}"
        log.add("died", stage=stage, candidate=candidate, note=why)
        print(f"{stage}, {candidate or 'while it was timed'}: {why}; going on without it", flush=True)
    log.add("given_up", note=f"{_MOST_PROCESSES} processes have died")


def _watch(process: subprocess.Popen, log: Logbook, settings: Mapping) -> str | None:
    """Return how a process has ended, None where it has done all it was to."""
    size, heard, silence = 0, time.time(), SILENCE[settings["kind"]]
    end = max(settings["deadline"], heard) + GRACE  # beyond the deadline it only says what is left out
    while process.poll() is None:
        time.sleep(_LOOK_EVERY)
        now = time.time()
        grown = log.path.stat().st_size if log.path.exists() else 0
        if grown != size:
            size, heard = grown, now
        if now > end:
            return "was stopped: the time was used up"
        if now - heard > silence:
            return f"was stopped: no answer for {silence:.0f} s"
    if process.returncode == 0:
        return None
    if process.returncode < 0:
        return f"was ended by {signal.Signals(-process.returncode).name}"
    return f"has ended with exit code {process.returncode}"
