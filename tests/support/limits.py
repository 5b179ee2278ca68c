"""What is done with hostile files in a process of its own, which may take little more memory than it has."""

import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any


def bounded(function: Callable[..., Any], *args: Any, megabytes: int = 128) -> Any:
    """Call a function in a forked process whose address space may grow by so much; return or raise what it does."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_call, args=(theirs, megabytes, function, args))
    child.start()
    theirs.close()
    try:
        raised, found = ours.recv()
    except EOFError:
        child.join()
        raise AssertionError(f"the process died with {child.exitcode}") from None
    child.join()
    if raised:
        raise found
    return found


def limit_memory(megabytes: int) -> None:
    """Let the address space of this process grow by so much and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _call(answers: Any, megabytes: int, function: Callable[..., Any], args: tuple) -> None:
    limit_memory(megabytes)
    try:
        answer = False, function(*args)
    except Exception as error:
        answer = True, error
    answers.send(answer)
