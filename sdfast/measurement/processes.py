"""The processes of a distributed measurement: who they are, what they tell each other, and who is missing."""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor

from sdfast.measurement.watch import FAILED, Watch

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

JOIN = 30.0  # seconds
TIMEOUT = 45.0  # seconds
_ABANDONED = "abandoned"
_POLL = 0.002, 0.2  # seconds from one question to the next: more and more
_next = 0  # the number of the next measurement


class PeerError(RuntimeError):
    """Another process of the same measurement has failed, is gone or stuck, or never began."""


class Processes:
    """Keep the processes of the default group informed of each other, through the group's key-value store.

    Collectives alone would leave the others waiting when one process raises or dies. What is sent from process to
    process is sent when both are known to be there. With one process, or without `torch.distributed`, everything here
    is free.

    Args:
        distributed: whether the processes measure together; a number is the seconds in which all have to begin.
        timeout: seconds without a sign of life of a process after which it is given up. Default: those that the
            variable SDFAST_TIMEOUT says, or 45.

    Attributes:
        rank: which process this is.
        world: how many there are.
        watch: what this process tells of itself.

    Raises:
        TypeError: `distributed` is neither a bool nor a number.
        ValueError: it is no positive number, or `timeout` is none.
    """

    def __init__(self, distributed: bool | float = True, timeout: float | None = None) -> None:
        if not isinstance(distributed, bool | int | float):
            raise TypeError(f"distributed: expected a bool or seconds, got {distributed!r}")
        if distributed is not False and not distributed > 0:
            raise ValueError(f"distributed: expected a bool or a positive number of seconds, got {distributed!r}")
        self.rank, self.world = 0, 1
        self._store: Store | None = None
        self._join_within = JOIN if distributed is True else float(distributed)
        self._timeout = _seconds(timeout)
        self._asked = 0
        if distributed and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
            self._store = _claim_store()
        self.watch = Watch(self.rank, self.world, None if self._store is None else self._store.clone(), self._timeout)

    def __enter__(self) -> "Processes":
        """Wait until all processes are here.

        Raises:
            PeerError: not all came in time.
        """
        if self._store is not None:
            self._join()
        self.watch.start()
        return self

    def _join(self) -> None:
        deadline = time.monotonic() + self._join_within
        self.tell(f"joined/{self.rank}", "")
        with self._asking():
            self._store.add("joined", 1)
        for _ in _polls():
            if (here := self._count("joined")) >= self.world:
                return
            self._check()
            if time.monotonic() > deadline:
                # Who comes now begins the next measurement.
                self.tell(_ABANDONED, f"{here} of {self.world} processes began within {self._join_within:g} s")
                absent = [rank for rank in range(self.world) if not self._there(f"joined/{rank}")]
                raise PeerError(
                    f"measure: {here} of {self.world} processes began within {self._join_within:g} s, without "
                    f"{', '.join(map(str, absent[:8]))}: all have to call it, or one with distributed=False"
                )

    def __exit__(self, kind: object, error: BaseException | None, __: object) -> None:
        """Tell the others why this process stops, or wait until all have what they asked for.

        Raises:
            TimeoutError: what interrupted this process was its own watch.
        """
        stuck = isinstance(error, KeyboardInterrupt) and self.watch.stuck
        try:
            if self._store is not None and error is None:
                self.watch.stage = "the end"
                self._store.add("left", 1)
                # Process 0 may keep the store: it is the last to go. That it went is no failure of this one.
                while self.rank == 0 and self._count("left") < self.world and not self.watch.trouble:
                    time.sleep(_POLL[0])
            elif self._store is not None and not stuck and not isinstance(error, PeerError):
                self._store.set(FAILED, f"process {self.rank} of {self.world}: {str(error) or type(error).__name__}")
        except (PeerError, RuntimeError):
            pass
        self.watch.end()
        if stuck:
            raise TimeoutError(f"measure: {self.watch.trouble}; a longer timeout= or SDFAST_TIMEOUT waits") from None

    def progress(self, batches: int = 1) -> int:
        """Count a batch, or none, and return how many all processes have measured.

        Raises:
            PeerError: another process has failed.
        """
        if batches:
            self.watch.measured()
        if self.watch.trouble:
            raise PeerError(f"measure: {self.watch.trouble}")
        if self._store is None:
            return self.watch.batches
        with self._asking():
            return self._store.add("batches", batches)

    def wait(self, stage: str) -> None:
        """Wait until all processes have reached a stage.

        Raises:
            PeerError: another process has failed, is gone, or measures nothing any more.
        """
        if self._store is None:
            return
        key = self._once(stage)
        with self._asking():
            here = self._store.add(key, 1)
        if here == self.world:
            self.tell(f"{key}/all", "")
        self.hear(f"{key}/all", stage)

    def tell(self, key: str, value: str) -> None:
        """Tell all processes a value."""
        if self._store is not None:
            with self._asking():
                self._store.set(key, value)

    def hear(self, key: str, stage: str) -> str:
        """Wait for a value that another process tells; raises what `wait` does."""
        self.watch.stage = stage
        for _ in _polls():
            if self._there(key):
                break
            self._check()
        self.watch.stage = ""
        return self.told([key])[0]

    def told(self, keys: Iterable[str]) -> list[str]:
        """Return values that have been told."""
        with self._asking():
            return [value.decode() for value in self._store.multi_get(list(keys))]

    def exchange(self, key: str, expected: str, value: str) -> str:
        """Tell a value if another one is as expected, and return what is there then."""
        with self._asking():
            return self._store.compare_set(key, expected, value).decode()

    def gather(self, name: str, value: Any) -> list[Any]:
        """Return the values of all processes, by rank; they are plain JSON."""
        if self._store is None:
            return [value]
        key = self._once(name)
        self.tell(f"{key}/{self.rank}", json.dumps(value))
        self.wait(name)
        return [json.loads(text) for text in self.told(f"{key}/{rank}" for rank in range(self.world))]

    def from_first(self, name: str, value: Any) -> Any:
        """Return the value of process 0, plain JSON."""
        key = self._once(name)
        if self.rank == 0:
            self.tell(key, json.dumps(value))
            return value
        return json.loads(self.hear(key, name))

    def agree(self, name: str, value: dict[str, Any]) -> None:
        """Raise ValueError unless this process has the value of process 0.

        Raises:
            ValueError: process 0 has another one than this process.
            PeerError: another process has failed.
        """
        mine = json.loads(json.dumps(value))
        theirs = self.from_first(name, mine)
        wrong = [key for key in mine if mine[key] != theirs.get(key)]
        if wrong:
            raise ValueError(f"{name}: expected process {self.rank} to measure what process 0 does, got other {wrong}")

    def move(self, source: int, target: int, send: Callable[[], Iterable[Tensor]], take: Callable[[Any], Any]) -> Any:
        """Send tensors from a process to another; all that are not of the two pass by.

        Args:
            source: who sends.
            target: who receives.
            send: makes the tensors, on the CPU, at the source.
            take: is given a function at the target that fills a tensor of the same shape and dtype. What it returns is
                returned.
        """
        ready, goes = self._once("ready"), self._once("goes")
        if self.rank not in (source, target):
            return None
        group = _group(self._timeout)
        if self.rank == source:
            self.tell(ready, "")
            self.hear(goes, f"process {target}")
            for tensor in send():
                self._through(dist.isend(tensor, target, group=group), target)
            return None
        self.hear(ready, f"process {source}")
        self.tell(goes, "")
        return take(lambda tensor: self._through(dist.irecv(tensor, source, group=group), source))

    def _through(self, work: "dist.Work", other: int) -> None:
        try:
            work.wait(timedelta(seconds=self._timeout))
        except RuntimeError as error:
            self._check()
            reason = str(error).splitlines()[0]
            self.tell(FAILED, f"process {other} of {self.world} is gone")
            raise PeerError(f"measure: process {other} of {self.world} is gone ({reason})") from error

    def _once(self, name: str) -> str:
        """Return a key that is used once. All processes ask for the same ones in the same order."""
        self._asked += 1
        return f"{self._asked}/{name}"

    def _there(self, key: str) -> bool:
        with self._asking():
            return self._store.check([key])

    def _count(self, key: str) -> int:
        with self._asking():
            return self._store.add(key, 0)

    def _check(self) -> None:
        for key in (FAILED, _ABANDONED):
            if self._there(key):
                raise PeerError(f"measure: {self.told([key])[0]}")
        if self.watch.trouble:
            raise PeerError(f"measure: {self.watch.trouble}")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, PeerError):
                raise
            keeper = f"process 0 of {self.world} is gone, or the store that it keeps"
            raise PeerError(f"measure: {self.watch.trouble or keeper} ({str(error).splitlines()[0]})") from error


