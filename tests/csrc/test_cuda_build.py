"""What nvcc makes of the CUDA kernels for every GPU generation: no spills, 16-byte loads; and the module."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.cuda_modes import CSRC, KERNELS, ROOT, compile_all

pytestmark = pytest.mark.slow  # nvcc compiles every kernel for three generations

TARGETS = ("80", "90", "100")
# Kernels that read features 16 bytes at a time, and the fewest such loads: several in flight of each tensor.
VECTORS = {
    r"::rows_kernel<.*, [248]>": 8,
    r"::columns_kernel<.*, [248]>": 4,
    r"::pool_rows_kernel<.*, [248]>": 8,
    r"::pool_columns_kernel<.*, [248]>": 8,
    r"::vector_rows<double>": 4,
    r"::vector_rows<(float|sdfast::Half|sdfast::BFloat16)>": 2,
    r"::vector_columns<": 8,
    r"::product_kernel<.*, true>": 2,
}
UNFUSED = re.compile(r"static_dropout_(rows|columns)")


def nvcc() -> str:
    """Return the path of the CUDA compiler, or skip."""
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if found is None:
        pytest.skip("needs nvcc")
    return found


def tool(name: str) -> str:
    """Return the path of a CUDA tool that Triton's package carries, or skip."""
    triton = pytest.importorskip("triton", reason="reading machine code needs the cuobjdump of triton's package")
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    if not path.exists():
        pytest.skip(f"needs {name}")
    return str(path)


def readable(mangled: str) -> str:
    """Return the C++ names in a text."""
    filter_ = shutil.which("c++filt")
    if filter_ is None:
        pytest.skip("needs c++filt")
    return subprocess.run([filter_], input=mangled, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=TARGETS)
def compiled(request, tmp_path_factory):
    """Compile every kernel for a target; give (target, folder, {source: the compiler's report})."""
    folder = tmp_path_factory.mktemp(f"sm_{request.param}")
    fixed = f"-std=c++17 -O3 -cubin -Xptxas -v -Werror=all-warnings -arch=sm_{request.param}"
    reports = {}
    for unfused in (True, False):
        sources = [path for path in KERNELS if bool(UNFUSED.match(path.stem)) == unfused]
        command = [nvcc(), *fixed.split(), f"-I{CSRC}", *(["-fmad=false"] if unfused else [])]
        reports |= compile_all(command, sources, folder, ".cubin")
    return request.param, folder, reports


def test_no_kernel_spills_or_has_a_stack_frame(compiled):
    """Neither of which a kernel could afford: both are memory traffic of every thread."""
    for source, report in compiled[2].items():
        frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
        registers = [int(number) for number in re.findall(r"Used (\d+) registers", report)]
        assert len(frames) == len(registers) > 0, f"{source.name}: no report\n{report}"
        assert set(frames) == {("0", "0", "0")}, f"{source.name}:\n{readable(report)}"


def functions(target: str, cubin: Path) -> dict[str, str]:
    """Return the machine code of each kernel by its readable name."""
    listing = subprocess.run([tool("cuobjdump"), "-sass", str(cubin)], capture_output=True, text=True, check=True)
    parts = re.split(r"^\s*Function : (\S+)$", listing.stdout, flags=re.MULTILINE)
    assert len(parts) > 2, f"sm_{target}: no machine code"
    return {readable(name).strip(): code for name, code in zip(parts[1::2], parts[2::2], strict=True)}


def test_kernels_bound_by_memory_load_16_bytes_at_a_time(compiled):
    target, folder, reports = compiled
    seen = dict.fromkeys(VECTORS, 0)
    for source in reports:
        for name, code in functions(target, folder / f"{source.name}.cubin").items():
            assert not re.search(r"\b(LDL|STL)\b", code), f"{name} has local memory"
            for pattern in (pattern for pattern in VECTORS if re.search(pattern, name)):
                seen[pattern] += 1
                loads = re.findall(r"\bLDG\.E\S*\.128\b", code)
                assert len(loads) >= VECTORS[pattern], f"{name} for sm_{target}: {len(loads)} loads of 16 bytes"
                if "vector_" in name:
                    assert re.search(r"\bSTG\.E\S*\.128\b", code), f"{name} for sm_{target} stores less than 16 bytes"
    assert list(seen.values()) == [4, 4, 4, 4, 1, 3, 4, 2], "one kernel a dtype"


