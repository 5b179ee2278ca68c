"""The state file of a measurement, from which a killed run goes on.

Layout: magic (8 bytes), version (uint32), SHA-256 of all that follows (32 bytes), length of the header (uint32),
header (JSON: job, batches done, tensor names and shapes), tensors (float64, little endian). Nothing in it is code.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdfast.foundation import write_atomically

MAGIC = b"sdfast\r\n"
VERSION = 1
_PREFIX = struct.Struct("<8sI32s")
_LENGTH = struct.Struct("<I")


class CheckpointError(ValueError):
    """A state file that is damaged, or that another job has written."""


def state_path(folder: str | os.PathLike, rank: int, world: int) -> Path:
    """Return where one of `world` processes keeps its state."""
    return Path(folder) / f"state.rank{rank}of{world}.sdfast"


def state_files(folder: str | os.PathLike) -> list[Path]:
    """Return the state files of all processes in a folder, whatever run they are of."""
    return sorted(Path(folder).glob("state.rank*of*.sdfast"))


def save(path: Path, job: Mapping[str, Any], done: int, moments: Mapping[str, Tensor]) -> None:
    """Write a state.

    Args:
        path: the file; see `write_atomically`.
        job: what is measured, plain JSON values; `load` refuses the file for another job.
        done: how many batches this process has measured.
        moments: co-moments (6, F, C) by key.

    Raises:
        OSError: the file cannot be written. What was there before still is.
    """
    arrays = {key: x.detach().to("cpu", torch.float64).numpy().astype("<f8", order="C") for key, x in moments.items()}
    header = {"job": job, "done": done, "moments": {key: x.shape for key, x in arrays.items()}}
    encoded = json.dumps(header).encode()
    body = b"".join([_LENGTH.pack(len(encoded)), encoded, *(x.tobytes() for x in arrays.values())])
    content = _PREFIX.pack(MAGIC, VERSION, hashlib.sha256(body).digest()) + body
    write_atomically(path, lambda part: part.write_bytes(content))


def load(path: Path, job: Mapping[str, Any]) -> tuple[int, dict[str, Tensor]]:
    """Read a state: how many batches were measured, and the co-moments by key.

    Raises:
        CheckpointError: the file is damaged or of another version, or its job differs from `job`.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if not content.startswith(MAGIC[: len(content)]) or not content:
        raise CheckpointError(f"{path}: not a state file of sdfast measure")
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
    header = json.loads(bytes(body[_LENGTH.size : start]))
    differences = [*_differences(header["job"], json.loads(json.dumps(job)))]
    if differences:
        raise CheckpointError(f"{path}: of another job: {'; '.join(differences)}")
    moments = {}
    for key, shape in header["moments"].items():
        size = int(np.prod(shape))
        moments[key] = torch.from_numpy(np.frombuffer(body, "<f8", size, start).astype(np.float64).reshape(shape))
        start += 8 * size
    return header["done"], moments


def _differences(theirs: Any, ours: Any, name: str = ""):
    """Yield what differs between two trees of JSON values, in words."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from _differences(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)
    elif theirs != ours:
        yield f"{name} was {_short(theirs)}, now {_short(ours)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def weights_digest(model: nn.Module) -> str:
    """Return a SHA-256 of all parameters and buffers: other weights are another job."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            flat = tensor.detach().reshape(-1).contiguous().cpu()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
