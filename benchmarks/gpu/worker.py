"""The process that measures: stage by stage, each written down when it is begun and when it has ended.

`python -m benchmarks.gpu.worker SETTINGS` with settings as JSON; what an earlier process has done it does not do again.
"""

import argparse
import gc
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu import checks, comoments, pairwise, static_dropout
from benchmarks.gpu.answers import Check, hold
from benchmarks.gpu.device import Device
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.race import Context, DeviceLost, race
from sdfast.backends import table as backends
from sdfast.bench import timing

LOST = 17  # exit code: the device answers no more, and another process is to go on
BACKENDS = ("triton", "cuda")
_FEATURES_AT_ONCE = 12  # times its features that a stage takes of the memory at most
_WAY_OF_REHEARSAL = "reference"  # is rehearsed beside the interpreter, so that something must run


def main(argv: list[str]) -> int:
    """Go on with a run and return the exit code."""
    settings = argparse.Namespace(**json.loads(argv[0]))
    warnings.filterwarnings("ignore", message="The variance of predictions")
    device, journal = Device(settings.device), Journal(Path(settings.journal))
    if device.rehearses:
        timing.MIN_ROUNDS = timing.MAX_ROUNDS = 1  # what is timed here is kept nowhere
        torch.set_num_threads(1)
    backends = usable(device)
    if not journal.of("machine"):
        journal.add("machine", **device.describe())
        for name, why in backends.items():
            journal.add("backend", name=name, fault=why)
    seconds = 0.0 if device.rehearses else 0.3 if settings.quick else 1.0
    context = Context(device, journal, backends, settings.seed, seconds, settings.quick)
    try:
        run_all(context, settings.deadline, settings.only)
    except DeviceLost as lost:
        journal.add("lost", note=str(lost))
        return LOST
    if not device.rehearses:
        journal.add("readings", **device.readings())
    return 0


def usable(device: Device) -> dict[str, str | None]:
    """Return why each backend cannot be used here, or None where it can."""
    found: dict[str, str | None] = {}
    for name in (*BACKENDS, *([_WAY_OF_REHEARSAL] if device.rehearses else [])):
        try:
            backends.load(name)
            found[name] = "needs a GPU" if device.rehearses and name == "cuda" else None
        except Exception as error:
            found[name] = str(error).splitlines()[0]
    return found


def run_all(context: Context, deadline: float, only: str = "") -> None:
    """Run every stage that is not done and has `only` in its name, while there is time."""
    seen, parent = set(), os.getppid()
    for name, run in stages(context):
        if name in seen or only not in name or context.journal.is_done(name):
            continue
        seen.add(name)
        if os.getppid() != parent:
            return  # nobody is left who would read what is found
        if time.time() > deadline:
            context.journal.add("left_out", stage=name, note="no time was left")
            continue
        print(f"[{max(0, deadline - time.time()):4.0f} s left] {name}", flush=True)
        context.journal.add("begin", stage=name)
        torch.compiler.reset()  # compiled functions of other stages count against the limit of recompilations
        run()
        context.journal.add("end", stage=name)
        gc.collect()
        if not context.device.rehearses:
            torch.cuda.empty_cache()


def stages(context: Context) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield every stage: what must be right, what is judged, and what is shown beside it."""
    for name, make in checks.plans():
        yield name, partial(_draw_and_hold, make, context)
    for by_host in (False, True):
        case = comoments.small(context, by_host)
        yield case.name, partial(race, case, context)
    shown = [comoments.plans, static_dropout.plans]
    if not context.quick:
        shown += [pairwise.plans, comoments.further_plans, static_dropout.further_plans]
    for plans in shown:
        for plan in plans(context):
            name = plan.name(context.device)
            yield name, partial(_draw_and_race, plan, name, context)


def _draw_and_hold(make: Callable[[Context], Check], context: Context) -> None:
    hold(make(context), context)


def _draw_and_race(plan, name: str, context: Context) -> None:
    needed = _FEATURES_AT_ONCE * getattr(plan, "size", 0)
    if needed > context.device.memory and not context.device.rehearses:
        context.journal.add("left_out", stage=name, note=f"needs {needed / 1e9:.0f} GB of memory")
        return
    race(plan.draw(context), context)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # a lost device would make the end of the interpreter hang or fail
