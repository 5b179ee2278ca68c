"""`sdfast info`: what is installed, what runs here, what is missing and how to get it."""

import argparse
import importlib.util
import json
import os
import platform
from typing import Any

import torch

from sdfast.backends import BackendError, load, names
from sdfast.commands.arguments import Subparsers
from sdfast.foundation import OPTIONAL, how_to_get


def register(subparsers: Subparsers) -> None:
    """Add `info` to the subcommands."""
    command = subparsers.add_parser("info", help="say what is installed and what runs here")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print what `collect` finds."""
    found = collect()
    print(json.dumps(found, indent=1) if args.json else _format(found))


def collect() -> dict[str, Any]:
    """Return what is installed and what runs here, as JSON values.

    >>> found = collect()
    >>> sorted(found)
    ['backends', 'instruction_sets', 'missing', 'packages', 'python', 'system', 'threads', 'torch', 'version']
    """
    from sdfast import __version__

    backends, missing = {}, {}
    for name in names():
        try:
            load(name)
            backends[name] = _state(name)
        except BackendError as error:
            backends[name] = "missing"
            missing[f"backend {name}"] = str(error).removeprefix(f"backend {name!r}: ")
    packages = {name: importlib.util.find_spec(name) is not None for name in OPTIONAL}
    missing |= {name: how_to_get(name) for name, there in packages.items() if not there}
    return {
        "version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}, {_devices()}",
        "threads": torch.get_num_threads(),
        "instruction_sets": _instruction_sets(),
        "backends": backends,
        "packages": packages,
        "missing": missing,
    }


def _state(name: str) -> str:
    """Return what a backend that can be loaded can do here."""
    if name == "cuda" and torch.version.hip:
        return "not for AMD GPUs"
    needs_gpu = name in ("triton", "cuda")
    return "ready (no GPU here)" if needs_gpu and not torch.cuda.is_available() else "ready"


def _devices() -> str:
    cores = f"{os.cpu_count()} cores"
    return ", ".join([cores, *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))])


def _instruction_sets() -> dict[str, Any]:
    try:
        extension = load("cpu")
    except BackendError:
        return {"available": [], "in_use": None}
    return {"available": list(extension.available_isas()), "in_use": extension.isa()}


def _format(found: dict[str, Any]) -> str:
    sets = found["instruction_sets"]
    rows = {
        "sdfast": found["version"],
        "Python": found["python"],
        "torch": found["torch"],
        "system": found["system"],
        "threads": found["threads"],
        "instruction sets": f"{', '.join(sets['available']) or 'none'} (in use: {sets['in_use']})",
        "backends": ", ".join(f"{name} {state}" for name, state in found["backends"].items()),
        "packages": ", ".join(name for name, there in found["packages"].items() if there) or "none",
    }
    lines = [f"{name:<17} {value}" for name, value in rows.items()]
    if found["missing"]:
        lines += ["missing", *(f"  {name}: {how}" for name, how in found["missing"].items())]
    return "\n".join(lines)
