"""The format of the state file of a measurement, from which a killed run goes on.

Layout: magic (8 bytes), version (uint32), SHA-256 of all that follows (32 bytes), length of the header (uint32),
header (JSON: job, which batches are done, and for each state its channels and the names, dtypes and shapes of its
tensors), tensors (float64 or int64, little endian). Nothing in it is code.
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdfast.foundation import write_atomically
from sdfast.measurement.capture import MakeState, State
from sdfast.statistics import PairState

MAGIC = b"sdfast\r\n"
VERSION = 3
_PREFIX = struct.Struct("<8sI32s")
_LENGTH = struct.Struct("<I")
_DTYPES = {torch.float64: "<f8", torch.int64: "<i8"}


class CheckpointError(ValueError):
    """A state file that is damaged, or that another job has written."""


def save(path: Path, job: Mapping[str, Any], done: Any, states: Mapping[str, PairState]) -> int:
    """Write states, and return how many bytes they take.

    Args:
        path: the file; see `write_atomically`.
        job: what is measured, plain JSON values; `load` refuses the file for another job.
        done: which batches are in the states, plain JSON values.
        states: by key.

    Raises:
        TypeError: a state has a tensor that is neither float64 nor int64.
        OSError: the file cannot be written. What was there before still is.
    """
    layout, arrays = described(states)
    blocks = [x.tobytes() for x in arrays]
    encoded = json.dumps({"job": job, "done": done, "states": layout}).encode()
    body = b"".join([_LENGTH.pack(len(encoded)), encoded, *blocks])
    content = _PREFIX.pack(MAGIC, VERSION, hashlib.sha256(body).digest()) + body
    write_atomically(path, lambda part: part.write_bytes(content))
    return len(content)


def load(path: Path, job: Mapping[str, Any], make_state: MakeState[State]) -> tuple[Any, dict[str, State]]:
    """Read which batches were measured, and the states by key, made by `make_state` on the CPU.

    Raises:
        CheckpointError: the file is damaged or of another version, or its job differs from `job`.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if not content.startswith(MAGIC[: len(content)]) or not content:
        raise CheckpointError(f"{path}: not a state file of sdfast")
    if len(content) < _PREFIX.size + _LENGTH.size:
        raise CheckpointError(f"{path}: damaged, only {len(content)} bytes; delete it to start over")
    _, version, digest = _PREFIX.unpack_from(content)
    if version != VERSION:
        raise CheckpointError(f"{path}: expected version {VERSION} of the state file, got {version}")
    body = memoryview(content)[_PREFIX.size :]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: damaged, its checksum does not fit; delete it to start over")
    (length,) = _LENGTH.unpack_from(body)
    start = _LENGTH.size + length
    header = _header(path, bytes(body[_LENGTH.size : start]), len(body) - start)
    differences = [*_differences(header["job"], json.loads(json.dumps(job)))]
    if differences:
        raise CheckpointError(f"{path}: of another job: {'; '.join(differences)}")
    rest = [start]

    def read(dtype: np.dtype, shape: Sequence[int]) -> Tensor:
        array = np.frombuffer(body, dtype, math.prod(shape), rest[0])
        rest[0] += array.nbytes
        return torch.from_numpy(array.astype(dtype.newbyteorder("=")).reshape(shape))

    try:
        return header["done"], restored(header["states"], read, make_state)
    except ValueError as error:
        raise CheckpointError(f"{path}: of another job: {error}") from error


def described(states: Mapping[str, PairState]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return what there is to know of states to restore them, JSON values, and all their tensors.

    Raises:
        TypeError: a state has a tensor that is neither float64 nor int64.
    """
    layout, arrays = {}, []
    for key, state in states.items():
        own = {name: _array(name, x) for name, x in state.state_dict().items()}
        tensors = {name: (x.dtype.str, x.shape) for name, x in own.items()}
        layout[key] = {"num_channels": state.num_channels, "tensors": tensors}
        arrays += own.values()
    return layout, arrays


def restored(
    layout: Mapping[str, Any], read: Callable[[np.dtype[Any], Sequence[int]], Tensor], make_state: MakeState[State]
) -> dict[str, State]:
    """Return states on the CPU from what `described` says of them, and a function that reads one tensor after another.

    Raises:
        ValueError: the states do not fit what `make_state` makes.
    """
    states = {}
    for key, entry in layout.items():
        tensors = {name: read(np.dtype(dtype), shape) for name, (dtype, shape) in entry["tensors"].items()}
        states[key] = make_state(entry["num_channels"], torch.device("cpu"))
        states[key].load_state_dict(tensors)
    return states


def _header(path: Path, encoded: bytes, rest: int) -> dict[str, Any]:
    """Return the header, if its tensors take the bytes that follow it: whoever changes a file can change its digest."""
    try:
        header = json.loads(encoded)
        job, done, states = header["job"], header["done"], header["states"]
        sizes = {key: [_size(*kind) for kind in state["tensors"].values()] for key, state in states.items()}
        channels = [(state["num_channels"], sum(sizes[key])) for key, state in states.items()]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged, its header says {type(error).__name__}") from error
    # A state has a number for each channel: as many as a file says are made before its tensors are looked at.
    fits = sum(8 * sum(each) for each in sizes.values()) == rest
    if not fits or any(type(number) is not int or not 0 < number <= max(1, held) for number, held in channels):
        raise CheckpointError(f"{path}: damaged, its tensors are not those that its header says")
    return {"job": job, "done": done, "states": states}


def _size(dtype: str, shape: Sequence[int]) -> int:
    if dtype not in _DTYPES.values() or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"{dtype} {shape}")
    return math.prod(shape)


def _array(name: str, x: Tensor) -> np.ndarray:
    if x.dtype not in _DTYPES:
        raise TypeError(f"state_dict: {name}: expected float64 or int64, got {x.dtype}")
    return x.detach().cpu().numpy().astype(_DTYPES[x.dtype], order="C")


def _differences(theirs: Any, ours: Any, name: str = "") -> Iterator[str]:
    """Yield what differs between two trees of JSON values, in words."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from _differences(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)
    elif theirs != ours:
        yield f"{name} was {_short(theirs)}, now {_short(ours)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
