"""What a call has a GPU do: its kernels with their times, registers and occupancy, as the profiler has traced them."""

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

_DONE_BY_THE_GPU = {"kernel", "gpu_memcpy", "gpu_memset"}


def trace(run: Callable[[], object], synchronize: Callable[[], None]) -> list[dict]:
    """Make a call twice and return what the second one has the device do, in its order."""
    from torch.profiler import ProfilerActivity, profile

    run()
    synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        run()
        synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        return kernels_of(json.loads(path.read_text(encoding="utf-8")))


def kernels_of(traced: Mapping) -> list[dict]:
    """Return the kernels and copies of a trace: their times, and what decides how many blocks run at once."""
    events = [event for event in traced["traceEvents"] if event.get("cat") in _DONE_BY_THE_GPU]
    found = []
    for event in sorted(events, key=lambda event: event["ts"]):
        known = event.get("args", {})
        found.append(
            {
                "name": event["name"],
                "microseconds": event["dur"],
                "blocks": math.prod(known.get("grid", ())),
                "threads": math.prod(known.get("block", ())),
                "registers": known.get("registers per thread"),
                "shared": known.get("shared memory"),
                "occupancy": known.get("est. achieved occupancy %"),
            }
        )
    return found
