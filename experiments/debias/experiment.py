"""All rows over all seeds, in processes of one thread each."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any

from tqdm import tqdm

from experiments.debias.rows import Row
from experiments.debias.training import Run, Settings, train

_shared: dict[str, Any] = {}  # of a worker: the counter of steps, and whether to stop


class Stopped(Exception):
    """The experiment was called off in the middle of a run."""


def run_all(
    rows: Sequence[Row], seeds: Sequence[int], settings: Settings, processes: int = 1, progress: bool = True
) -> list[Run]:
    """Train every row with every seed.

    Args:
        rows: what to compare.
        seeds: what to repeat it with.
        settings: of each run.
        processes: how many runs there are at a time; the results do not depend on it.
        progress: whether to show a bar.

    Returns:
        The runs, row by row and seed by seed.
    """
    jobs = [(row, seed) for row in rows for seed in seeds]
    with tqdm(total=len(jobs) * settings.steps, unit=" steps", disable=not progress, dynamic_ncols=True) as bar:
        if processes == 1:
            return [train(row, seed, settings, bar.update) for row, seed in jobs]
        return _in_processes(jobs, settings, min(processes, len(jobs)), lambda steps: bar.update(steps - bar.n))


def _in_processes(
    jobs: Sequence[tuple[Row, int]], settings: Settings, processes: int, show: Callable[[int], object]
) -> list[Run]:
    # Spawned: the threads of torch do not survive a fork.
    context = multiprocessing.get_context("spawn")

    def call_off() -> None:
        stop.set()
        pool.shutdown(cancel_futures=True)

    with contextlib.ExitStack() as stack:
        with _interrupts_deferred():  # the processes are told when to stop
            steps, stop = context.Value("q", 0), context.Event()
            pool = stack.enter_context(ProcessPoolExecutor(processes, context, _start_worker, (steps, stop)))
            stack.callback(call_off)  # of what is left when the block ends
            futures = [pool.submit(_train, row, seed, settings) for row, seed in jobs]
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            show(steps.value)
            for future in done:
                future.result()  # raises what the worker raised
    return [future.result() for future in futures]


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold interrupts back to the end of the block, and for good from the processes that are started in it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where no interrupt arrives
        return
    caught: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # processes inherit this, and no handler
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if caught:
        raise KeyboardInterrupt


def _start_worker(steps: Any, stop: Any) -> None:
    _shared.update(steps=steps, stop=stop)


def _train(row: Row, seed: int, settings: Settings) -> Run:
    return train(row, seed, settings, _count_step)


def _count_step() -> None:
    if _shared["stop"].is_set():
        raise Stopped
    with _shared["steps"].get_lock():
        _shared["steps"].value += 1
