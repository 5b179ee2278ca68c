"""Two processes that talk through gloo, and what each of them returned or raised."""

import multiprocessing
import socket
import time

import torch
import torch.distributed as dist


def _process(rank, port, function, args, settings, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        results.put((rank, function(rank, *args, **settings)))
    except BaseException as error:
        results.put((rank, error))
    dist.barrier()
    dist.destroy_process_group()


def on_two(function, *args, **settings):
    """Run a function in two gloo processes; return what each of them returned or raised."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    processes = [context.Process(target=_process, args=(r, port, function, args, settings, results)) for r in range(2)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 60
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    assert not late, "a process waits for ever"
    assert [process.exitcode for process in processes] == [0, 0]
    return [found for _, found in sorted((results.get() for _ in processes), key=lambda found: found[0])]
