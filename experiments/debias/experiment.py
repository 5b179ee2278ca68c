"""All rows over all seeds and settings, in processes of one thread each, kept as they come."""

import contextlib
import json
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.debias.rows import Row
from experiments.debias.settings import Settings
from experiments.debias.training import Run, train
from sdfast.report import plain

_shared: dict[str, Any] = {}  # of a worker: the counter of steps, and whether to stop


class Stopped(Exception):
    """The experiment was called off in the middle of a run."""


@dataclass(frozen=True)
class Job:
    """A run that is to be made."""

    row: Row
    seed: int
    settings: Settings

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values, which tell it from all others."""
        return plain({"row": self.row.settings(), "seed": self.seed, "settings": asdict(self.settings)})


class Kept:
    """A file of jobs and their runs, a line each, written when a run has ended.

    Args:
        path: of the file; None keeps nothing.
        resume: whether to start from what is in it; otherwise it is emptied.
    """

    def __init__(self, path: Path | None = None, resume: bool = False) -> None:
        self.path, self._found = path, {}
        whole = []
        for line in path.read_text(encoding="utf-8").splitlines() if path and resume and path.exists() else ():
            with contextlib.suppress(json.JSONDecodeError):  # a line that was cut off is done again
                found = json.loads(line)
                self._found[_key(found["job"])] = Run(**found["run"])
                whole.append(line + "\n")
        if path:
            path.write_text("".join(whole), encoding="utf-8")

    def find(self, job: Job) -> Run | None:
        """Return the run of a job, if there is one."""
        return self._found.get(_key(job.to_dict()))

    def add(self, job: Job, run: Run) -> None:
        """Keep a run."""
        if self.path:
            line = json.dumps({"job": job.to_dict(), "run": plain(run.to_dict())})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def run_all(jobs: Sequence[Job], processes: int = 1, kept: Kept | None = None, progress: bool = True) -> list[Run]:
    """Make the runs of all jobs.

    Args:
        jobs: in the order in which they are begun.
        processes: how many runs there are at a time; the results do not depend on it.
        kept: where runs are kept, and taken from if they are there.
        progress: whether to show a bar.

    Returns:
        The runs, in the order of the jobs.
    """
    kept = kept or Kept()
    runs = {i: run for i, job in enumerate(jobs) if (run := kept.find(job))}
    todo = {i: job for i, job in enumerate(jobs) if i not in runs}
    steps = sum(job.settings.length for job in todo.values())
    with tqdm(total=steps, unit=" steps", disable=not progress, dynamic_ncols=True) as bar:
        made = (
            ((i, train(job.row, job.seed, job.settings, bar.update)) for i, job in todo.items())
            if processes == 1 or len(todo) < 2
            else _in_processes(todo, min(processes, len(todo)), lambda steps: bar.update(steps - bar.n))
        )
        with contextlib.closing(made):
            for i, run in made:
                kept.add(jobs[i], run)
                runs[i] = run
    return [runs[i] for i in range(len(jobs))]


def _in_processes(jobs: Mapping[int, Job], processes: int, show: Callable[[int], object]) -> Iterator[tuple[int, Run]]:
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
            waiting = {pool.submit(_train, job): i for i, job in jobs.items()}
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


def _train(job: Job) -> Run:
    return train(job.row, job.seed, job.settings, _count_step)


def _count_step() -> None:
    if _shared["stop"].is_set():
        raise Stopped
    with _shared["steps"].get_lock():
        _shared["steps"].value += 1


def _key(job: Mapping[str, Any]) -> str:
    return json.dumps(job, sort_keys=True)
