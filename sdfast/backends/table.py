"""Who runs an operation where: the table, and the one route from an operation to a kernel."""

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Literal, overload

import torch
from torch import Tensor

from sdfast.backends.selection import CHOICES, Choice

# One module a backend. What it has of an operation has the operation's name, and the arguments that all backends take.
_MODULES = {
    "cpu": "sdfast._C",
    "triton": "sdfast.kernels",
    "cuda": "sdfast._cuda",
    "reference": "sdfast.backends.reference",
}
_RUNS_ON = {"cpu": "cpu", "triton": "cuda", "cuda": "cuda"}  # torch calls AMD's GPUs cuda, too
# Which backend serves an operation on a device, or which of several may. Where it has no such kernel, the operation is
# composed of others: the pairwise correlation on the CPU, on GPUs the correlations without a group and of resamples.
# What has no kernel there is plain torch.
TABLE: dict[str, dict[str, str | tuple[Choice, ...]]] = {
    **{operation: {"cpu": "cpu", "cuda": choices} for operation, choices in CHOICES.items()},
    "standard_scores": {"cpu": "cpu", "cuda": "reference"},
    "normal_scores": {"cpu": "cpu", "cuda": "reference"},  # sorts, which torch does well
    "kraskov": {"cpu": "cpu", "cuda": "reference"},
    "leave_one_out": {"cpu": "cpu", "cuda": "reference"},
    "correlations_without": {"cpu": "cpu", "cuda": "reference"},
    "deviation_sums": {"cpu": "cpu", "cuda": "reference"},
    "resampled_correlations": {"cpu": "cpu", "cuda": "reference"},
}
_HOW_TO_GET = {
    "cpu": "the compiled extension sdfast._C is missing; reinstall sdfast (a source install needs a C++17 compiler)",
    "triton": "the GPU kernels need triton: pip install triton",
    "cuda": "its kernels are not compiled in; install sdfast from source with a CUDA toolkit and SDFAST_CUDA=ON",
}

# What plain torch can do for all backends, and all that may be left to be composed of others.
Composed = Literal["deviation_sums", "kraskov", "leave_one_out", "normal_scores", "standard_scores"]
_InParts = Literal[Composed, "pairwise_correlation", "resampled_correlations", "update_comoments"]

_forced: ContextVar[str | None] = ContextVar("sdfast_backend", default=os.environ.get("SDFAST_BACKEND") or None)


class BackendError(RuntimeError):
    """A backend that was asked for, or that a device needs, cannot be used here."""


@overload
def run(operation: Literal["comoments"], check: Callable[..., None], args: tuple[Any, ...]) -> Tensor: ...
@overload
def run(operation: Literal["static_dropout"], check: Callable[..., None], args: tuple[Any, ...]) -> None: ...
@overload
def run(
    operation: Literal["channel_bias"], check: Callable[..., None], args: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor] | None: ...
@overload
def run(
    operation: Literal["correlations_without"], check: Callable[..., None], args: tuple[Any, ...]
) -> tuple[Tensor, Tensor] | None: ...
@overload
def run(operation: _InParts, check: Callable[..., None], args: tuple[Any, ...]) -> Tensor | None: ...
def run(operation: str, check: Callable[..., None], args: tuple[Any, ...]) -> Any:
    """Run an operation where its first argument lives: the one route to a kernel.

    The compiled kernels of the CPU refuse what does not fit by themselves, and `check` then says why; for all others
    it is asked first.

    Args:
        operation: a row of the table.
        check: raises an error that names the argument that does not fit; takes the same arguments.
        args: what the backends take; the first is a tensor.

    Returns:
        What the kernel returns, or None where the backend leaves the operation to be composed of others.

    Raises:
        BackendError: no backend serves the device, or the forced one does not run there.
    """
    feats = args[0]
    if feats.is_cpu and _forced.get() in (None, "cpu"):  # a small call takes 3 us: nothing is looked up twice here
        kernel = _cpu_kernel(operation)
        if kernel is None:
            return None
        try:
            return kernel(*args)
        except (TypeError, ValueError):
            check(*args)
            raise
    name = chosen(operation, feats.device.type, feats.dtype, feats.numel() * feats.element_size())
    kernel = getattr(load(name), operation, None)
    if kernel is None:
        return None
    check(*args)
    return kernel(*args)


