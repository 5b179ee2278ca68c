"""What is built and shipped: versions, the source distribution, the wheel made from it, and what the extension links.

`make wheels` builds and checks the wheels for all Pythons.
"""

import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy
import pytest
import torch

import sdfast
import sdfast.kernels
from tests.support.paths import ROOT, is_unpacked

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LIMIT = 1_000_000  # bytes


def run(*args, **kwargs) -> str:
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """Build the source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    run(
        sys.executable, "-c", f"from scikit_build_core.build import build_sdist; build_sdist({str(folder)!r})", cwd=ROOT
    )
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist) -> Path:
    """Build a wheel from the source distribution, as `pip install sdfast` does; warnings are errors here."""
    folder = sdist.parent / "wheel"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation")
    define = "--config-settings=cmake.define."  # what is for GPUs, test_cuda_build builds
    run(*pip, f"{define}SDFAST_WERROR=ON", f"{define}SDFAST_CUDA=OFF", "--wheel-dir", folder, sdist, cwd=sdist.parent)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel) -> Path:
    folder = wheel.parent / "unpacked"
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_sdist_holds_what_a_build_needs_and_nothing_built(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "csrc/bind/module.cpp", "kernels/__init__.py"}
    needed |= {"cmake/cuda.cmake", "csrc/cuda/comoments_rows.cu"}
    assert needed <= names
    assert {name for name in names if name.startswith("tests/data/")}
    assert sdist.stat().st_size < LIMIT
    assert not [name for name in names if re.search(r"\.so$|__pycache__|^build/|^\.venv|^sdfast-report", name)]


@pytest.mark.slow
def test_wheel_holds_the_package_its_kernels_and_its_extension(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"sdfast/__init__.py", "sdfast/kernels/__init__.py", "sdfast/_C.pyi", "sdfast/py.typed"} <= set(names)
    assert [name for name in names if re.fullmatch(r"sdfast/_C\..*\.so", name)]
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sdfast"}
    assert not [name for name in names if re.search(r"\.(cpp|h|cu|cuh)$|csrc|__pycache__", name)]
    assert len([name for name in names if ".so" in name]) == 1 and wheel.stat().st_size < LIMIT


@pytest.mark.slow
def test_extension_links_nothing_of_torch(unpacked):
    listed = run("readelf", "--dynamic", "--wide", next(unpacked.glob("sdfast/_C.*.so")))
    linked = set(re.findall(r"NEEDED.*\[(.+?)\.so", listed))
    assert "libc" in linked, listed
    assert linked <= {
        "libc",
        "libm",
        "libgcc_s",
        "libstdc++",
        "libgomp",
        "libpthread",
        "ld-linux-x86-64",
        "ld-linux-aarch64",
    }
    assert not re.search(r"R(UN)?PATH", listed)


@pytest.mark.slow
def test_wheel_works_on_its_own(unpacked, tmp_path):
    """Without site-packages' hooks, so that an editable install cannot stand in for it."""
    paths = [unpacked, Path(torch.__file__).parents[1], Path(numpy.__file__).parents[1], sysconfig.get_path("purelib")]
    code = (
        "import sdfast, sdfast.kernels, sdfast._C, torch\n"
        "x = torch.arange(8.).view(4, 2)\n"
        "assert sdfast.channel_bias(x, 2 * x).corr.tolist() == [1, 1]\n"
        "print(sdfast.__file__, sdfast.kernels.__file__, sdfast._C.__file__, sep='\\n')"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SDFAST_")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    files = run(sys.executable, "-S", "-c", code, cwd=tmp_path, env=environment).split()
    assert len(files) == 3 and all(Path(file).is_relative_to(unpacked) for file in files), files


def releases() -> list:
    """Return the versions that the changelog has headings for, less what is not released."""
    from packaging.version import Version

    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [Version(heading.split()[0]) for heading in headings if heading != "Unreleased"]


def test_version_changelog_and_tags_agree():
    from packaging.version import Version

    found = releases()
    assert found == sorted(set(found), reverse=True)
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    assert Version(PYPROJECT["tool"]["setuptools_scm"]["fallback_version"]) == found[0]
    tags = subprocess.run(["git", "tag", "--list", "v*"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert {Version(tag) for tag in tags} <= set(found)


def test_installed_metadata_matches():
    """Of the environment that runs the tests, usually an editable install."""
    from packaging.version import Version

    installed = importlib.metadata.distribution("sdfast")
    assert installed.version == sdfast.__version__ and Version(installed.version) >= releases()[0]
    assert Path(sdfast.kernels.__file__).name == "__init__.py"
    paths = [path for path in installed.files or [] if path.suffix == ".pth"]
    assert not [path for path in paths if str(ROOT.parent) in path.read_text().splitlines()], "more than the checkout"


def test_a_tree_without_installation_has_a_version():
    code = (
        "import importlib.metadata as m\n"
        "def version(name): raise m.PackageNotFoundError(name)\n"
        "import torch; m.version = version\n"
        "import sdfast; print(sdfast.__version__)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    assert run(sys.executable, "-c", code, cwd=ROOT, env=environment).strip() == "0.0+unknown"


def test_a_missing_compiler_is_named_in_one_line(tmp_path):
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or pytest.skip("no cmake")
    command = [cmake, "-S", str(ROOT), "-B", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "CXX": "/no/such/c++"}, capture_output=True, text=True)
    assert done.returncode != 0
    told = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith("See also")]
    assert told[1:] == [  # after where it is said
        "sdfast: no C++17 compiler was found: install g++, or set CXX",
        *[line for line in told if line.startswith("-- Configuring")],
    ], done.stderr
    assert "C++17 compiler" in PYPROJECT["tool"]["scikit-build"]["messages"]["after-failure"]  # what pip shows last


def test_wheels_are_for_every_python_that_is_promised():
    promised = [name.rsplit(" ", 1)[1] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    config = PYPROJECT["tool"]["cibuildwheel"]
    assert config["build"] == [f"cp{version.replace('.', '')}-*" for version in promised]
    assert PROJECT["requires-python"] == f">={promised[0]}"
    assert "--exclude libgomp.so.1" in config["linux"]["repair-wheel-command"]
    assert (ROOT / config["test-command"].split("{project}/")[1]).is_file()


def test_workflows_test_and_publish():
    if is_unpacked():
        pytest.skip("the source distribution leaves out the workflows")
    yaml = pytest.importorskip("yaml")
    test, wheels = (
        yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
        for name in ("test.yml", "wheels.yml")
    )
    assert {"run": ".ci/run"} in test["jobs"]["test"]["steps"]
    publish = wheels["jobs"]["publish"]
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')" and publish["permissions"] == {"id-token": "write"}
    assert set(publish["needs"]) == set(wheels["jobs"]) - {"publish"}
    assert wheels["permissions"] == test["permissions"] == {"contents": "read"}


def test_extras_and_pins_agree():
    """Every dependency has its one pin, and each pin is in the range the package asks for."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins)
    pinned = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins}
    assert len(pinned) == len(pins)
    assert pinned["torch"] == "2.13.0"

    build = PYPROJECT["build-system"]["requires"]
    extras = PROJECT["optional-dependencies"]
    assert set(extras) >= {"video", "plot", "demo", "test"}
    for asked in map(Requirement, [*PROJECT["dependencies"], *build, *itertools.chain(*extras.values())]):
        if asked.name != "sdfast":
            assert asked.specifier.contains(pinned[canonicalize_name(asked.name)]), asked
    assert not any(Requirement(line).name == "torch" for line in build), "torch is no build requirement"
