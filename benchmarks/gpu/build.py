"""The package as an installation has it, from the source tree alone: kernels in their place, the extension built."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 150.0  # seconds for all of a build
PARTS = ("torch", "sdfast", "sdfast.kernels", "sdfast._C", "sdfast._cuda")

_PROBE = """
import importlib, json, sys
faults = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        faults[name] = None
    except Exception as error:
        faults[name] = f"{type(error).__name__}: {error}"
card = None
if faults["torch"] is None:
    import torch
    if torch.cuda.is_available():
        card = list(torch.cuda.get_device_capability()) if torch.version.cuda else [0, 0]
where = None if faults["sdfast"] else sys.modules["sdfast"].__file__
print(json.dumps({"faults": faults, "card": card, "where": where}))
"""

# Stands in for pybind11's own, with the headers that torch carries.
_PYBIND11_CONFIG = """
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
function(pybind11_add_module target)
  Python_add_library(${{target}} MODULE WITH_SOABI ${{ARGN}})
  target_include_directories(${{target}} SYSTEM PRIVATE "{headers}")
endfunction()
set(pybind11_FOUND TRUE)
"""


@dataclass(frozen=True)
class Found:
    """What an environment can import: `faults` says of each of PARTS why it cannot, or None.

    Args:
        card: the compute capability of the GPU, [0, 0] for one of another maker, None without one.
        where: the file of the package that is found.
    """

    faults: Mapping[str, str | None]
    card: Sequence[int] | None
    where: str | None


def probe(folder: Path, environment: Mapping[str, str]) -> Found:
    """Ask a process of its own what can be imported in a folder and environment."""
    command = [sys.executable, "-c", _PROBE, *PARTS]
    try:
        done = subprocess.run(command, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return Found(dict.fromkeys(PARTS, f"no answer within {LIMIT:.0f} s"), None, None)
    if done.returncode:
        fault = _last_line(done.stderr)
        return Found(dict.fromkeys(PARTS, fault), None, None)
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment in which the package of a folder comes first, and this repository after it."""
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths)))}


def stage(folder: Path) -> None:
    """Put the Python sources where an installation has them, as pyproject.toml says."""
    import tomllib  # Python 3.11 has it; who runs what is installed needs no staging

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "kernels")
    for name, source in project["tool"]["scikit-build"]["wheel"]["packages"].items():
        shutil.copytree(ROOT / source, folder / name, ignore=ignore, dirs_exist_ok=True)


def build(folder: Path, card: Sequence[int] | None, cuda: bool, limit: float = LIMIT) -> str | None:
    """Build the extension into a staged folder, with CUDA for one card or without; return what went wrong."""
    missing = [tool for tool in ("cmake", "ninja", *(["nvcc"] if cuda else [])) if tool_path(tool) is None]
    if missing:
        return f"missing: {', '.join(missing)}"
    with tempfile.TemporaryDirectory(prefix="sdfast-build-") as place:
        pybind11 = pybind11_folder(Path(place))
        if pybind11 is None:
            return "missing: pybind11, and torch has no headers of it"
        settings = ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_MAKE_PROGRAM={tool_path('ninja')}"]
        settings += [f"-Dpybind11_DIR={pybind11}", f"-DPython_EXECUTABLE={sys.executable}"]
        settings.append(f"-DSDFAST_CUDA={'ON' if cuda else 'OFF'}")
        if cuda:
            settings += [
                f"-DCMAKE_CUDA_ARCHITECTURES={card[0]}{card[1]}-real",
                f"-DCMAKE_CUDA_COMPILER={tool_path('nvcc')}",
            ]
        built, cmake = f"{place}/build", tool_path("cmake")
        steps = (
            [cmake, "-S", str(ROOT), "-B", built, "-G", "Ninja", *settings],
            [cmake, "--build", built],
            [cmake, "--install", built, "--prefix", str(folder)],
        )
        end = time.monotonic() + limit
        for step in steps:
            code, told = _run(step, end - time.monotonic())
            if code is None:
                return f"not built within {limit:.0f} s"
            if code:
                return f"{' '.join(step[1:2])}: {told}"
    return None


def tool_path(name: str) -> str | None:
    """Return the path of a tool: beside this Python, on the PATH, or where CUDA is installed."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    if "CUDA_HOME" in os.environ:
        places.append(os.path.join(os.environ["CUDA_HOME"], "bin"))
    return shutil.which(name, path=os.pathsep.join(places))


def pybind11_folder(place: Path) -> Path | None:
    """Return the folder of pybind11's CMake configuration; without pybind11 one that finds torch's headers of it."""
    try:
        import pybind11

        return Path(pybind11.get_cmake_dir())
    except ImportError:
        import torch

    headers = Path(torch.__file__).parent / "include"
    if not (headers / "pybind11" / "pybind11.h").exists():
        return None
    found = place / "pybind11"
    found.mkdir()
    (found / "pybind11Config.cmake").write_text(_PYBIND11_CONFIG.format(headers=headers), encoding="utf-8")
    return found


def _run(command: Sequence[str], limit: float) -> tuple[int | None, str]:
    """Return the exit code of a command, None where it took too long, and what it told."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=max(0.0, limit))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with its compilers
        process.communicate()
        return None, ""
    return process.returncode, _told(output)


def _told(output: str) -> str:
    """Return the first lines that name an error, or the last ones."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return " / ".join(errors[:3] or lines[-3:])[:500]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it has printed nothing"])[-1]
