"""The sums behind reports in a binary file, and the report.json beside it that says whose they are."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from sdfast.foundation import StrPath, read_json, read_npz
from sdfast.report.notes import counted
from sdfast.report.reading import Reading

Made = TypeVar("Made", bound=Reading)
REPORT_JSON, REPORT_NPZ = "report.json", "report.npz"
# Empty groups are left out where they are so many times the others at most: a file unpacks to no more than that.
_SPARSEST = 64
_REST = "report"  # the array that says what report.json says besides


def write_sums(path: Path, reports: Iterable[Reading], rest: Mapping[str, Any]) -> None:
    """Write the co-moments of reports, in their order.

    Args:
        path: the file, which ends in .npz.
        reports: whose sums; their empty groups are left out, as of few sources most are.
        rest: what report.json says besides, plain JSON values: its digest is kept with the sums.
    """
    arrays: dict[str, Any] = {_REST: _digest_of(rest)}
    for i, report in enumerate(reports):
        if report.groups is None:
            arrays[f"{i}"] = report.moments.numpy()
        else:
            filled = report.groups.ne(0).transpose(0, 1).flatten(1).any(1)
            filled |= len(filled) > _SPARSEST * filled.sum()
            arrays |= {f"{i}": report.groups[:, filled].numpy(), f"{i}.filled": filled.numpy()}
        if report.information is not None:
            arrays[f"{i}.information"] = report.information.numpy()
    np.savez(path, **arrays)


def report_json(path: StrPath) -> Path:
    """Return the report.json of a folder of results, or that is given itself; FileNotFoundError where there is none."""
    path = Path(path)
    path = path / REPORT_JSON if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"path: expected a folder of results or the report.json in it, got {path}: no such file"
        )
    return path


def read_content(path: Path) -> dict[str, Any]:
    """Return what a report.json says; ValueError where that is not what was saved with the sums beside it."""
    content = _read_json(path)
    if "sums" in content and path.with_name(REPORT_NPZ).is_file():
        _read_sums(path, content)
    return content


def read_reports(path: StrPath, make: Callable[..., Made]) -> dict[str, Made]:
    """Return the report of each layer from a folder of results, or its report.json.

    Args:
        path: the folder or the file.
        make: makes a report from its arguments.

    Raises:
        FileNotFoundError: there is no report.json.
        ValueError: it is damaged or of another run than the file of sums; the message names the file.
    """
    path = report_json(path)
    content = _read_json(path)
    try:
        layers = content["layers"]
        keys = {key: key for key in ("kind", "threshold", "level", "estimator")} | {"sources": "num_sources"}
        arguments = [{key: layer[name] for key, name in keys.items()} for layer in layers.values()]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected a report.json with layers ({error!r})") from error
    kept, arrays = _read_sums(path, content)
    try:
        found = [
            {"moments": _restored(arrays, str(i)), "information": _optional(arrays, f"{i}.information")}
            for i in range(len(layers))
        ]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{kept}: expected the sums of {counted(len(layers), 'layer')} ({error})") from error
    try:
        rows = zip(layers, arguments, found, strict=True)
        return {name: make(**tensors, name=name, **given) for name, given, tensors in rows}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected what a report is made of ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: expected a report.json ({error})") from error


def _read_sums(path: Path, content: Mapping[str, Any]) -> tuple[Path, dict[str, np.ndarray]]:
    """Return the file of sums that a report.json says, and its arrays, if both are of one run and undamaged."""
    try:
        kept, digest = path.with_name(content["sums"]["file"]), content["sums"]["sha256"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected a report.json that says where its sums are ({error!r})") from error
    if not kept.is_file():
        raise ValueError(f"{kept}: expected the sums of {path.name} beside it, got no such file")
    if sha256_of(kept) != digest:
        raise ValueError(f"{kept}: expected the sums of {path.name}, got those of another run, or a damaged file")
    try:
        arrays = read_npz(kept)
    except ValueError as error:
        layers = content.get("layers")
        number = len(layers) if isinstance(layers, dict) else 0
        raise ValueError(f"{kept}: expected the sums of {counted(number, 'layer')} ({error})") from error
    rest = {key: value for key, value in content.items() if key != "sums"}
    if _REST in arrays and not np.array_equal(arrays[_REST], _digest_of(rest)):  # earlier versions wrote none
        raise ValueError(f"{path}: expected what a report is made of, got something damaged, or changed since")
    return kept, arrays


def _restored(arrays: Mapping[str, np.ndarray], key: str) -> torch.Tensor:
    """Return co-moments as they were, with the empty groups among the others."""
    kept = torch.from_numpy(arrays[key])
    if f"{key}.filled" not in arrays:
        return kept
    filled = torch.from_numpy(arrays[f"{key}.filled"])
    number = filled.count_nonzero()
    if filled.ndim != 1 or kept.ndim != 4 or kept.shape[1] != number or len(filled) > _SPARSEST * number:
        raise ValueError(f"{key}: {tuple(kept.shape)} are not {int(number)} of {len(filled)} groups")
    groups = kept.new_zeros((len(kept), len(filled), *kept.shape[2:]))
    groups[:, filled.bool()] = kept
    return groups


def _optional(arrays: Mapping[str, np.ndarray], key: str) -> torch.Tensor | None:
    return torch.from_numpy(arrays[key]) if key in arrays else None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, by which report.json knows its sums."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest_of(rest: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(json.dumps(rest).encode()).digest(), np.uint8)
