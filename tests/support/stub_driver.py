"""The host's part of a call: Triton's own launcher on a driver that does nothing, so that CPU tensors will do.

Run as a script where `TRITON_LIBCUDA_PATH` and `LD_LIBRARY_PATH` lead to the stub; prints seconds a call as JSON:
planned once, and planned anew in each call, in turn.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import CudaDriver, CudaUtils

STUB = Path(__file__).with_name("stub_cuda.c")
ROUNDS, CALLS = 11, 40


class StubDriver(CudaDriver):
    """Triton's driver for an H100, without a device of torch's behind it."""

    def __init__(self):
        self.utils = CudaUtils()
        self.launcher_cls = triton.backends.nvidia.driver.CudaLauncher

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def seconds(folder: Path) -> dict[str, dict[str, float]]:
    """Build the stub and run this script on it."""
    include = Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-I", include, STUB, "-o", library], check=True, capture_output=True)
    folders = {"TRITON_LIBCUDA_PATH": str(folder), "LD_LIBRARY_PATH": str(folder), "TRITON_CACHE_DIR": str(folder)}
    environment = {**os.environ, **folders, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def calls() -> dict:
    """Return calls that users make most, as backends are handed them."""
    from sdfast import kernels

    x, labels, seed = torch.zeros(32, 64, 4, 7, 7), torch.zeros(32, dtype=torch.int64), torch.tensor(0)
    rows, large, out = torch.zeros(32, 512), torch.empty(512, 64, 8, 7, 7), torch.empty(32, 64, 4, 7, 7)
    mask = torch.zeros(32, 2, 4, 4)
    return {
        "rows": lambda: kernels.channel_bias(rows, rows, None, 1, 1, True, True),
        "labelled": lambda: kernels.channel_bias(x, x, labels, 2, 1, True, True),
        "in two launches": lambda: kernels.channel_bias(large, large, labels[:1].expand(512), 2, 1, True, True),
        "dropout": lambda: kernels.static_dropout(x, out, seed, 0.5, mask, None, 2, False, 1),
        "pairwise": lambda: kernels.pairwise_correlation(rows, rows),
    }


def main() -> None:
    triton.runtime.driver.set_active(StubDriver())
    from sdfast.kernels import plan

    def timed(call, again: bool) -> float:
        begin = time.perf_counter()
        for _ in range(CALLS):
            if again:
                plan._plans.clear()
            call()
        return (time.perf_counter() - begin) / CALLS

    found = {}
    for name, call in calls().items():
        for _ in range(3):
            call()
        rounds = [(timed(call, True), timed(call, False)) for _ in range(ROUNDS)]
        anew, once = zip(*rounds, strict=True)
        ratio = statistics.median(a / b for a, b in rounds)
        found[name] = {"anew": statistics.median(anew), "once": statistics.median(once), "ratio": ratio}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
