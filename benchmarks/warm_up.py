"""Compiles what the checks launch before they are held: in as many processes as there are cores, into Triton's cache.

One after the other, hundreds of kernels would take minutes of the time in which the GPU is to be measured.
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import checks
from benchmarks.device import Device
from benchmarks.logbook import Logbook
from benchmarks.supervise import measure

LIMIT = 120.0  # seconds; what is not compiled by then the checks compile
_PROCESSES = 14  # at most: each has a context on the GPU


def warm_up(settings: Mapping, folder: Path, environment: Mapping[str, str], notes: Path) -> float:
    """Hold every check that a run is to hold in a process of its own, and return the seconds that it took.

    What they find is left in the folder `notes` and counts for nothing: the run holds them again.
    """
    begin = time.time()
    names = [stage.name for stage in checks.stages(Device()) if settings["only"] in stage.name]
    print(f"compiling for {len(names)} checks at once", flush=True)

    def hold(name: str) -> None:
        log = Logbook(notes / f"{name.replace(' ', '-')}.log")
        asked = {**settings, "only": name, "logbook": str(log.path), "deadline": begin + LIMIT}
        measure(asked, log, folder, environment)

    with ThreadPoolExecutor(min(_PROCESSES, os.cpu_count() or 1)) as pool:
        list(pool.map(hold, names))
    return time.time() - begin
