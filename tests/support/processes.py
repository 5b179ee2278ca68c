"""Processes that talk through gloo, and what each of them returned or raised."""

import contextlib
import multiprocessing
import socket
import time

import torch
import torch.distributed as dist


def _process(rank, world, port, function, args, settings, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    try:
        results.put((rank, function(rank, *args, **settings)))
    except BaseException as error:
        results.put((rank, error))
    with contextlib.suppress(RuntimeError):  # another may be gone
        dist.barrier()
        dist.destroy_process_group()


def on_two(function, *args, **settings):
    """Run a function in two gloo processes; return what each of them returned or raised."""
    return on_several(2, function, *args, **settings)


def on_several(world, function, *args, killed=(), within=60, **settings):
    """Run a function in several gloo processes; return what each returned or raised, None where it was to be killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    rest = (world, port, function, args, settings, results)
    processes = [context.Process(target=_process, args=(rank, *rest)) for rank in range(world)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + within
    found = [None] * world
    for _ in range(world - len(killed)):
        while results.empty() and time.monotonic() < deadline:
            time.sleep(0.005)
        if not results.empty():
            rank, found[rank] = results.get()
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    assert not late, "a process waits for ever"
    assert [process.exitcode for process in processes] == [-9 if rank in killed else 0 for rank in range(world)]
    return found
