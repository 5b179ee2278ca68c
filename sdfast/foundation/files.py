"""Files that are whole or not there: what every result and every state is written with."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PART = ".part."  # before the names of the folders where files are written
StrPath = str | os.PathLike[str]  # where a file or a folder lies


def write_atomically(path: StrPath, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then move it there: no reader ever sees half a file.

    The file is always either the old one or the new one, also after a power cut. It is filled in a folder of its own,
    whose name nobody can foresee and which only its owner can enter, so that no link planted there is followed; one
    that is at `path` is replaced.

    Raises:
        OSError: the file cannot be written. What was there before still is.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "numbers.txt"), lambda part: part.write_text("1 2 3"))
    ...     os.listdir(folder)
    ['numbers.txt']
    """
    path = Path(path)
    write_together(path.parent, {path.name: write})


def write_together(folder: StrPath, writers: Mapping[str, Callable[[Path], Any]]) -> None:
    """Let each of `writers` fill a file, then move them to a folder by their names, the last name last.

    While several are moved the last one is not there: where it is, all files are of one run.

    Raises:
        OSError: a file cannot be written. What was there before still is, unless it was moving that failed.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_together(folder, {"a": lambda part: part.write_text("1"), "b": lambda part: part.write_text("2")})
    ...     sorted(os.listdir(folder))
    ['a', 'b']
    """
    folder = Path(folder)
    parts = Path(tempfile.mkdtemp(prefix=PART, dir=folder))  # exclusive, and for its owner only
    try:
        for name, write in writers.items():
            part = parts / name  # the name stays: its suffix tells matplotlib the format
            write(part)
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        if len(writers) > 1:
            (folder / name).unlink(missing_ok=True)
        for name in writers:
            os.replace(parts / name, folder / name)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def remove_parts(folder: StrPath) -> None:
    """Remove what processes that were killed have left half-written; no other one may be writing to the folder."""
    for part in Path(folder).glob(f"{PART}*"):
        shutil.rmtree(part, ignore_errors=True)
