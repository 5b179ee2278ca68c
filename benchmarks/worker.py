"""The process that measures: stage by stage, each written down when it is begun and when it has ended.

`python -m benchmarks.worker SETTINGS` with settings as JSON; what an earlier process has done it does not do again.
"""

import argparse
import gc
import importlib.util
import json
import os
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch

import sdfast
from benchmarks import (
    checks,
    comoments,
    growth,
    information,
    loading,
    measure,
    monitor,
    pairwise_correlation,
    resampling,
    static_dropout,
)
from benchmarks.contest import DeviceLost, Run
from benchmarks.device import Device, Gpu, Rehearsal
from benchmarks.logbook import Logbook
from benchmarks.plan import Stage

LOST = 17  # exit code: the device answers no more, and another process is to go on
_MODULES = (
    checks,
    comoments,
    static_dropout,
    pairwise_correlation,
    measure,
    monitor,
    information,
    resampling,
    growth,
    loading,
)
_FEATURES_AT_ONCE = 12  # times its features that a stage takes of the memory at most


def stages_on(device: Device) -> list[Stage]:
    """Return every stage of a device once: what must be right, what is judged, and what is shown beside it."""
    found = {}
    for stage in sorted((stage for module in _MODULES for stage in module.stages(device)), key=lambda s: not s.quick):
        found.setdefault(stage.name, stage)  # those of several sizes are one in a rehearsal
    return list(found.values())


class Worker:
    """A process in the midst of a run; the settings are those that `benchmarks.__main__` puts together."""

    def __init__(self, settings: dict):
        self.asked = asked = argparse.Namespace(**settings)
        device = Rehearsal() if asked.rehearsal else Device() if asked.kind == "cpu" else Gpu(asked.device)
        self.log = Logbook(Path(asked.logbook))
        if not self.log.of("machine"):
            self.log.add("machine", **device.describe())
            if not Path(sdfast.__file__).is_relative_to(asked.where):
                self.log.add("build", name="sdfast", fault=f"another installation comes first: {sdfast.__file__}")
            for name, fault in device.ours.items():
                self.log.add("backend", name=name, fault=fault)
        self.run = Run(device, self.log, asked.seed, device.seconds[asked.quick], asked.quick)
        self._parent, self._threads = os.getppid(), 1 if device.rehearses else torch.get_num_threads()

    def due(self) -> list[Stage]:
        """Return the stages that this process is for and that are not done."""
        asked = (stage for stage in stages_on(self.run.device) if self.asked.only in stage.name)
        wanted = (stage for stage in asked if stage.warm == self.asked.warm and stage.quick >= self.asked.quick)
        return [stage for stage in wanted if not self.log.is_done(stage.name)]

    def go(self, stage: Stage) -> object:
        """Hold a stage, if there is time and memory for it, and return what comes of it."""
        device, needed, left = self.run.device, _FEATURES_AT_ONCE * stage.size, self.asked.deadline - time.time()
        if os.getppid() != self._parent:
            os._exit(LOST)  # nobody is left who would read what is found
        if left < 0 or needed > device.memory:
            note = "no time was left" if left < 0 else f"needs {needed / 1e9:.0f} GB of memory"
            return self.log.add("left_out", stage=stage.name, note=note)
        print(f"[{left:4.0f} s left] {stage.name}", flush=True)
        self.log.add("begin", stage=stage.name)
        torch.set_num_threads(self._threads)
        torch.compiler.reset()  # compiled functions of other stages count against the limit of recompilations
        try:
            found = stage.hold(self.run)
        except DeviceLost as lost:
            self.log.add("lost", note=str(lost))
            raise
        except Exception as error:
            self.log.add("died", stage=stage.name, candidate=None, note=f"{type(error).__name__}: {error}"[:300])
            raise
        self.log.add("end", stage=stage.name)
        gc.collect()
        device.free()
        return found

    def go_on(self) -> int:
        """Hold all stages that are due and return the exit code."""
        for stage in self.due():
            try:
                self.go(stage)
            except DeviceLost:
                return LOST
            except Exception:
                traceback.print_exc()  # it is in the logbook, and the others go on
        self.log.add("machine", **self.run.device.describe())
        return 0


def main(argv: list[str]) -> int:
    """Go on with a run and return the exit code; on the CPU with a record of pytest-benchmark, where there is one."""
    warnings.filterwarnings("ignore", message="The variance of predictions")
    worker = Worker(json.loads(argv[0]))
    if worker.run.device.kind == "cpu" and importlib.util.find_spec("pytest_benchmark"):
        from benchmarks.test_stages import go_on_with_record

        return go_on_with_record(worker)
    return worker.go_on()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # a lost device would make the end of the interpreter hang or fail
