"""The machine that was measured on."""

import datetime
import functools
import os
import platform
from pathlib import Path

import torch

import sdfast
from sdfast.backends import table as backends


@functools.cache
def describe_machine() -> dict[str, str]:
    """Return what decides the figures, and how busy the machine was when this was first asked."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "cpu": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "isa": backends.load("cpu").isa(),
        "torch": torch.__version__,
        "sdfast": sdfast.__version__,
        "python": platform.python_version(),
        "load": load,
        "date": datetime.date.today().isoformat(),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
