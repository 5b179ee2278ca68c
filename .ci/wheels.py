"""Build and check the wheels that cibuildwheel's configuration names, with this machine's Pythons and no containers.

What comes out runs here and on newer systems; a release is built by .github/workflows/wheels.yml, in containers that
are older. Wheels for ARM are cross-compiled, and checked where --emulated tells how to run a Python for ARM.
"""

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECK = Path(__file__).with_name("check_installation.py")
LIMIT = 1_000_000  # bytes of a wheel
# Torch brings it: a second one in the process would be a second pool of threads, which torch's settings do not reach.
OPENMP = "libgomp.so.1"
HAS_HEADERS = """
import pathlib, sys, sysconfig
print(*sys.version_info[:2], pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())
"""


def run(*command: object) -> str:
    """Run a command; return what it has printed, or end with it where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed: {shlex.join(words)}")
    return done.stdout


def version(python: Path) -> str | None:
    """Return "3.12", or None for what does not run or has no headers."""
    told = subprocess.run([python, "-c", HAS_HEADERS], capture_output=True, text=True)
    found = re.match(r"(\d+) (\d+) True", told.stdout)
    return found and f"{found[1]}.{found[2]}"


def pythons(given: list[Path]) -> dict[str, Path]:
    """Return {"3.12": interpreter} of those that were given, are on the path, or were installed by pyenv."""
    minors = range(10, 30)
    on_path = [shutil.which(f"python3.{minor}") for minor in minors]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    by_pyenv = [path for minor in minors for path in sorted(pyenv.glob(f"3.{minor}.*/bin/python3.{minor}"))]
    found = {}
    for python in (*given, *filter(None, on_path), *by_pyenv):
        if (name := version(Path(python))) is not None:
            found.setdefault(name, Path(python))
    return found


def built(source: Path, python: Path, machine: str, folder: Path) -> Path:
    """Build a wheel; what does not depend on the Python is compiled once, where there is ccache."""
    settings = {"cmake.define.SDFAST_WERROR": "ON"}
    if shutil.which("ccache"):
        settings["cmake.define.CMAKE_CXX_COMPILER_LAUNCHER"] = "ccache"
    if machine != platform.machine():
        name = "".join(version(python).split("."))
        settings |= {
            "cmake.define.CMAKE_SYSTEM_NAME": "Linux",
            "cmake.define.CMAKE_SYSTEM_PROCESSOR": machine,
            "cmake.define.CMAKE_CXX_COMPILER": f"{machine}-linux-gnu-g++",
            # Not in pip's environment, which would fetch a CMake for that machine.
            "env._PYTHON_HOST_PLATFORM": f"linux-{machine}",
            "cmake.define.PYTHON_MODULE_EXTENSION": f".cpython-{name}-{machine}-linux-gnu.so",
        }
    shutil.rmtree(folder, ignore_errors=True)
    given = [f"--config-settings={name}={value}" for name, value in settings.items()]
    run(sys.executable, "-m", "pip", "--python", python, "wheel", "--no-deps", *given, "-w", folder, source)
    return next(folder.glob("*.whl"))


def repaired(wheel: Path, out: Path) -> Path:
    """Give a wheel the oldest tag that its symbols allow, as auditwheel judges; print its verdict."""
    auditwheel = (sys.executable, "-m", "auditwheel")
    before = set(out.glob("*.whl"))
    run(*auditwheel, "repair", "--exclude", OPENMP, "-w", out, wheel)
    made = max(set(out.glob("*.whl")) - before or out.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    said = " ".join(run(*auditwheel, "show", made).split())
    versions = sorted(set(re.findall(r"'((?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)'", said)), key=_by_number)
    newest = {name.partition("_")[0]: name for name in versions}
    judged = re.search(r"constrains the platform tag to \"(\w+)\"", said)[1]
    print(f"{made.name}: {made.stat().st_size:,} bytes", flush=True)
    print(f"  auditwheel: {judged}, for {', '.join(newest.values())}", flush=True)
    return made


def _by_number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def check_content(wheel: Path) -> None:
    """The package, its kernels and one extension; no sources, no libraries, not too large."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sdfast"}, names
    assert {"sdfast/py.typed", "sdfast/_C.pyi", "sdfast/kernels/__init__.py"} <= set(names), names
    python, machine = re.search(r"-cp(\d+)-manylinux_\d+_\d+_(\w+)\.whl", wheel.name).groups()
    extension = f"sdfast/_C.cpython-{python}-{machine}-linux-gnu.so"
    assert [name for name in names if ".so" in name] == [extension], names
    assert wheel.stat().st_size < LIMIT, f"{wheel}: expected less than {LIMIT} bytes, got {wheel.stat().st_size}"


