"""What is measured on: the CPU, a GPU, or the CPU that rehearses what a GPU would be asked."""

import datetime
import importlib.metadata
import importlib.util
import itertools
import os
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

import sdfast
from benchmarks.kernels import trace
from benchmarks.targets import COPY, PROBE
from sdfast.backends import chosen, load, use_backend
from sdfast.bench import sample

OURS = "sdfast"
Call = Callable[[], object]
_SMALL = 1_000_000  # bytes; below it a call is all that the read probe would time
_AHEAD = 2_000_000  # cycles that the device waits while the host queues a sample: about a millisecond
_CACHES = 4  # times the L2 cache that rotated inputs are, so that none is still there when its turn comes
_MOST_SETS = 256
_ENQUEUED = 8  # calls that the host makes ahead of the device
_REPORTED = ("driver_version", "clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")


class Device:
    """The CPU, and what all devices have in common."""

    kind = "cpu"  # whose cases and targets
    rehearses = False
    large = 205_520_896  # bytes of features that no cache holds: 256 of (256, 8, 7, 7) twice
    seconds = 3.0, 0.4  # of all rounds of a contest, and in a quick run
    memory = 1 << 34  # bytes that may be taken
    ours: Mapping[str, str | None] = {OURS: None}  # what of ours is measured, and why it cannot be used

    def __init__(self, name: str = "cpu"):
        self.torch = torch.device(name)

    def selected(self, operation: str, dtype: torch.dtype, size: int) -> str:
        """Return which of ours serves an operation on features of so many bytes by default, and is judged."""
        return next(iter(self.ours))

    def forced(self, run: Callable, name: str) -> Callable:
        """Return a call with one of ours."""
        return run if name == OURS else use_backend(name)(run)

    def synchronize(self) -> None:
        """Wait until the device has done what it was asked; raises what went wrong there."""

    def free(self) -> None:
        """Give back memory that is kept for further tensors."""

    def generator(self, seed: int) -> torch.Generator:
        """Return a generator of random numbers on the device."""
        return torch.Generator(self.torch).manual_seed(seed)

    def sets(self, size: int) -> int:
        """Return how many sets of inputs of so many bytes must take turns for none to be cached."""
        return 1

    def floor(self, sets: Sequence[Sequence[Tensor]]) -> dict[str, list[Call]]:
        """Return what moves as many bytes as reading takes, and does nothing else: on the CPU reading alone."""
        if sum(x.nbytes for x in sets[0]) <= _SMALL:
            return {}
        return {PROBE: [partial(read, tensors) for tensors in sets]}

    def clock(self, run: Call, calls: int) -> float:
        """Return the seconds of each of some calls in a row."""
        return sample(run, calls)

    def host_clock(self, run: Call, calls: int) -> float:
        """Return the seconds of each of some calls in a row as the host sees them, launches and waiting included."""
        return sample(run, calls, self.synchronize)

    def compiled(self, formula: Callable) -> Callable:
        """Compile a formula for the one shape that it will see; in a rehearsal torch only traces it."""
        return torch.compile(formula, fullgraph=True, dynamic=False, backend="eager" if self.rehearses else "inductor")

    def describe(self) -> dict[str, str]:
        """Return what decides the figures, and how busy the machine is now; nothing is set."""
        return {
            "cpu": _processor(),
            "cores": str(os.cpu_count()),
            "threads": str(torch.get_num_threads()),
            "isa": _fault("cpu") or load("cpu").isa(),
            "torch": torch.__version__,
            "triton": importlib.metadata.version("triton") if importlib.util.find_spec("triton") else "missing",
            "sdfast": sdfast.__version__,
            "python": platform.python_version(),
            "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
            "revision": _told("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty") or "unknown",
            "date": datetime.date.today().isoformat(),
        }


