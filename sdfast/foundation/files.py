"""Files that are whole or not there: what every result and every state is written with."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

StrPath = str | os.PathLike[str]  # where a file or a folder lies


def write_atomically(path: StrPath, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then move it there: no reader ever sees half a file.

    The file is always either the old one or the new one, also after a power cut.

    Raises:
        OSError: the file cannot be written. What was there before still is.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "numbers.txt"), lambda part: part.write_text("1 2 3"))
    ...     os.listdir(folder)
    ['numbers.txt']
    """
    path = Path(path)
    part = path.with_name(f".part.{path.name}")  # the suffix stays: it tells matplotlib the format
    try:
        write(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