def test_what_is_dropped_is_decided_without_fused_multiply_adds(tmp_path):
    """These would round thresholds and scaled elements differently than a CPU does."""
    command = [nvcc(), "-std=c++17", "-ptx", "-arch=sm_90", f"-I{CSRC}", "-fmad=false"]
    sources = [path for path in KERNELS if UNFUSED.match(path.stem)]
    compile_all(command, sources, tmp_path, ".ptx")
    for source in sources:
        text = (tmp_path / f"{source.name}.ptx").read_text()
        assert "mul.f32" in text or "mul.rn.f32" in text
        assert not re.search(r"\bfma\.rn\.f(32|64)", text), source.name


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> Path:
    """Build sdfast._cuda with CMake for one GPU generation; warnings are errors."""
    cmake = shutil.which("cmake") or pytest.skip("needs cmake")
    pybind11 = pytest.importorskip("pybind11", reason="needs pybind11")
    folder = tmp_path_factory.mktemp("module")
    settings = {
        "SDFAST_CUDA": "ON",
        "SDFAST_WERROR": "ON",
        "CMAKE_CUDA_COMPILER": nvcc(),
        "CMAKE_CUDA_ARCHITECTURES": "90-real",
        "CMAKE_BUILD_TYPE": "Release",
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "Python_EXECUTABLE": sys.executable,
    }
    defines = [f"-D{name}={value}" for name, value in settings.items()]
    for command in (
        [cmake, "-S", str(ROOT), "-B", str(folder), *defines],
        [cmake, "--build", str(folder), "--target", "_cuda", "-j", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert command[1] == "--build" or re.search(r"compiling \d+ files .* about \d+ minutes", done.stderr)
    return next(folder.glob("_cuda.*.so"))


def test_the_module_links_neither_torch_nor_a_driver(module):
    readelf = shutil.which("readelf") or pytest.skip("needs readelf")
    listed = subprocess.run([readelf, "--dynamic", "--wide", str(module)], capture_output=True, text=True, check=True)
    linked = set(re.findall(r"NEEDED.*\[(.+?)\.so", listed.stdout))
    assert "libc" in linked
    assert linked <= {"libc", "libm", "libgcc_s", "libstdc++", "libpthread", "libdl", "librt", "ld-linux-x86-64"}
    assert not re.search(r"R(UN)?PATH", listed.stdout)


def test_the_module_is_imported_without_a_driver_and_refuses_tensors_of_the_cpu(module):
    code = (
        "import sys, torch\n"
        "import _cuda\n"
        "x = torch.ones(4, 2)\n"
        "for call in (lambda: _cuda.comoments(x, x, None, 1, 1, True),\n"
        "             lambda: _cuda.static_dropout(x, x, torch.tensor(1), 0.5, None, None, 0, True, 1)):\n"
        "    try:\n"
        "        call()\n"
        "    except ValueError as error:\n"
        "        assert 'expected tensors on a CUDA device' in str(error), error\n"
        "    else:\n"
        "        raise AssertionError('taken')\n"
        "assert (x == 1).all()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=module.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_launches_wait_for_nothing_and_can_be_captured():
    """What is called of CUDA's runtime neither allocates nor synchronises; memory is torch's."""
    code = "".join(path.read_text() for path in [*(CSRC / "bind").glob("*cuda.cpp"), *(CSRC / "cuda").iterdir()])
    called = set(re.findall(r"\bcu(?:da)?[A-Z]\w*(?=\()", code))
    reads = {"cudaGetDevice", "cudaDeviceGetAttribute", "cudaGetLastError", "cudaGetErrorName", "cudaGetErrorString"}
    assert called == {*reads, "cudaSetDevice", "cudaLaunchKernelEx"}


def test_a_gpu_without_code_is_told_how_to_get_it(tmp_path):
    no_kernel_image = 209
    program = tmp_path / "program.cpp"
    program.write_text(
        '#include <cstdio>\n#include "cuda/runtime.h"\n'
        f"int main() try {{ sdfast::cuda::check({no_kernel_image}); }}\n"
        "catch (const std::runtime_error& error) { std::puts(error.what()); }\n"
    )
    sources = [str(program), str(CSRC / "cuda" / "runtime.cpp")]
    subprocess.run([nvcc(), "-std=c++17", f"-I{CSRC}", *sources, "-o", str(tmp_path / "program")], check=True)
    said = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True).stdout
    assert "cudaErrorNoKernelImageForDevice" in said and "CMAKE_CUDA_ARCHITECTURES=native" in said


def test_cmake_says_what_is_missing_where_cuda_is_asked_for_in_vain(tmp_path):
    cmake = shutil.which("cmake") or pytest.skip("needs cmake")
    pybind11 = pytest.importorskip("pybind11", reason="needs pybind11")
    hidden = ["-DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    command = [cmake, "-S", str(ROOT), f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", *hidden]
    asked = subprocess.run([*command, "-B", str(tmp_path / "on"), "-DSDFAST_CUDA=ON"], capture_output=True, text=True)
    assert asked.returncode != 0 and "SDFAST_CUDA=ON: no CUDA toolkit" in asked.stderr, asked.stderr
    auto = subprocess.run(
        [*command, "-B", str(tmp_path / "auto"), "-DSDFAST_CUDA=AUTO"], capture_output=True, text=True
    )
    assert auto.returncode == 0 and "without CUDA kernels" in auto.stdout, auto.stderr


def test_a_gpu_is_not_waited_for_and_launches_are_captured():
    """Inputs on the GPU, results of a replayed graph."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    cuda = pytest.importorskip("sdfast._cuda")
    a, b = torch.randn(2, 64, 16, 500, device="cuda")
    x, seed = torch.randn(8, 16, 100, device="cuda"), torch.tensor(5, device="cuda")

    def work():
        bias = cuda.channel_bias(a, b, None, 1, 1, True, True)
        out = torch.empty_like(x)
        cuda.static_dropout(x, out, seed, 0.5, None, None, 0, True, 1)
        return *bias, out

    expected = [result.clone() for result in work()]
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = work()
    for _ in range(3):
        graph.replay()
        assert all(torch.equal(result, truth) for result, truth in zip(results, expected, strict=True))
