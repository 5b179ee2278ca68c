"""The CUDA kernels with and without a GPU: sdfast._cuda there; here the same sources compiled for an emulator."""

import functools
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.support.paths import ROOT

pybind11 = pytest.importorskip("pybind11", reason="building the emulator needs pybind11")

CSRC, EMULATOR = ROOT / "csrc", ROOT / "tests" / "csrc" / "cuda_emulator"
KERNELS = sorted((CSRC / "cuda").glob("*.cu"))
HOST = [
    *sorted(path for path in (CSRC / "cuda").glob("*.cpp") if path.stem != "runtime"),
    *sorted(path for path in (CSRC / "bind").glob("*cuda.cpp") if path.stem != "module_cuda"),
    *(CSRC / name for name in ("bind/tasks.cpp", "bind/tensors.cpp", "core/layout.cpp")),
]


def compile_all(command: list[str], sources: Iterable[Path], folder: Path, ending: str) -> dict[Path, str]:
    """Compile each source to folder/name.ending, two at a time; return what the compiler said of each."""

    def run(source: Path) -> str:
        output = folder / f"{source.name}{ending}"
        done = subprocess.run([*command, str(source), "-o", str(output)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    sources = list(sources)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(sources, pool.map(run, sources), strict=True))


@functools.cache
def emulated() -> ModuleType:
    """Build the bindings and kernels of sdfast._cuda as a module that takes tensors of the CPU; once a session."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("building the emulator needs a C++ compiler")
    flags = "-std=c++17 -O1 -fPIC -fvisibility=hidden -ffp-contract=off -Wall -Wextra -Wno-unknown-pragmas -Werror"
    includes = (CSRC, EMULATOR, pybind11.get_include(), sysconfig.get_path("include"))
    command = [compiler, *flags.split(), *(f"-I{path}" for path in includes), "-x", "c++", "-c"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_all(command, [*HOST, *EMULATOR.glob("*.cpp"), *KERNELS], folder, ".o")
        library = folder / f"emulated_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
        subprocess.run([compiler, "-shared", *map(str, folder.glob("*.o")), "-o", str(library)], check=True)
        spec = importlib.util.spec_from_file_location("emulated_cuda", library)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


class Kernels:
    """The functions of sdfast._cuda, on tensors of the CPU: emulated, or moved to a GPU and back."""

    def __init__(self, name: str):
        self.emulated = name == "emulated"
        if self.emulated:
            self.module = emulated()
        elif torch.cuda.is_available():
            self.module = pytest.importorskip("sdfast._cuda")
        else:
            pytest.skip("needs a GPU")

    def __getattr__(self, name):
        function = getattr(self.module, name)

        def move(x, to):
            if isinstance(x, tuple):
                return tuple(move(y, to) for y in x)
            if not isinstance(x, torch.Tensor) or x.device.type == to:
                return x
            moved = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=to)
            return moved.copy_(x)

        def call(*args):
            if self.emulated:
                return function(*args)
            return move(function(*(move(x, "cuda") for x in args)), "cpu")

        return call

    def use(self, processors: int, order: int = 0) -> None:
        """Give the emulated GPU so many processors, and threads another order to run in."""
        if self.emulated:
            self.module.set_processors(processors)
            self.module.set_order(order)


MODES = ("emulated", "gpu")


@contextmanager
def ready(mode: str) -> Iterator[Kernels]:
    """Make the kernels ready, with all memory that torch gives them NaN at first."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # has torch fill what it allocates
    try:
        made = Kernels(mode)
        made.use(4)
        yield made
    finally:
        torch.use_deterministic_algorithms(before)
