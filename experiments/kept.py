"""The runs of an experiment in a file, each written as soon as it has ended, with what it was made by."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from sdfast import __version__
from sdfast.foundation import write_atomically
from sdfast.report import plain

RUNS = "runs.jsonl"


class Job(Protocol):
    """A run that is to be made."""

    @property
    def length(self) -> int:
        """How many steps it takes."""

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values, which tell it from all others."""


class Run(Protocol):
    """What a job found."""

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain values, of which it can be made again."""


SomeRun = TypeVar("SomeRun", bound=Run)


def versions() -> dict[str, str]:
    """Return the versions that the results of an experiment depend on."""
    return {"sdfast": __version__, "torch": torch.__version__}


def made_by(package: str, leaving_out: Collection[str]) -> dict[str, str]:
    """Return versions and a digest of the code that makes the runs of an experiment.

    Args:
        package: its name, below this one.
        leaving_out: modules that change no run: those that start runs, sum them up and show them.
    """
    here = Path(__file__).parent
    files = [path for path in (here / package).glob("*.py") if path.stem not in leaving_out]
    digest = hashlib.sha256()
    for path in (*sorted(files), here / "reproducible.py"):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return {**versions(), "code": digest.hexdigest()}


class Kept(Generic[SomeRun]):
    """A file of jobs and their runs, a line each.

    Args:
        make: makes a run of its values.
        path: of the file; None keeps nothing.
        resume: whether to start from what is in it; otherwise it is emptied.
        by: what runs are made by now; see `made_by`.
        any_code: whether to take runs, too, that something else made, or of which the file does not say what made them.

    Attributes:
        others: how many of these were taken.

    Raises:
        ValueError: a line of the file is damaged. One that was cut off is none: its job is done again.
    """

    def __init__(
        self,
        make: Callable[..., SomeRun],
        path: Path | None = None,
        resume: bool = False,
        by: Mapping[str, str] | None = None,
        any_code: bool = False,
    ) -> None:
        self.path, self.others, self._by, self._any_code = path, 0, dict(by or {}), any_code
        self._found: dict[str, tuple[SomeRun, object]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path and resume and path.exists() else []
        whole = []
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            try:
                self._found[_key(found["job"])] = make(**found["run"]), found.get("made_by")
            except (LookupError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"--resume: line {number} of {path} is damaged ({error!r}); delete it, or leave --resume out"
                ) from error
            whole.append(line + "\n")
        if path:
            write_atomically(path, lambda part: part.write_text("".join(whole), encoding="utf-8"))

    def find(self, job: Job) -> SomeRun | None:
        """Return the run of a job, if there is one.

        Raises:
            ValueError: something else made it, and runs of any code were not asked for.
        """
        run, by = self._found.get(_key(job.to_dict()), (None, self._by))
        if by != self._by:
            if not self._any_code:
                what = (
                    "does not say by what code and versions its runs were made"
                    if by is None
                    else "has runs of other code or versions"
                )
                raise ValueError(f"--resume: {self.path} {what}; leave --resume out, or take them by --any-code")
            self.others += 1
        return run

    def add(self, job: Job, run: SomeRun) -> None:
        """Keep a run."""
        if self.path:
            line = json.dumps({"job": job.to_dict(), "made_by": self._by, "run": plain(run.to_dict())})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _key(job: Mapping[str, Any]) -> str:
    return json.dumps(job, sort_keys=True)
