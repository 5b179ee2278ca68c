"""Files that anybody may have made: nothing in them is run, and none takes more memory than it has bytes.

Readers raise ValueError for whatever is wrong with a file, in a few words without its name, which the caller knows
better, and OSError where there is nothing to read.
"""

import io
import json
import math
import mmap
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sdfast.foundation.files import StrPath

# What torch calls with any number that a file says, and that fills so much memory at once.
_FILLS_MEMORY = b"\nbytearray\n"


def read_json(path: StrPath) -> dict[str, Any]:
    """Read a JSON object.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "deep.json").write_text(100_000 * "[")
    ...     read_json(Path(folder, "deep.json"))
    Traceback (most recent call last):
    ValueError: nested too deeply
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"a JSON object is expected, not {type(content).__name__}")
    return content


def read_npz(path: StrPath) -> dict[str, np.ndarray]:
    """Read the arrays of numbers that `np.savez` has written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder, "two.npz"), a=np.arange(3), b=np.ones(2))
    ...     read_npz(Path(folder, "two.npz"))
    {'a': array([0, 1, 2]), 'b': array([1., 1.])}
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_parts(archive, os.path.getsize(path))
                return {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
        except Exception as error:  # of damaged bytes the parsers say it in many ways
            raise ValueError(f"no arrays of np.savez: {_short(error)}") from error


def map_npy(path: StrPath) -> np.memmap:
    """Map the array of numbers that `np.save` has written; what is not looked at is not read."""
    try:
        array = np.lib.format.open_memmap(path, "r")
    except OSError:
        raise
    except Exception as error:  # of damaged bytes the parser says it in many ways
        raise ValueError(f"no array of np.save: {_short(error)}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"no array of numbers, but of {array.dtype}")
    return array


def read_torch(path: StrPath) -> Any:
    """Read the tensors, numbers and names that `torch.save` has written, onto the CPU.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(torch.nn.ReLU(), Path(folder, "model.pt"))
    ...     read_torch(Path(folder, "model.pt"))
    Traceback (most recent call last):
    ValueError: no tensors of torch.save: UnpicklingError
    """
    import torch

    with open(path, "rb") as file:
        size, start = os.path.getsize(path), file.read(4)
        try:
            if start == b"PK\3\4":
                with zipfile.ZipFile(file) as archive:
                    _check_parts(archive, size)
                    if (part := archive.testzip()) is not None:  # torch itself takes any bytes
                        raise ValueError(f"the checksum of {part} does not fit")
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
                if content.find(_FILLS_MEMORY) >= 0:
                    raise ValueError("there is a bytearray in it")
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of damaged bytes the parser says it in many ways
            raise ValueError(f"no tensors of torch.save: {_short(error)}") from error


def _check_parts(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what NumPy and torch never write: compressed parts, and several names for the same bytes."""
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or sum(part.file_size for part in parts) > size:
        raise ValueError("its parts are larger than the file")


def _array(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    if (version := np.lib.format.read_magic(file)) != (1, 0):
        raise ValueError(f"version {version}")
    shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
    start = file.tell()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(f"{len(content) - start} bytes are no {dtype} {shape}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if columns_first else "C")
    return array.copy(order="K")


def _short(error: Exception) -> str:
    """Return what is wrong where it was said here, and else by which kind of error."""
    return str(error) if type(error) is ValueError and "\n" not in str(error) else type(error).__name__