class Rehearsal(Device):
    """The CPU, at sizes of a few kilobytes and in Triton's interpreter; nothing is timed or judged."""

    kind, rehearses, memory = "cuda", True, 1 << 30

    @cached_property
    def ours(self) -> dict[str, str | None]:
        # The reference is rehearsed beside the interpreter, so that something must run.
        return {"triton": _fault("triton"), "cuda": "needs a GPU", "reference": None}

    def sets(self, size: int) -> int:
        return 2

    def floor(self, sets: Sequence[Sequence[Tensor]]) -> dict[str, list[Call]]:
        """Return what moves as many bytes as reading takes: one of the tensors is read, another is written."""
        scratch = torch.empty_like(sets[0][0])
        return {COPY: [partial(scratch.copy_, tensors[0]) for tensors in sets]}

    def replay(self, calls: Sequence[Call]) -> Call:
        """Return what makes all the calls at once."""
        return partial(run_all, calls)


class Gpu(Rehearsal):
    """A GPU, whose times lie between events of its stream."""

    rehearses, large, seconds = False, 1_000_000_000, (1.0, 0.3)

    def __init__(self, name: str):
        super().__init__(name)
        self.torch = torch.device("cuda", self.torch.index or 0)
        torch.cuda.set_device(self.torch)
        self._properties = torch.cuda.get_device_properties(self.torch)
        self.l2 = getattr(self._properties, "L2_cache_size", 0) or 64 << 20
        self.memory = self._properties.total_memory

    @cached_property
    def ours(self) -> dict[str, str | None]:
        return {name: _fault(name) for name in ("triton", "cuda")}

    def selected(self, operation: str, dtype: torch.dtype, size: int) -> str:
        return chosen(operation, self.torch.type, dtype, size)

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch)

    def free(self) -> None:
        torch.cuda.empty_cache()

    def sets(self, size: int) -> int:
        return min(_MOST_SETS, max(1, -(-_CACHES * self.l2 // size)))

    def clock(self, run: Call, calls: int) -> float:
        """Return the seconds of each of some calls between two events; the device waits for the host to be ahead."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(_AHEAD)
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / calls

    def replay(self, calls: Sequence[Call]) -> Call:
        """Capture the calls in a graph and return what replays it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run_all(2 * calls[:1])
        torch.cuda.current_stream().wait_stream(stream)
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                run_all(calls)
        except RuntimeError:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own
            raise
        return graph.replay

    def launches(self, run: Call) -> list[dict]:
        """Return all that a call has the device do."""
        return trace(run, self.synchronize)

    def enqueue(self, run: Call) -> float:
        """Return the seconds that a call takes the host alone, the least of some, while the device has others to do."""
        self.synchronize()
        torch.cuda._sleep(_AHEAD)
        taken = min(sample(run, 1) for _ in range(_ENQUEUED))
        self.synchronize()
        return taken

    def describe(self) -> dict[str, str]:
        card, index = self._properties, self.torch.index or 0
        query = f"--query-gpu={','.join(_REPORTED)}", "--format=csv,noheader", f"--id={index}"
        driver, *rest = (_told("nvidia-smi", *query) or "unknown: nvidia-smi does not answer").split(",")
        return {
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": str(card.multi_processor_count),
            "memory": f"{card.total_memory / 1e9:.0f} GB",
            "L2 cache": f"{self.l2 / 1e6:.0f} MB",
            "cuda": str(torch.version.cuda or torch.version.hip),
            "driver": driver,
            **dict(zip(_REPORTED[1:], map(str.strip, rest), strict=False)),
            **super().describe(),
        }


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


def in_turn(calls: Sequence[Call]) -> Call:
    """Return a call that makes the next of the calls each time; a single one is timed as it is."""
    if len(calls) == 1:
        return calls[0]
    turns = itertools.cycle(calls)
    return lambda: next(turns)()


def run_all(calls: Sequence[Call]) -> None:
    """Make all the calls."""
    for call in calls:
        call()


def read(tensors: Sequence[Tensor]) -> None:
    """Read tensors in the memory of the CPU once, as fast as it does; they are dense, in whatever order."""
    probe = load("cpu").read_probe
    for x in tensors:
        probe(x.as_strided((x.numel(),), (1,)))


def _fault(backend: str) -> str | None:
    try:
        load(backend)
    except Exception as error:
        return str(error).splitlines()[0]
    return None


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _told(*command: str) -> str | None:
    """Return what a command tells, None where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
