"""`sdfast bench`: the operations on this machine, beside eager torch and what the machine can do."""

import argparse
import sys
from typing import Any

import torch

from sdfast.bench import OPERATIONS, Operation, interleave
from sdfast.commands.arguments import Subparsers, positive
from sdfast.commands.errors import RunError
from sdfast.commands.info import collect
from sdfast.commands.machine import find_device

_SECONDS = 0.5  # for all rounds of an operation
_OURS, _EAGER, _LIMIT = "sdfast", "eager torch", "limit"
_HEADER = ("operation", "features", "time", "eager / ours", "of the limit", "", "error")


def register(subparsers: Subparsers) -> None:
    """Add `bench` to the subcommands."""
    command = subparsers.add_parser(
        "bench",
        help="time the operations on this machine beside eager torch and its memory",
        description="Time the operations on this machine, each checked first, in turn with the same in eager torch and "
        "with a call that moves or multiplies as much and does nothing else. Medians; half a second and more each.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--device", help="cpu, cuda, cuda:1, ... (default: the best there are kernels for)")
    add("--threads", type=positive, metavar="N", help="on the CPU (default: as torch has it)")


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    """Check, time and print each operation; fail where an answer was wrong."""
    device, threads = find_device(args.device), torch.get_num_threads()
    torch.set_num_threads(args.threads or threads)
    try:
        wrong = _run(device)
    finally:
        torch.set_num_threads(threads)
    if wrong:
        raise RunError(f"wrong answers: {', '.join(wrong)}")


def _run(device: torch.device) -> list[str]:
    """Print the table and return what was wrong."""
    rows, wrong = [_HEADER], []
    for name, make in OPERATIONS.items():
        print(f"{name} ...", file=sys.stderr)
        operation = make(device)
        error = _error(operation)
        if error > operation.tolerance:
            wrong.append(name)
            rows.append((name, operation.shape, "WRONG", "", "", "", f"{error:.0e}"))
        else:
            rows.append((name, operation.shape, *_figures(operation, device), f"{error:.0e}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(_machine(device))
    return wrong


def _error(operation: Operation[Any]) -> float:
    if operation.settle is not None:
        operation.settle()
    return operation.error(operation.ours())


def _figures(operation: Operation[Any], device: torch.device) -> tuple[str, str, str, str]:
    wait = None if device.type == "cpu" else lambda: torch.accelerator.synchronize(device)
    calls = {_OURS: operation.ours, _EAGER: operation.eager}
    if operation.limit is not None:
        calls[_LIMIT] = operation.limit
    rounds = interleave(calls, settle=operation.settle, wait=wait, seconds=_SECONDS)
    times = f"{rounds.of(_OURS).median * 1e3:.3f} ms", f"{rounds.ratio(_EAGER, _OURS).median:.1f}x"
    if operation.limit is None:
        return *times, "", ""
    return *times, f"{rounds.ratio(_LIMIT, _OURS).median:.2f}", operation.limit_name


def _machine(device: torch.device) -> str:
    found = collect()
    sets = found["instruction_sets"]["in_use"]
    parts = f"{found['system']}", f"{torch.get_num_threads()} threads", f"instruction set {sets}"
    versions = f"torch {found['torch']}", f"sdfast {found['version']}"
    return f"on {device}: " + ", ".join((*parts, *versions))
