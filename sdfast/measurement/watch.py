"""Signs of life: what each process tells of itself, and who looks whether another is gone or stuck."""

import _thread
import json
import signal
import sys
import threading
import time
from typing import Any

SLOW = 10  # times the longest that a batch has taken: what is slow is not stuck
FAILED = "failed"
LOADING, WRITING = "loading", "writing"  # what a stalled file system stops
ENDED = "ended"


class Watch(threading.Thread):
    """Tell the others every so often what this process does, and look at the next one.

    Each looks at one other, in a ring: that costs the store the same however many there are, and whoever is gone has a
    process before it that is not, or before that.

    Args:
        rank: which process this is.
        world: how many there are.
        store: that all of them share, for this thread alone; None where there is but one.
        timeout: seconds without a sign of life, or, where a batch takes longer, ten times the longest.

    Attributes:
        trouble: what was found, in words, or an empty string.
        stuck: whether it is this process that is stuck.
        doing: what this process does.
        stage: what it waits at for the others, or an empty string.
        batches: how many it has measured.
    """

    def __init__(self, rank: int, world: int, store: Any, timeout: float) -> None:
        super().__init__(name="sdfast watch", daemon=True)
        self.trouble, self.stuck, self.doing, self.stage, self.batches = "", False, "starting", "", 0
        self._rank, self._world, self._store, self._timeout = rank, world, store, timeout
        self._period = min(1.0, timeout / 10)
        self._over = threading.Event()
        self._clock = self._since = self._longest = 0.0  # seconds that this process has run, not been stopped
        self._other: dict[str, Any] = {}
        self._heard = self._moved = 0.0
        self._main = threading.current_thread() is threading.main_thread()

    def measured(self) -> None:
        """Note that a batch has been measured."""
        self.batches += 1
        if self.batches > 1:  # the first has to wait for what begins
            self._longest = max(self._longest, self._clock - self._since)
        self._since = self._clock

    def run(self) -> None:
        """Tick until `end` is called."""
        before = time.monotonic()
        try:
            self._tell()
            while not self._over.wait(self._period):
                now = time.monotonic()
                self._clock += min(now - before, 2 * self._period)
                before = now
                self._tell()
                self._look()
            self.stage = ENDED
            self._tell()
        except RuntimeError:  # of whatever kind the store has
            if not self.trouble and not self._over.is_set():
                self.trouble = f"process 0 of {self._world} is gone, or the store that it keeps"

    def end(self) -> None:
        """Stop; this process is waited for no more."""
        self._over.set()
        self.join(self._timeout)

    def _tell(self) -> None:
        if self._store is not None:
            signs = {"clock": self._clock, "batches": self.batches, "doing": self.doing, "stage": self.stage}
            self._store.set(f"signs/{self._rank}", json.dumps({**signs, "longest": self._longest}))

    def _look(self) -> None:
        if (
            not self.trouble
            and self.doing.startswith((LOADING, WRITING))
            and self._clock - self._since > self._limit(self.batches, self._longest)
        ):
            self.stuck = True
            self.trouble = f"{self._called(self._rank)} has been {self.doing} for {self._clock - self._since:.0f} s"
            if self._store is not None:
                self._store.set(FAILED, self.trouble)
            print(f"sdfast: {self.trouble}", file=sys.stderr)  # it may be stuck where nothing wakes it
            if self._main and hasattr(signal, "pthread_kill"):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # wakes a system call, too
            elif self._main:
                _thread.interrupt_main()
        if self._store is None or self.trouble:
            return
        if self._store.check([FAILED]):
            self.trouble = self._store.get(FAILED).decode()
            return
        self._look_at((self._rank + 1) % self._world)

    def _look_at(self, rank: int) -> None:
        key = f"signs/{rank}"
        signs = json.loads(self._store.get(key)) if self._store.check([key]) else {}
        if signs.get("clock") != self._other.get("clock"):
            self._heard = self._clock
        if signs.get("batches") != self._other.get("batches") or signs.get("stage"):
            self._moved = self._clock
        self._other, found = signs, ""
        if signs.get("stage") == ENDED:
            return
        doing = signs.get("doing", "starting")
        if self._clock - self._heard > self._timeout:
            found = f"has given no sign of life for {self._clock - self._heard:.0f} s; it was {doing}"
        # Whoever is not waited for may take its time.
        elif self.stage and self._clock - self._moved > self._limit(
            signs.get("batches", 0), max(self._longest, signs.get("longest", 0.0))
        ):
            found = f"has been {doing} for {self._clock - self._moved:.0f} s"
        if found:
            self.trouble = f"{self._called(rank)} {found}"
            self._store.set(FAILED, self.trouble)

    def _limit(self, batches: int, longest: float) -> float:
        """Return for how long a process may measure nothing. Before its second batch nobody knows how long it takes."""
        return max(self._timeout, SLOW * (longest if batches > 1 else max(longest, self._timeout)))

    def _called(self, rank: int) -> str:
        return f"process {rank} of {self._world}" if self._world > 1 else "this process"
