"""The processes of a distributed measurement: who they are, and how one learns that another has failed."""

import time
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

JOIN = 30.0  # seconds
_ABANDONED = "abandoned"
_next = 0  # the number of the next measurement


class PeerError(RuntimeError):
    """Another process of the same measurement has failed, or never began."""


class Processes:
    """Keep the processes of the default group informed of each other, through the group's key-value store.

    Collectives alone would leave the others waiting when one process raises. With one process, or without
    `torch.distributed`, everything here is free.

    Args:
        distributed: whether the processes measure together; a number is the seconds in which all have to begin.
        patience: seconds without progress anywhere.

    Attributes:
        rank: which process this is.
        world: how many there are.

    Raises:
        TypeError: `distributed` is neither a bool nor a number.
        ValueError: it is no positive number.
    """

    def __init__(self, distributed: bool | float = True, patience: float = 1800.0) -> None:
        if not isinstance(distributed, bool | int | float):
            raise TypeError(f"distributed: expected a bool or seconds, got {distributed!r}")
        if distributed is not False and not distributed > 0:
            raise ValueError(f"distributed: expected a bool or a positive number of seconds, got {distributed!r}")
        self.rank, self.world = 0, 1
        self._store: Store | None = None
        self._join_within = JOIN if distributed is True else float(distributed)
        self._patience = patience
        if distributed and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
            self._store = _claim_store()

    def __enter__(self) -> "Processes":
        """Wait until all processes are here.

        Raises:
            PeerError: not all came in time.
        """
        if self._store is None:
            return self
        deadline = time.monotonic() + self._join_within
        self._store.add("joined", 1)
        while (here := self._store.add("joined", 0)) < self.world:
            self._check()
            if time.monotonic() > deadline:
                self._store.set(
                    _ABANDONED,
                    f"{here} of {self.world} processes began within {self._join_within:g} s: all have to call "
                    "it, or one with distributed=False",
                )
            time.sleep(0.01)
        return self

    def __exit__(self, _: type | None, error: BaseException | None, __: object) -> None:
        """Tell the others why this process stops. Never waits."""
        if error is not None and self._store is not None and not isinstance(error, PeerError):
            self._store.set("failed", f"process {self.rank} of {self.world}: {str(error) or type(error).__name__}")

    def progress(self) -> None:
        """Count a batch.

        Raises:
            PeerError: another process has failed.
        """
        if self._store is not None:
            self._store.add("batches", 1)
            self._check()

    def wait(self, stage: str, unless: str | None = None) -> bool:
        """Wait until all processes have reached a stage; a collective is safe then.

        Args:
            stage: each is reached once.
            unless: a stage after which no process reaches this one any more.

        Returns:
            False where a process has reached `unless` instead; it is the same for all who asked.

        Raises:
            PeerError: another process has failed, or none has measured a batch for a long time.
        """
        if self._store is None:
            return True
        seen, since = -1, time.monotonic()
        self._store.add(stage, 1)
        while True:
            # Looked up first: who is there has then been at this stage before, or never will be.
            given_up = unless is not None and self._store.add(unless, 0) > 0
            if self._store.add(stage, 0) == self.world:
                break
            self._check()
            if given_up:
                return False
            batches = self._store.add("batches", 0)
            if batches != seen:
                seen, since = batches, time.monotonic()
            if time.monotonic() - since > self._patience:
                raise PeerError(f"measure: no process has measured a batch for {self._patience:.0f} s; one is gone")
            time.sleep(0.02)
        self._check()
        return True

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        if self._store is None:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def agree(self, name: str, value: dict[str, Any]) -> None:
        """Raise ValueError unless all processes have the same value.

        Raises:
            ValueError: process 0 has another one than this process.
            PeerError: another process has failed.
        """
        self.wait(name)
        theirs = self.gather(value)[0]
        wrong = [key for key in value if value[key] != theirs.get(key)]
        if wrong:
            raise ValueError(f"{name}: expected process {self.rank} to measure what process 0 does, got other {wrong}")

    @property
    def on_device(self) -> bool:
        """Whether collectives take only tensors on the GPU."""
        return self._store is not None and dist.get_backend() == "nccl"

    def _check(self) -> None:
        for key in ("failed", _ABANDONED):
            if self._store is not None and self._store.check([key]):
                raise PeerError(f"measure: {self._store.get(key).decode()}")


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
