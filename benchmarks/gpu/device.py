"""The GPU that is measured, or the CPU that stands in for it in a rehearsal: events, graphs, launches, what it is."""

import datetime
import itertools
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

import sdfast
from sdfast.bench import sample

_AHEAD = 2_000_000  # cycles that the device waits while the host queues a sample: about a millisecond
_CACHES = 4  # times the L2 cache that rotated inputs are, so that none is still there when its turn comes
_MOST_SETS = 256
_OF_THE_PROFILER = {"Activity Buffer Request", "Buffer Flush", "Command Buffer Full", "Instrumentation", "Resource"}
_REPORTED = ("driver_version", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")


class Device:
    """A device to measure on.

    Args:
        name: "cuda", "cuda:1", or "cpu" for a rehearsal.
    """

    def __init__(self, name: str):
        self.torch = torch.device(name)
        self.rehearses = self.torch.type == "cpu"
        self.l2, self.memory = 0, 1 << 30
        if not self.rehearses:
            self.torch = torch.device("cuda", self.torch.index or 0)
            torch.cuda.set_device(self.torch)
            self._properties = torch.cuda.get_device_properties(self.torch)
            self.l2 = getattr(self._properties, "L2_cache_size", 0) or 64 << 20
            self.memory = self._properties.total_memory

    def synchronize(self) -> None:
        """Wait until the device has done what it was asked; raises what went wrong there."""
        if not self.rehearses:
            torch.cuda.synchronize(self.torch)

    def generator(self, seed: int) -> torch.Generator:
        """Return a generator of random numbers on the device."""
        return torch.Generator(self.torch).manual_seed(seed)

    def sets(self, size: int) -> int:
        """Return how many sets of inputs of so many bytes must take turns for none to be cached; two in a rehearsal."""
        if self.rehearses:
            return 2
        return min(_MOST_SETS, max(1, -(-_CACHES * self.l2 // size)))

    def clock(self, run: Callable[[], object], calls: int) -> float:
        """Return the seconds of each of some calls in a row, between two events of the device's stream.

        The device waits before the first event, so that the host is ahead of it and its own time does not count.
        """
        if self.rehearses:
            return sample(run, calls)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(_AHEAD)
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / calls

    def host_clock(self, run: Callable[[], object], calls: int) -> float:
        """Return the seconds of each of some calls in a row as the host sees them, launches and waiting included."""
        return sample(run, calls, self.synchronize)

    def replay(self, run: Callable[[int], object], sets: int) -> Callable[[], object]:
        """Capture a call on each set of inputs in a graph and return what replays it."""
        if self.rehearses:
            return partial(_run_all, run, sets)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                run(0)
        torch.cuda.current_stream().wait_stream(stream)
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                _run_all(run, sets)
        except RuntimeError:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own
            raise
        return graph.replay

    def launches(self, run: Callable[[], object]) -> list[str] | None:
        """Return the names of all that a call has the device do; None in a rehearsal, which launches nothing."""
        if self.rehearses:
            return None
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        run()
        self.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            run()
            self.synchronize()
        names = (event.name for event in profiled.events() if event.device_type == DeviceType.CUDA)
        return [name for name in names if name not in _OF_THE_PROFILER]

    def describe(self) -> dict[str, str]:
        """Return what decides the figures."""
        versions = {
            "revision": _revision(),
            "torch": torch.__version__,
            "triton": _version("triton"),
            "sdfast": sdfast.__version__,
            "python": platform.python_version(),
            "date": datetime.date.today().isoformat(),
        }
        if self.rehearses:
            return {"card": "none: a rehearsal on the CPU", **versions}
        card = self._properties
        return {
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": str(card.multi_processor_count),
            "memory": f"{card.total_memory / 1e9:.0f} GB",
            "L2 cache": f"{self.l2 / 1e6:.0f} MB",
            "cuda": str(torch.version.cuda or torch.version.hip),
            **self.readings(),
            **versions,
        }

    def readings(self) -> dict[str, str]:
        """Return the driver, clocks, temperature and power as they are now; nothing is set."""
        command = ["nvidia-smi", f"--query-gpu={','.join(_REPORTED)}", "--format=csv,noheader"]
        command.append(f"--id={self.torch.index or 0}")
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return {"driver": "unknown: nvidia-smi does not answer"}
        driver, *rest = (each.strip() for each in told.strip().split(","))
        return {"driver": driver, **dict(zip(_REPORTED[1:], rest, strict=False))}


@contextmanager
def poisoned() -> Iterator[None]:
    """Have torch.empty hand out NaN, or the largest integer, so that what a kernel does not write shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def in_turn(run: Callable[[int], object], sets: int) -> Callable[[], object]:
    """Return a call that takes the next set of inputs each time."""
    turns = itertools.cycle(range(sets))
    return lambda: run(next(turns))


def _run_all(run: Callable[[int], object], sets: int) -> None:
    for i in range(sets):
        run(i)


def _revision() -> str:
    """Return which revision of this repository it is, where git knows."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _version(module: str) -> str:
    try:
        return __import__(module).__version__
    except ImportError:
        return "missing"
