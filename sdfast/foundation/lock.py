"""A folder that one run at a time writes to."""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from sdfast.foundation.files import StrPath

LOCK = ".sdfast.lock"
TOUCH = 5.0  # seconds from one sign of life to the next
PATIENCE = 30.0  # seconds without one, after which a run of another machine is gone
_first: dict[tuple[Path, int], "FolderLock"] = {}  # by folder and process: who has the lock for all of them


class LockedError(OSError):
    """Another run writes to the folder."""


class FolderLock:
    """Keep other runs out of a folder in a `with` block; a process may lock its folder again.

    The lock is a file that names its owner: machine, process, and when it began. It is made exclusively, which is safe
    on network file systems, too, and touched every few seconds. The lock of a process that is gone is taken over, with
    a line on stderr: on this machine that is seen at once, on another one by 30 seconds without a touch.

    Args:
        folder: made if it is missing.

    Raises:
        LockedError: another run has it.
        OSError: the folder cannot be made or written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with FolderLock(folder), FolderLock(folder):
    ...         os.listdir(folder)
    ...     os.listdir(folder)
    ['.sdfast.lock']
    []
    """

    def __init__(self, folder: StrPath) -> None:
        self._folder = Path(folder)
        self._over = threading.Event()
        self._depth = 0
        self._owner = ""

    def __enter__(self) -> "FolderLock":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder.resolve() / LOCK
        key = self._path, os.getpid()
        self._first = _first.setdefault(key, self)
        if self._first is self and self._depth == 0:
            try:
                self._acquire()
            except BaseException:
                del _first[key]
                raise
            threading.Thread(target=self._touch, name="sdfast lock", daemon=True).start()
        self._first._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        first = self._first
        first._depth -= 1
        if first._depth == 0:
            first._over.set()
            del _first[self._path, os.getpid()]
            if _read(self._path)[0] == first._owner:
                self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise LockedError where another run has taken the lock over: this process was stopped for long, say."""
        owner = _read(self._path)[0]
        if owner != self._first._owner:
            raise LockedError(f"{self._folder}: another run has taken it over: {_named(owner)}")

    def _acquire(self) -> None:
        self._owner = _identity()
        while not _create(self._path, self._owner):
            owner, touched = _read(self._path)
            if owner is None:
                continue  # it has just been given back
            if not _is_gone(owner, touched, self._path):
                raise LockedError(
                    f"{self._folder}: another run writes to it: {_named(owner)}; wait for it, choose another folder, "
                    f"or delete {self._path} if that run is gone"
                )
            print(f"sdfast: {self._folder}: taken over from a run that is gone: {_named(owner)}", file=sys.stderr)
            self._remove(owner)

    def _remove(self, owner: str) -> None:
        """Remove the lock of an owner that is gone, unless another run has taken it over meanwhile."""
        aside = self._path.with_name(f"{LOCK}.{secrets.token_hex(8)}")
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return
        found = _read(aside)[0]
        if found != owner:
            _create(self._path, found)
        aside.unlink()

    def _touch(self) -> None:
        while not self._over.wait(TOUCH):
            try:
                if _read(self._path)[0] != self._owner:
                    return
                os.utime(self._path)
            except OSError:
                continue  # the next write says what is wrong


def _read(path: Path) -> tuple[str | None, float]:
    """Return who owns a lock, and when it was touched last; None where there is no lock."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None, 0.0
    except OSError as error:
        raise LockedError(
            f"{path}: expected a lock of sdfast, got what is none ({error.strerror}); delete it"
        ) from error
    with os.fdopen(file, errors="replace") as opened:
        return opened.read(1 << 12), os.fstat(file).st_mtime


def _create(path: Path, owner: str) -> bool:
    """Make a lock unless there is one."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except FileExistsError:
        return False
    with os.fdopen(file, "w") as opened:
        opened.write(owner)
    return True


def _is_gone(owner: str, touched: float, path: Path) -> bool:
    """Tell whether the owner of a lock is no more, by its process on this machine, else by whether it is touched."""
    told = _parsed(owner)
    if told.get("machine") == _machine() and isinstance(told.get("pid"), int):
        return _start(told["pid"]) != told.get("start")
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if _read(path) != (owner, touched):
            return False
        time.sleep(TOUCH / 10)
    return True


def _identity() -> str:
    pid, began = os.getpid(), datetime.now().astimezone().isoformat(timespec="seconds")
    told = {"host": socket.gethostname(), "pid": pid, "began": began, "start": _start(pid), "machine": _machine()}
    return json.dumps({**told, "token": secrets.token_hex(8)})


def _start(pid: int) -> str | None:
    """Return when a process was started, in ticks of its machine; None where there is none with this number."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:  # it is another user's
            pass
        return "some time"
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _machine() -> list[str]:
    """Return what tells machines apart, and the containers on one, whose processes have numbers of their own."""
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):
        found += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return found


def _parsed(owner: str | None) -> dict[str, Any]:
    try:
        told = json.loads(owner or "")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _named(owner: str | None) -> str:
    told = _parsed(owner)
    return f"process {told.get('pid', '?')} on {told.get('host', '?')}, since {told.get('began', '?')}"
