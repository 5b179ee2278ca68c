"""Making a probe set: by one process at a time, and from where one that was interrupted had come to.

Until the set is complete, `.progress` tells which pairs are there, with their checksums.
"""

import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sdfast.foundation import StrPath, progress_bar, write_atomically
from sdfast.pairs.indexed import IndexedPairs, Pair
from sdfast.pairs.probe import ABOUT, CLIPS, KEPT, VERSION, ProbeSet
from sdfast.pairs.video import VideoError

_PROGRESS, _LOCK = ".progress", ".lock"
# Of each pair: the checksum of its clips, and the number of its source, -1 where the pair is not there yet.
_RECORD = np.dtype([("crc", "<u4"), ("source", "<i8")])
_Numbered = tuple[int, Pair | VideoError]  # a pair, or what is wrong with it, and its index


def write_probe(pairs: Any, folder: StrPath, num_workers: int, progress: bool) -> None:
    """Fill a folder with pairs; one that was begun is gone on with, a complete one left as it is.

    Only one process writes at a time; others wait for it and find the set complete.

    Args:
        pairs: a `PairDataset` whose transform is None.
        folder: made if it is missing.
        num_workers: processes that decode and restyle.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: the folder holds other pairs, or the beginning of others.
        VideoError: none of the videos can be used.
        OSError: the folder cannot be written, or has no room.
    """
    folder, fingerprint = Path(folder), pairs.fingerprint()
    if _is_complete(folder, fingerprint):  # no lock: the folder may be one that nobody may write to
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if _is_complete(folder, fingerprint):
            return
        shape = (2, *pairs[0][0].shape)
        with _Writer(folder, fingerprint, len(pairs), shape) as writer:
            missing = writer.missing()
            couples = [[i for i in (2 * k, 2 * k + 1) if i in missing] for k in range((len(pairs) + 1) // 2)]
            loader = DataLoader(
                _Couples(pairs),
                batch_size=None,
                sampler=[couple for couple in couples if couple],
                num_workers=num_workers,
                generator=torch.Generator(),  # a loader draws a number: not one of the user's
            )
            _fill(writer, loader, len(pairs), len(missing), progress)
            about = {
                "version": VERSION,
                "class": type(pairs).__name__,
                "fingerprint": fingerprint,
                "settings": {key: getattr(pairs, key) for key in KEPT},
                "shape": shape[1:],
                "styles": [os.path.basename(style) for style in pairs.styles],
                "sources": [str(source) for source in pairs.sources],
                "numbers": writer.records["source"].tolist(),
                "crc": writer.records["crc"].tolist(),
            }
            writer.sync()
        write_atomically(folder / ABOUT, lambda part: part.write_text(json.dumps(about), encoding="utf-8"))
        (folder / _PROGRESS).unlink(missing_ok=True)


def _is_complete(folder: Path, fingerprint: str) -> bool:
    if not (folder / ABOUT).exists():
        return False
    if ProbeSet(folder).fingerprint() != fingerprint:
        raise ValueError(f"{folder}: holds a probe set of other pairs; choose another folder or delete it")
    return True


def _fill(writer: "_Writer", loader: "DataLoader[list[_Numbered]]", total: int, missing: int, progress: bool) -> None:
    with progress_bar(total, "pairs", progress and "probe set", total - missing) as bar:
        for couple in loader:
            for index, item in couple:
                if isinstance(item, Exception):
                    raise item
                clip_a, clip_b, _, source = item
                writer.add(index, np.stack([clip_a, clip_b]), source)
                bar.update()


class _Couples(Dataset[list[_Numbered]]):
    """Pairs by lists of indices: those of one clip together, for it to be decoded once."""

    def __init__(self, pairs: IndexedPairs):
        self.pairs = pairs

    def __getitem__(self, indices: Sequence[int]) -> list[_Numbered]:
        return [(index, self._item(index)) for index in indices]

    def _item(self, index: int) -> Pair | VideoError:
        try:
            return self.pairs[index]
        except VideoError as error:  # a loader would wrap it in a traceback
            return error


class _Writer:
    """The files of a set that is not complete. Clips are written before the record that says so."""

    def __init__(self, folder: Path, fingerprint: str, num_pairs: int, shape: tuple[int, ...]):
        self._folder, self._shape = folder, shape
        self._size = int(np.prod(shape))
        self._start = fingerprint.encode()
        self.records = np.zeros(num_pairs, _RECORD)
        self.records["source"] = -1
        if (folder / _PROGRESS).exists():
            self._read_progress()
        elif (folder / CLIPS).exists():
            raise ValueError(f"{folder}: holds a {CLIPS} of something else; choose another folder")
        else:
            self._begin()
        self._progress = open(folder / _PROGRESS, "r+b")  # noqa: SIM115
        self._clips = os.fdopen(_open_here(folder / CLIPS), "r+b")
        header = {"descr": "|u1", "fortran_order": False, "shape": (num_pairs, *shape)}
        if os.path.getsize(folder / CLIPS) < 128:  # the first process was killed before it had written that
            self._clips.truncate(0)
            np.lib.format.write_array_header_1_0(self._clips, header)
            self._clips.flush()
        self._clips.seek(0)
        np.lib.format.read_magic(self._clips)
        np.lib.format.read_array_header_1_0(self._clips)
        self._offset = self._clips.tell()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._clips.close()
        self._progress.close()

    def missing(self) -> set[int]:
        """Return the indices of the pairs that are not there, or whose checksum does not fit."""
        for index in np.flatnonzero(self.records["source"] >= 0):
            content = os.pread(self._clips.fileno(), self._size, self._offset + int(index) * self._size)
            if len(content) < self._size or zlib.crc32(content) != self.records["crc"][index]:
                self.records["source"][index] = -1
        return {int(index) for index in np.flatnonzero(self.records["source"] < 0)}

    def add(self, index: int, clips: np.ndarray, source: int) -> None:
        """Write a pair."""
        if clips.shape != self._shape or clips.dtype != np.uint8:
            raise ValueError(
                f"pairs: expected uint8 clips {self._shape} like the first, got {clips.dtype} {clips.shape}"
            )
        content = clips.tobytes()  # written, not mapped: a full disk raises here, and kills who writes to a mapping
        _write(self._clips, content, self._offset + index * self._size)
        self.records[index] = zlib.crc32(content), source
        record = self.records[index : index + 1].tobytes()
        _write(self._progress, record, len(self._start) + index * _RECORD.itemsize)

    def sync(self) -> None:
        """Wait until the clips are on the disk."""
        os.fsync(self._clips.fileno())

    def _begin(self) -> None:
        needed, free = self._size * len(self.records), shutil.disk_usage(self._folder).free
        if needed > free:
            raise OSError(f"{self._folder}: {needed / 1e9:.3g} GB needed for the pairs, {free / 1e9:.3g} GB are free")
        content = self._start + self.records.tobytes()
        write_atomically(self._folder / _PROGRESS, lambda part: part.write_bytes(content))

    def _read_progress(self) -> None:
        try:
            content = (self._folder / _PROGRESS).read_bytes()
        except OSError:
            content = b""
        if not content.startswith(self._start) or len(content) != len(self._start) + self.records.nbytes:
            raise ValueError(f"{self._folder}: holds the beginning of other pairs; choose another folder or delete it")
        self.records = np.frombuffer(content[len(self._start) :], _RECORD).copy()


def _write(file: IO[bytes], content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file.fileno(), view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block; the lock goes with the process that holds it."""
    with os.fdopen(_open_here(folder / _LOCK), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open_here(path: Path) -> int:
    """Open a file, or make it; not what a link of its name leads to."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
