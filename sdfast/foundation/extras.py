"""Optional parts: imported when they are needed, and asked for by name when they are missing."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or raise one line that says which extra brings it.

    Args:
        module: name of the module, such as "av".
        extra: the extra of this package that installs it, such as "video".

    Raises:
        ImportError: the module is not installed or cannot be loaded.

    >>> require("json", "video").__name__
    'json'
    >>> require("no_such_module", "video")
    Traceback (most recent call last):
    ImportError: no_such_module is needed here and cannot be imported: pip install 'sdfast[video]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is needed here and cannot be imported: pip install 'sdfast[{extra}]'") from error


@contextmanager
def opencv() -> Iterator[ModuleType]:
    """Give cv2, kept to one thread: frames are small, and its thread pool does not survive a fork into workers.

    Raises:
        ImportError: OpenCV is not installed.

    >>> with opencv() as cv2:
    ...     cv2.getNumThreads()
    1
    """
    cv2 = require("cv2", "video")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield cv2
    finally:
        cv2.setNumThreads(threads)
