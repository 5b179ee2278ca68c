"""What Nsight Compute counts in our kernels, where `ncu` is there: what share of the time is issued, and memory read.

`python -m benchmarks.counters` makes the calls that it looks at. No clock is set for it.
"""

import csv
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ISSUE, DRAM = "sm__inst_issued.avg.pct_of_peak_sustained_active", "dram__throughput.avg.pct_of_peak_sustained_elapsed"
_TIME = "gpu__time_duration.sum"
_OURS = "regex:comoments|pool_|drop|product|rows_kernel|columns_kernel|vector_"
_PAIRS, _SAMPLE = 1000, (256, 8, 7, 7)  # 0.4 GB of bfloat16 each


def count(folder: Path, environment: Mapping[str, str], limit: float) -> tuple[list[dict], str | None]:
    """Return the counters of each kernel of ours that the calls launch, and why there are none."""
    ncu = shutil.which("ncu") or shutil.which("ncu", path="/usr/local/cuda/bin")
    if ncu is None:
        return [], "there is no ncu"
    how = ["--csv", "--clock-control", "none", "--metrics", ",".join((ISSUE, DRAM, _TIME)), "--kernel-name", _OURS]
    command = [ncu, *how, sys.executable, "-m", "benchmarks.counters"]
    try:
        done = subprocess.run(command, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return [], f"ncu has taken more than {limit:.0f} s"
    found = counters_of(done.stdout)
    lines = (done.stdout + done.stderr).strip().splitlines() or [f"ncu has ended with exit code {done.returncode}"]
    return found, None if found else next((line for line in lines if "ERR" in line.upper()), lines[-1])[:300]


def counters_of(told: str) -> list[dict]:
    """Return a line a kernel from what ncu writes with --csv: a line a kernel and metric, after its own words."""
    lines = told.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    kernels: dict[str, dict] = {}
    for row in csv.DictReader(lines[first:]):
        kernel = kernels.setdefault(row["ID"], {"name": row["Kernel Name"]})
        kernel[row["Metric Name"]] = float(row["Metric Value"].replace(",", ""))
        if row["Metric Name"] == _TIME:
            kernel["unit"] = row["Metric Unit"]
    return list(kernels.values())


def main() -> None:
    """Make the calls, each once by Triton and by CUDA; a backend that is missing is left out."""
    import torch

    import sdfast
    from tests.support.features import channels_last

    a, b = torch.randn(2, _PAIRS, *_SAMPLE, device="cuda", dtype=torch.bfloat16)
    wide_a, wide_b = a[: _PAIRS // 2].float(), b[: _PAIRS // 2].float()
    labels, mask = torch.arange(_PAIRS, device="cuda") % 2, torch.rand(_PAIRS, 2, 4, 4, device="cuda")
    weight, seed = torch.rand(_SAMPLE[0], device="cuda"), torch.tensor(0, device="cuda")
    rows = torch.randn(2, 16384, 2048, device="cuda")
    for backend in ("triton", "cuda"):
        try:
            with sdfast.use_backend(backend):
                for x, y in ((a, b), (channels_last(a), channels_last(b)), (wide_a, wide_b)):
                    sdfast.channel_bias(x, y, pool=False)
                sdfast.channel_bias(a, b, labels)
                sdfast.static_dropout(a, mask=mask, channel_weight=weight, seed=seed)
                sdfast.pairwise_correlation(*rows)
        except sdfast.BackendError as missing:
            print(missing, file=sys.stderr)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