def _seconds(timeout: float | None) -> float:
    name = "SDFAST_TIMEOUT" if timeout is None else "timeout"
    value = os.environ.get(name, TIMEOUT) if timeout is None else timeout
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(value, bool) or not seconds > 0:
        raise ValueError(f"{name}: expected a positive number of seconds, got {value!r}")
    return seconds


def _polls() -> Iterator[None]:
    pause, longest = _POLL
    while True:
        yield
        time.sleep(pause)
        pause = min(longest, 1.2 * pause)


@cache
def _gloo(world: Any, timeout: float) -> Any:
    return dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))


def _group(timeout: float) -> Any:
    """Return a group that takes tensors on the CPU: the default one where it does."""
    return None if "cpu:gloo" in dist.get_backend_config() else _gloo(dist.group.WORLD, timeout)


def _claim_store() -> "Store":
    """Return the store of the next measurement: every process counts, so the n-th here is the n-th there.

    One that was given up is left out: the process that began it alone has counted it, the others have not.
    """
    global _next
    world = dist.group.WORLD
    assert world is not None, "the default group is there"
    while True:
        store: Store = dist.PrefixStore(f"sdfast/measure/{_next}", world.get_group_store())  # type: ignore[attr-defined]
        _next += 1
        if not store.check([_ABANDONED]):
            return store
