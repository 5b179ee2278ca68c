"""The Triton kernels without a GPU: copies that the interpreter runs, and a driver that compiles for GPUs not there."""

import importlib.util
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton", reason="the GPU kernels need triton")
from triton import language as tl  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime import interpreter  # noqa: E402
from triton.runtime.interpreter import InterpretedFunction  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

import sdfast.kernels  # noqa: E402, F401  before any interpretation: these are the compiled ones

# In the order of their imports.
MODULES = (
    "launch",
    "labels",
    "plan",
    "layout",
    "double_float",
    "samples",
    "moments",
    "spans",
    "pooling",
    "sample_comoments",
    "partial_comoments",
    "comoments",
    "pairwise_correlation",
    "static_dropout",
)
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# Their float64 is slow.
SLOW_DOUBLE = {
    "sm_86": GPUTarget("cuda", 86, 32),
    "sm_89": GPUTarget("cuda", 89, 32),
    "sm_103": GPUTarget("cuda", 103, 32),
}


@contextmanager
def _restored():
    """Undo what the interpreter does to triton's language: it puts its functions there and leaves them."""
    places = (tl, tl.core, tl.math, tl.tensor, tl.dtype, tl.core.tensor_descriptor_base)
    before = [dict(vars(place)) for place in places]
    try:
        yield
    finally:
        for place, names in zip(places, before, strict=True):
            for name, value in dict(vars(place)).items():
                if name not in names:
                    delattr(place, name)
                elif value is not names[name]:
                    setattr(place, name, names[name])


_convert = interpreter._convert_float
_patch_tensor = interpreter._patch_lang_tensor


def _to_nearest(data, from_dtype, to_dtype, rounding):
    """Convert as GPUs do: the interpreter cuts bfloat16 off where they round to the nearest, halves to even."""
    if (from_dtype, to_dtype) != (tl.float32, tl.bfloat16):
        return _convert(data, from_dtype, to_dtype, rounding)
    rounded = torch.from_numpy(np.ascontiguousarray(data)).to(torch.bfloat16)
    return rounded.view(torch.int16).numpy().view(np.uint16).reshape(data.shape)


def _with_index(tensor, scope):
    """Let tensors be bounds of loops: the interpreter of triton 3.6.0 makes no integers of them by NumPy 2.4."""
    _patch_tensor(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())


def _fused(self, x, y, z):
    """Multiply and add float32 with one rounding, which the interpreter does with two: its product has 48 bits."""
    dtype = x.data.dtype
    wide = np.float64 if dtype == np.float32 else dtype
    fused = x.data.astype(wide) * y.data.astype(wide) + z.data.astype(wide)
    return interpreter.TensorHandle(fused.astype(dtype), x.dtype.scalar)


def _folded(self, inputs):
    """Reduce by any function all that lies beside the axis at once: the interpreter takes element by element."""
    parts = [np.moveaxis(x.handle.data, self.axis, 0) for x in inputs]

    def part(i):
        return [self.to_tensor(each[i], x.dtype) for each, x in zip(parts, inputs, strict=True)]

    found = part(0)
    for i in range(1, len(parts[0])):
        found = self.combine_fn.fn(*found, *part(i))
    return list(found)


@contextmanager
def interpreted():
    """Load the kernels anew, as functions of the interpreter, which runs them on CPU tensors."""
    with _restored(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.setattr(interpreter, "_convert_float", _to_nearest)
        patch.setattr(interpreter, "_patch_lang_tensor", _with_index)
        patch.setattr(interpreter.InterpreterBuilder, "create_fma", _fused)
        patch.setattr(interpreter.ReduceOps, "generic_reduce", _folded)
        for name in ("sum", "min", "max", "interleave"):
            function = getattr(tl, name)
            if not isinstance(function, InterpretedFunction):  # made for compilation when triton was imported
                patch.setattr(tl, name, InterpretedFunction(function.fn))
        for name in MODULES:
            full = f"sdfast.kernels.{name}"
            spec = importlib.util.find_spec(full)
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, full, module)
            spec.loader.exec_module(module)
        yield {name: sys.modules[f"sdfast.kernels.{name}"] for name in MODULES}


class _Absent:
    """A driver for a GPU that is not there: enough of one to choose a specialisation and to compile it."""

    def __init__(self, name, purpose):
        self.target = (TARGETS | SLOW_DOUBLE)[name]
        self.device = f"{name}, {purpose}"  # each has a cache of its own

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return self.device

    def get_current_stream(self, device):
        return 0


@contextmanager
def compiling_for(name):
    """Compile each kernel that is launched inside for a target, and launch none; yields the list of what came out."""
    compiled = []
    run = JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        compiled.append(run(self, *args, grid=grid, warmup=True, **kwargs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JITFunction, "run", compile_only)
        patch.setattr(triton.runtime.driver, "_active", _Absent(name, "compiled for"))
        yield compiled


@contextmanager
def launching():
    """Launch nothing; yields the list of what would be: names and numbers of programs. Meta tensors will do."""
    launches = []

    def record(self, *args, grid, **kwargs):
        launches.append((self.fn.__name__, grid[0]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JITFunction, "run", record)
        patch.setattr(triton.runtime.driver, "_active", _Absent("sm_90", "launched on"))
        yield launches


@contextmanager
def specialising():
    """Compile nothing; yields the set of what would be: names of kernels and triton's keys of their forms."""
    forms = set()
    run = JITFunction.run

    def specialise_only(self, *args, grid, warmup, **kwargs):
        run(self, *args, grid=grid, warmup=True, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JITFunction, "run", specialise_only)
        patch.setattr(JITFunction, "_do_compile", lambda self, key, *args: forms.add((self.fn.__name__, key)))
        patch.setattr(triton.runtime.driver, "_active", _Absent("sm_90", "specialised for"))
        yield forms


class _Recorder(_Absent):
    """A driver to which all launches come, with the arguments as the launcher of a GPU would take them."""

    def __init__(self, launches):
        super().__init__("sm_90", f"recorded as {id(launches)}")
        self.launcher_cls = lambda src, metadata: lambda *args: launches.append((src.fn.__name__, args[0], args[9:]))
        self.utils = self

    def get_device_properties(self, device):
        return {"max_shared_mem": 227 * 1024}

    def load_binary(self, name, binary, shared, device):
        return object(), name, 1, 0, 1024


@contextmanager
def recording():
    """Compile kernels and launch them nowhere; yields the list of launches: name, programs, arguments."""
    launches = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton.runtime.driver, "_active", _Recorder(launches))
        patch.setattr(sys.modules["sdfast.kernels.plan"], "_plans", {})
        yield launches
