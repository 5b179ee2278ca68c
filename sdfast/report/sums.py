"""The sums behind reports in a binary file, and the report.json beside it that says whose they are."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdfast.foundation import write_atomically
from sdfast.report.reading import Reading

REPORT_JSON, REPORT_NPZ = "report.json", "report.npz"


def write_sums(folder: Path, reports: Iterable[Reading]) -> dict[str, str]:
    """Write the co-moments of reports, in their order, and return what report.json is to say of the file."""
    arrays = [(report.moments if report.groups is None else report.groups).numpy() for report in reports]
    path = folder / REPORT_NPZ
    write_atomically(path, lambda part: np.savez(part, **{str(i): array for i, array in enumerate(arrays)}))
    return {"file": REPORT_NPZ, "sha256": _digest(path)}


def read_fields(path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Return the arguments of each layer's `BiasReport` from a folder of results, or its report.json.

    Raises:
        FileNotFoundError: there is no report.json.
        ValueError: it is damaged or of another run than the file of sums; the message names the file.
    """
    path = Path(path)
    path = path / REPORT_JSON if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sums, layers = content["sums"], content["layers"]
        kept, digest = path.with_name(sums["file"]), sums["sha256"]
        keys = {"kind": "kind", "threshold": "threshold", "level": "level", "sources": "num_sources"}
        arguments = [{key: layer[name] for key, name in keys.items()} for layer in layers.values()]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected a report.json that says where its sums are ({error!r})") from error
    if not kept.is_file():
        raise ValueError(f"{kept}: expected the sums of {path.name} beside it, got no such file")
    if _digest(kept) != digest:
        raise ValueError(f"{kept}: expected the sums of {path.name}, got those of another run, or a damaged file")
    try:
        with np.load(kept, allow_pickle=False) as arrays:
            moments = [torch.from_numpy(arrays[str(i)]) for i in range(len(layers))]
    except (ValueError, LookupError, zipfile.BadZipFile) as error:
        raise ValueError(f"{kept}: expected the sums of {len(layers)} layers ({error})") from error
    rows = zip(layers, arguments, moments, strict=True)
    return {name: {"moments": x, "name": name, **given} for name, given, x in rows}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
