"""How programs are launched: how many threads and registers they have, and how many multiprocessors they share."""

import torch
import triton
from torch import Tensor

THREADS = 128  # of a program


def processors(x: Tensor) -> int:
    """Return the number of multiprocessors of the device of x; the interpreter pretends to eight."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 8


def on_nvidia(x: Tensor) -> bool:
    """Return whether kernels on x run on a GPU of NVIDIA, to which the interpreter pretends."""
    if triton.knobs.runtime.interpret or x.is_cuda:
        return not torch.version.hip
    backend: str = triton.runtime.driver.active.get_current_target().backend
    return backend == "cuda"


# Capabilities and architectures whose float64 is at least half as fast as float32; elsewhere it takes 16 to 64 times as
# long.
FAST_DOUBLE = {60, 70, 72, 80, 90, 100, "gfx908", "gfx90a", "gfx942", "gfx950"}


def sums_doubles(x: Tensor) -> bool:
    """Return whether the GPU of x sums float64 about as fast as it reads; the interpreter pretends to."""
    if triton.knobs.runtime.interpret:
        return True
    arch: int | str = triton.runtime.driver.active.get_current_target().arch
    return arch in FAST_DOUBLE


def options(x: Tensor, threads: int = THREADS, fused: bool = True) -> dict[str, int]:
    """Return the launch options by which programs have so many threads, and products are fused with sums or are not."""
    warp = 32 if on_nvidia(x) else triton.runtime.driver.active.get_current_target().warp_size  # AMD's may be 64 wide
    return {"num_warps": threads // warp, "enable_fp_fusion": fused}


def registers(x: Tensor) -> dict[str, int]:
    """Return the launch option that leaves a thread all registers.

    NVIDIA's assembler would otherwise move some to memory, for more programs to run at once. AMD's has no such option.
    """
    return {"maxnreg": 255} if on_nvidia(x) else {}