@functools.cache
def _cpu_kernel(operation: str) -> Callable[..., Any] | None:
    return getattr(load("cpu"), operation, None)


def chosen(operation: str, device_type: str, dtype: torch.dtype | None = None, size: int | None = None) -> str:
    """Return the name of the backend that serves an operation on a device, or the forced one.

    Where several do, the dtype and the bytes of the first tensor decide, which are large ones of any dtype by default.
    """
    forced = _forced.get()
    name = forced or _served_by(TABLE[operation].get(device_type), dtype, size)
    if forced is None and name == "cpu":
        return name
    if name is None:
        raise BackendError(
            f"device {device_type!r}: this version has no kernels for it; "
            "SDFAST_BACKEND=reference runs the pure torch formulas there"
        )
    if name == "cuda" and torch.version.hip:
        if forced:
            raise BackendError("backend 'cuda': its kernels run on NVIDIA GPUs; 'triton' runs on those of AMD")
        return "triton"
    if forced and not _fits(name, device_type):
        where = "the CPU" if device_type == "cpu" else device_type
        needs = "the CPU" if _RUNS_ON[name] == "cpu" else "GPUs"
        raise BackendError(f"backend {name!r}: its kernels run on {needs}, got tensors on {where}")
    return name


def _served_by(served: str | tuple[Choice, ...] | None, dtype: torch.dtype | None, size: int | None) -> str | None:
    if served is None or isinstance(served, str):
        return served
    *preferred, last = [choice.backend for choice in served if choice.is_for(dtype, size)]
    return next((name for name in preferred if _can_be_loaded(name)), last)


@functools.cache
def _can_be_loaded(name: str) -> bool:
    try:
        load(name)
    except BackendError:
        return False
    return True


def _fits(name: str, device_type: str) -> bool:
    """Tell whether a backend runs on a device; triton's interpreter, made for debugging, runs on the CPU."""
    if _RUNS_ON.get(name, device_type) == device_type:
        return True
    return name == "triton" and device_type == "cpu" and os.environ.get("TRITON_INTERPRET", "0") != "0"


def names() -> tuple[str, ...]:
    """Return the names of all backends, whether or not they can be used here."""
    return tuple(_MODULES)


@functools.cache
def load(name: str) -> ModuleType:
    """Import a backend by name; raise BackendError that says how to get it where it is missing."""
    if name not in _MODULES:
        raise BackendError(f"backend: expected one of {', '.join(_MODULES)}, got {name!r}")
    try:
        return importlib.import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        raise BackendError(f"backend {name!r}: {_HOW_TO_GET.get(name, 'cannot be imported')} ({error})") from error
    except ImportError as error:  # it is there, but refuses SDFAST_ISA or lacks a library
        raise BackendError(f"backend {name!r}: cannot be loaded: {error}") from error


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Force one backend inside the `with` block; `SDFAST_BACKEND` does the same for a process.

    Args:
        name: "cpu" (compiled kernels), "triton" (GPUs), "cuda" (compiled kernels for NVIDIA GPUs) or "reference"
            (pure torch, any device).

    Raises:
        BackendError: the backend is unknown or cannot be loaded. Operations raise it for tensors on a device that the
            backend does not run on.

    >>> import torch, sdfast
    >>> a = torch.tensor([[0.0], [1.0], [2.0]])
    >>> with sdfast.use_backend("reference"):
    ...     sdfast.channel_bias(a, 2 * a).corr
    tensor([1.], dtype=torch.float64)
    """
    load(name)
    with as_forced(name):
        yield


def forced_name() -> str | None:
    """Return the name of the backend that is forced, or None."""
    return _forced.get()


@contextmanager
def as_forced(name: str | None) -> Iterator[None]:
    """Force inside the `with` block what `forced_name` has returned elsewhere, such as in another thread."""
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)