def check_here(wheel: Path, python: Path) -> None:
    """Install a wheel as a user does, and use it where neither sources nor a compiler are."""
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", "--without-pip", f"{folder}/venv")
        pip = (sys.executable, "-m", "pip", "--python", f"{folder}/venv")
        run(*pip, "install", "--no-compile", wheel)
        use(f"{folder}/venv/bin/python", folder=folder, environment={"PATH": f"{folder}/venv/bin"})


def check_emulated(wheel: Path, name: str, python: list[str]) -> None:
    """Install a wheel for another machine into a folder, and use it by a Python that an emulator runs."""
    with tempfile.TemporaryDirectory() as folder:
        minor, machine = re.search(r"manylinux_2_(\d+)_(\w+)\.whl", wheel.name).groups()
        older = [f"manylinux_2_{number}_{machine}" for number in range(int(minor), 4, -1)]
        where = [f"--platform={name}" for name in (*older, f"manylinux2014_{machine}")]
        pip = (sys.executable, "-m", "pip", "install", "--no-compile", "--only-binary=:all:", "--python-version", name)
        run(*pip, *where, "--target", folder, wheel)
        use(*python, folder=folder, environment={"PYTHONPATH": folder, "PATH": ""})


def use(*python: str, folder: str, environment: dict[str, str]) -> None:
    """Run the check by a Python that has the wheel, and print what it says."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run([*python, CHECK], cwd=folder, env=environment, **pipes)
    print("".join(f"  {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if done.returncode:
        sys.exit("failed: the wheel does not work")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", type=Path, default=[], help="interpreters besides those that are found")
    parser.add_argument("--emulated", nargs="+", type=shlex.split, default=[], metavar="COMMAND",
        help="runs a Python for another machine, such as 'qemu-aarch64 -L ROOT ROOT/usr/bin/python3.11'")  # fmt: skip
    parser.add_argument("--machines", nargs="+", default=["x86_64", "aarch64"], help="to build for (%(default)s)")
    parser.add_argument("--no-install", action="store_true", help="check what is in the wheels, and install none")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="for the wheels (%(default)s)")
    args = parser.parse_args()

    out, work = args.out.resolve(), ROOT / "build" / "wheels"
    shutil.rmtree(work, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", work, ROOT)
    sdist = next(work.glob("*.tar.gz"))
    print(f"{sdist.name}: {sdist.stat().st_size:,} bytes", flush=True)
    shutil.copy2(sdist, out)
    shutil.unpack_archive(sdist, work)
    # One path for every version, so that ccache knows the sources again.
    source = (work / sdist.name.removesuffix(".tar.gz")).rename(work / "source")

    found, missing = pythons(args.python), []
    emulated = {run(*command, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip(): command
                for command in args.emulated}  # fmt: skip
    archs = ("--platform", "linux", "--archs", ",".join(args.machines))
    for name in run(sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", *archs, source).split():
        number, machine = re.fullmatch(r"cp3(\d+)-manylinux_(\w+)", name).groups()
        python = found.get(f"3.{number}")
        native = machine == platform.machine()
        if python is None:
            missing.append(f"{name}: not built: no Python 3.{number} with its headers was found; see --python")
        elif not native and shutil.which(f"{machine}-linux-gnu-g++") is None:
            missing.append(f"{name}: not built: no {machine}-linux-gnu-g++ was found")
        else:
            wheel = repaired(built(source, python, machine, work / name), out)
            check_content(wheel)
            if args.no_install:
                missing.append(f"{name}: not installed: as asked for")
            elif native:
                check_here(wheel, python)
            elif f"3.{number}" in emulated:
                check_emulated(wheel, f"3.{number}", emulated[f"3.{number}"])
            else:
                missing.append(f"{name}: built, not run: no Python 3.{number} for {machine}; see --emulated")
    print("\n".join(missing))


if __name__ == "__main__":
    main()
