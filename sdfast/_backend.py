"""Which implementation of an operation runs: the only place where the package asks for a device."""

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd import forward_ad

# One module a backend; each has a function of the operation's name and signature.
_MODULES = {
    "cpu": "sdfast._C",
    "triton": "sdfast.kernels",
    "cuda": "sdfast._cuda",
    "reference": "sdfast.torch_reference",
}
_RUNS_ON = {"cpu": "cpu", "triton": "cuda", "cuda": "cuda"}  # torch calls AMD's GPUs cuda, too
# Which backend serves an operation on a device. On GPUs it is Triton throughout: the same kernels serve those of AMD.
_SERVES = {
    "cpu": {"comoments": "cpu", "channel_bias": "cpu", "pairwise_correlation": "cpu", "static_dropout": "cpu"},
    "cuda": {
        "comoments": "triton",
        "channel_bias": "triton",
        "pairwise_correlation": "triton",
        "static_dropout": "triton",
    },
}
_HOW_TO_GET = {
    "cpu": "the compiled extension sdfast._C is missing; reinstall sdfast (a source install needs a C++17 compiler)",
    "triton": "the GPU kernels need triton: pip install triton",
    "cuda": "its kernels are not compiled in; install sdfast from source with a CUDA toolkit and SDFAST_CUDA=ON",
}

_DIRECT = (None, "cpu")
_dispatch_modes = torch._C._len_torch_dispatch_stack
_functorch_level = torch._C._functorch.peek_interpreter_stack

_forced: ContextVar[str | None] = ContextVar("sdfast_backend", default=os.environ.get("SDFAST_BACKEND") or None)


class BackendError(RuntimeError):
    """A backend that was asked for, or that a device needs, cannot be used here."""


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


def chosen(device_type: str, op: str) -> str:
    """Return the name of the backend that serves an operation on a device, or the forced one."""
    forced = _forced.get()
    if forced is None and device_type == "cpu":
        return _SERVES["cpu"][op]
    name = forced or _SERVES.get(device_type, {}).get(op)
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


def _fits(name: str, device_type: str) -> bool:
    """Tell whether a backend runs on a device; triton's interpreter, made for debugging, runs on the CPU."""
    if _RUNS_ON.get(name, device_type) == device_type:
        return True
    return name == "triton" and device_type == "cpu" and os.environ.get("TRITON_INTERPRET", "0") != "0"


def select(op: str, device: torch.device) -> Callable:
    """Return the implementation of an operation for tensors on a device."""
    return getattr(load(chosen(device.type, op)), op)


def find(op: str, name: str | None) -> Callable | None:
    """Return a backend's implementation of an operation, or None where there is no backend or it has none."""
    return None if name is None else getattr(load(name), op, None)


def direct(op: str, feats_a: Tensor, feats_b: Tensor, labels: Tensor | None) -> str | None:
    """Return the name of the backend that may be called without torch's dispatcher; None where that is the way.

    It may for plain tensors outside of autograd, functorch, dispatch modes and tracing, on a device with kernels. What
    that leaves open (shapes, dtypes, a second device) the compiled kernels of the CPU refuse by themselves.
    """
    if (
        type(feats_b) is not Tensor
        or not is_eager(feats_a, feats_b, labels)
        or (torch.is_grad_enabled() and (feats_a.requires_grad or feats_b.requires_grad))
    ):
        return None
    if feats_a.is_cpu and _forced.get() in _DIRECT:
        return "cpu"
    device_type = feats_a.device.type
    return chosen(device_type, op) if device_type in _SERVES else None


def is_eager(first: torch.Tensor, second: torch.Tensor | None, third: torch.Tensor | None) -> bool:
    """Tell whether a kernel may be handed these tensors by pointer: plain ones, with memory of their own meaning.

    False under tracing, functorch, dispatch modes and forward-mode differentiation, and for negated views.
    """
    return (
        not torch.compiler.is_compiling()
        and type(first) is Tensor
        and (second is None or type(second) is Tensor)
        and (third is None or type(third) is Tensor)
        and not _dispatch_modes()
        and _functorch_level() is None
        and forward_ad._current_level < 0
        and not first.is_neg()
        and (second is None or not second.is_neg())
        and (third is None or not third.is_neg())
    )


def is_transformed() -> bool:
    """Tell whether torch.func (vmap, grad, jvp) or forward-mode differentiation is at work, outside of tracing."""
    return not torch.compiler.is_compiling() and (_functorch_level() is not None or forward_ad._current_level >= 0)
