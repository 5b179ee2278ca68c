"""All jobs of an experiment, in processes of one thread each."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, TypeVar

from tqdm import tqdm

from experiments.kept import Job, Kept, SomeRun

SomeJob = TypeVar("SomeJob", bound=Job)

_shared: dict[str, Any] = {}  # of a worker: the counter of steps, and whether to stop


class Stopped(Exception):
    """The experiment was called off in the middle of a run."""


def run_jobs(
    jobs: Sequence[SomeJob],
    make_run: Callable[[SomeJob, Callable[[], object]], SomeRun],
    processes: int,
    kept: Kept[SomeRun],
    progress: bool = True,
) -> list[SomeRun]:
    """Make the runs of all jobs.

    Args:
        jobs: in the order in which they are begun.
        make_run: makes the run of a job, and calls what it is given after each step; a function of a module, to be
            found by other processes.
        processes: how many runs there are at a time; the results do not depend on it.
        kept: where runs are kept, and taken from if they are there.
        progress: whether to show a bar.

    Returns:
        The runs, in the order of the jobs.
    """
    runs = {i: run for i, job in enumerate(jobs) if (run := kept.find(job))}
    todo = {i: job for i, job in enumerate(jobs) if i not in runs}
    with tqdm(
        total=sum(job.length for job in todo.values()), unit=" steps", disable=not progress, dynamic_ncols=True
    ) as bar:
        made = (
            ((i, make_run(job, bar.update)) for i, job in todo.items())
            if processes == 1 or len(todo) < 2
            else _in_processes(todo, make_run, min(processes, len(todo)), lambda steps: bar.update(steps - bar.n))
        )
        with contextlib.closing(made):
            for i, run in made:
                kept.add(jobs[i], run)
                runs[i] = run
    return [runs[i] for i in range(len(jobs))]


def _in_processes(
    jobs: Mapping[int, SomeJob], make_run: Callable, processes: int, show: Callable[[int], object]
) -> Iterator[tuple[int, Any]]:
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
            waiting = {pool.submit(make_run, job, _count_step): i for i, job in jobs.items()}
        while waiting:
            done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            show(steps.value)
            for future in done:
                yield waiting.pop(future), future.result()  # raises what the worker raised


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


def _count_step() -> None:
    if _shared["stop"].is_set():
        raise Stopped
    with _shared["steps"].get_lock():
        _shared["steps"].value += 1
