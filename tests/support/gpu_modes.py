"""Where the GPU's tests run: on a GPU, or dry, the same bodies on the CPU with the kernels in triton's interpreter."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch.utils import deterministic
from triton.runtime import interpreter

import sdfast
from sdfast.backends import table as backends
from tests.support.triton_modes import interpreted

OPERATIONS = ("comoments", "channel_bias", "update_comoments", "pairwise_correlation", "static_dropout")
PLACES = [("cuda", "triton"), ("cuda", "cuda"), ("cuda", "reference"), ("cpu", "triton"), ("cpu", "reference")]


def name_of(place: tuple[str, str]) -> str:
    return "-".join(place) if place[0] == "cuda" else f"dry-{place[1]}"


@dataclass(frozen=True)
class Place:
    """A device and the backend that is forced on it."""

    device: str
    backend: str

    @property
    def dry(self) -> bool:
        return self.device == "cpu"

    def put(self, *tensors):
        """Return tensors on the device, strides kept; None stays None."""
        moved = [None if x is None else _moved(x, self.device) for x in tensors]
        return moved if len(moved) > 1 else moved[0]

    @contextlib.contextmanager
    def poisoned(self) -> Iterator[None]:
        """Fill memory that is allocated inside with NaN, so that what is not written shows."""
        before = torch.are_deterministic_algorithms_enabled()
        assert deterministic.fill_uninitialized_memory
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)

    @contextlib.contextmanager
    def unwaited(self) -> Iterator[None]:
        """Raise where the CPU waits for the GPU."""
        if self.dry:
            yield
            return
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def captured(self, function: Callable[[], object]) -> tuple[Callable[[], None], object]:
        """Return what replays a function, and where its results are then; dry it is called anew."""
        if self.dry:
            results = function()
            return lambda: _overwrite(results, function()), results
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function()  # compiles
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = function()
        return graph.replay, results

    def launches(self, function: Callable[[], object]) -> list[str]:
        """Return the names of the kernels that a function launches."""
        function()  # compiles
        if self.dry:
            with pytest.MonkeyPatch.context() as patch:
                return _interpreted_launches(patch, function)
        torch.cuda.synchronize()
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            function()
            torch.cuda.synchronize()
        on_gpu = torch.autograd.DeviceType.CUDA
        return [event.name for event in profile.events() if event.device_type == on_gpu]


def _moved(x: torch.Tensor, device: str) -> torch.Tensor:
    """Return a view of the same strides on a device."""
    x = x.detach()
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.as_strided((span,), (1,)).clone().to(device).as_strided(x.shape, x.stride())


def _overwrite(results, fresh) -> None:
    pairs = [(results, fresh)] if isinstance(results, torch.Tensor) else zip(results, fresh, strict=True)
    for old, new in pairs:
        old.copy_(new)


def _interpreted_launches(patch, function) -> list[str]:
    names = []
    launch = interpreter.GridExecutor.__call__

    def recorded(self, *args, **kwargs):
        names.append(self.fn.__name__)
        return launch(self, *args, **kwargs)

    patch.setattr(interpreter.GridExecutor, "__call__", recorded)
    function()
    return names


@contextlib.contextmanager
def at(device: str, backend: str) -> Iterator[Place]:
    """Force a backend; skip where the device or the backend is missing."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    if backend == "cuda" and torch.version.hip:
        pytest.skip("needs a GPU of NVIDIA")
    with contextlib.ExitStack() as stack:
        if (device, backend) == ("cpu", "triton"):
            modules = stack.enter_context(interpreted())
            kernels = SimpleNamespace(**{op: getattr(modules[_home(op)], op) for op in OPERATIONS})
            load = backends.load
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(backends, "load", lambda name: kernels if name == "triton" else load(name))
        try:
            stack.enter_context(sdfast.use_backend(backend))
        except sdfast.BackendError as error:
            pytest.skip(str(error))
        yield Place(device, backend)


def _home(op: str) -> str:
    return "comoments" if op in ("channel_bias", "update_comoments") else op
