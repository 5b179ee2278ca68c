"""The package as an installation has it, from the source tree alone: built and installed into a folder."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.logbook import Logbook

ROOT = Path(__file__).parents[1]
LIMIT = 150.0  # seconds for a build


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment in which the package of a folder comes first, and this repository after it."""
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths)))}


def provide(cuda: bool, rehearses: bool, site: Path, log: Logbook) -> Path:
    """Return where to run: here, or in a folder `site` with what is missing here, which may be the CUDA kernels, too.

    Where they cannot be built, Triton's are measured alone; a rehearsal builds nothing.
    """
    wanted = ["sdfast", "sdfast.kernels", *(["sdfast._cuda"] if cuda else [])]
    lacking = [name for name in wanted if importlib.util.find_spec(name) is None]
    if not lacking:
        return ROOT
    print(f"no {', '.join(lacking)}: building from the source tree", flush=True)
    for with_cuda in () if rehearses else (True, False) if cuda else (False,):
        # For the card that is here, and no other.
        how = {"SDFAST_CUDA": "ON", "CMAKE_CUDA_ARCHITECTURES": "native"} if with_cuda else {"SDFAST_CUDA": "OFF"}
        name, begin = "with CUDA" if with_cuda else "without CUDA", time.time()
        fault = install(ROOT, site, LIMIT, **how)
        log.add("build", name=name, fault=fault, seconds=round(time.time() - begin, 1))
        print(f"built {name}" if fault is None else f"the build {name} failed: {fault}", flush=True)
        if fault is None:
            return site
    stage(site)
    return site


def install(source: Path, site: Path, limit: float | None = None, **settings: str) -> str | None:
    """Build a tree from nothing, with settings of CMake, into a folder; return what went wrong, or took too long."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    defined = {"build-dir": f"{site}-build", **{f"cmake.define.{name}": value for name, value in settings.items()}}
    how = [f"--config-settings={name}={value}" for name, value in defined.items()]
    cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), f"{cuda}/bin"]
    command = [*pip, "--no-build-isolation", *how, "--target", str(site), str(source)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {**os.environ, "PATH": os.pathsep.join(paths)}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    try:
        told, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with its compilers
        process.communicate()
        return f"not built within {limit:.0f} s"
    if process.returncode == 0:
        return None
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return " / ".join(errors[:3] or lines[-3:])[:500] or "it has printed nothing"


def stage(folder: Path) -> None:
    """Put the Python sources where an installation has them, with the kernels inside the package."""
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "kernels")
    shutil.copytree(ROOT / "sdfast", folder / "sdfast", ignore=ignore, dirs_exist_ok=True)
    shutil.copytree(ROOT / "kernels", folder / "sdfast" / "kernels", ignore=ignore, dirs_exist_ok=True)
