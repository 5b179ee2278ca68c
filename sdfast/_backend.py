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
_MODULES = {"cpu": "sdfast._C", "triton": "sdfast.kernels", "reference": "sdfast.torch_reference"}
_BY_DEVICE = {"cpu": "cpu", "cuda": "triton"}  # torch calls AMD GPUs cuda too
_HOW_TO_GET = {
    "cpu": "the compiled extension sdfast._C is missing; reinstall sdfast (a source install needs a C++17 compiler)",
    "triton": "the GPU kernels need triton: pip install triton",
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
        name: "cpu" (compiled kernels), "triton" (GPUs) or "reference" (pure torch, any device).

    Raises:
        BackendError: the backend is unknown or cannot be loaded.

    >>> import torch, sdfast
    >>> a = torch.tensor([[0.0], [1.0], [2.0]])
    >>> with sdfast.use_backend("reference"):
    ...     sdfast.channel_bias(a, 2 * a).corr
    tensor([1.], dtype=torch.float64)
    """
    load(name)
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def chosen(device_type: str) -> str:
    """Return the name of the backend that serves a device, or the forced one."""
    name = _forced.get() or _BY_DEVICE.get(device_type)
    if name is None:
        raise BackendError(
            f"device {device_type!r}: this version has no kernels for it; "
            "SDFAST_BACKEND=reference runs the pure torch formulas there"
        )
    if name == "triton" and device_type == "cpu" and os.environ.get("TRITON_INTERPRET", "0") == "0":
        raise BackendError("backend 'triton': its kernels run on GPUs, got tensors on the CPU")
    return name


def select(op: str, device: torch.device) -> Callable:
    """Return the implementation of an operation for tensors on a device."""
    return getattr(load(chosen(device.type)), op)


def takes_direct_route(feats_a: torch.Tensor, feats_b: torch.Tensor, labels: torch.Tensor | None) -> bool:
    """Tell whether the compiled kernel may be called without torch's dispatcher.

    True for plain CPU tensors outside of autograd, functorch, dispatch modes and tracing. What it leaves open
    (shapes, dtypes, a second device) the kernel refuses by itself.
    """
    return (
        type(feats_b) is Tensor
        and is_eager(feats_a, feats_b, labels)
        and feats_a.is_cpu
        and not (torch.is_grad_enabled() and (feats_a.requires_grad or feats_b.requires_grad))
        and _forced.get() in _DIRECT
    )


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
