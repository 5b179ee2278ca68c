"""What a command has of the machine: cores, a device, a folder to write to, and other processes of its run."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from sdfast import backends
from sdfast.foundation import FolderLock, LockedError
from sdfast.measurement import Processes

JOIN = 600.0  # seconds in which all processes have loaded the model


def cores() -> int:
    """Return how many cores each process of a run may use, at least 1.

    >>> cores() >= 1
    True
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, found // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def find_device(name: str | None) -> torch.device:
    """Return the device to run on, by default the best there are kernels for; under torchrun each process its own.

    Raises:
        ValueError: it cannot be used.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    if name is None:
        try:
            backends.load(backends.chosen("comoments", "cuda"))
            name = "cuda" if torch.cuda.is_available() else "cpu"
        except backends.BackendError:
            name = "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", local)
        torch.zeros(1, device=device).item()  # a device that holds no data fails here, too
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device: {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def try_writing(out: Path, megabytes: int) -> None:
    """Make a folder, write to it for a try and ask for its space, so that a run fails now and not after hours.

    Raises:
        ValueError: the folder cannot be made or written to, or has no such space.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free >> 20
        if free < megabytes:
            raise OSError(errno.ENOSPC, f"No space left on device: {megabytes} MB may be needed, {free} are free")
        with tempfile.TemporaryFile(dir=out) as file:  # it has no name that another could know
            for _ in range(min(megabytes, 16)):  # a quota is not seen otherwise
                file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Blame `--out` for whatever cannot be written or removed inside the block, by a ValueError."""
    try:
        yield
    except LockedError:
        raise
    except OSError as error:
        raise ValueError(f"--out: cannot write to {out}: {error.strerror or error}") from error


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder: the first process does it for all, and the others wait until it has.

    Raises:
        ValueError: another run writes to it, or it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        with Processes(JOIN) as processes:
            if processes.rank == 0:
                try:
                    with writing_to(out):
                        stack.enter_context(FolderLock(out))
                except LockedError as error:
                    raise ValueError(f"--out: {error}") from error
            processes.wait("the lock of --out")
        yield


def restarted() -> bool:
    """Tell whether torchrun has started the processes anew, after one was gone: then the run goes on by itself."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


@contextlib.contextmanager
def joined_processes(device: torch.device) -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun has started, if it has; yield rank and number."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or "RANK" not in os.environ:
        yield 0, 1
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://"))
    # torchrun may keep one store over restarts: what processes that are gone have said in it is no more true.
    store = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()
