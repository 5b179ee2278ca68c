"""Rows that never move while others come after them."""

import tempfile

import numpy as np
import torch
from torch import Tensor

from sdfast.foundation import StrPath

CHUNK = 256  # rows that memory is taken for at a time


class GrowingRows:
    """Keep rows of int64 on the host, in memory or in a file without a name that goes with this object.

    Args:
        width: how many numbers a row has.
        folder: where the file lies, or None for memory.

    Raises:
        OSError: the file cannot be made.

    >>> rows = GrowingRows(2)
    >>> rows.append(torch.arange(600).view(300, 2))
    >>> len(rows), [len(block) for block in rows.blocks()]
    (300, [256, 44])
    """

    def __init__(self, width: int, folder: StrPath | None = None) -> None:
        self._width = width
        self._file = None if folder is None else tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._chunks: list[Tensor] = []
        self._size = 0

    @staticmethod
    def num_bytes(rows: int, width: int) -> int:
        """Return the bytes that so many rows take, in whole chunks."""
        return -(-rows // CHUNK) * CHUNK * width * 8

    def __len__(self) -> int:
        return self._size

    def append(self, rows: Tensor) -> None:
        """Add rows (N, width).

        Raises:
            OSError: the disk has no room for them. Nothing has been added then.
        """
        total = self._size + len(rows)
        while len(self._chunks) * CHUNK < total:
            self._chunks.append(self._new_chunk())
        while self._size < total:
            own = self._chunks[self._size // CHUNK][self._size % CHUNK :][: total - self._size]
            own.copy_(rows[: len(own)])
            rows = rows[len(own) :]
            self._size += len(own)

    def blocks(self) -> list[Tensor]:
        """Return the rows as they lie in memory: at least one tensor (n, width), of at most 256 rows each."""
        full, rest = divmod(self._size, CHUNK)
        blocks = self._chunks[:full]
        if rest or not blocks:
            last = self._chunks[full] if rest else torch.empty((0, self._width), dtype=torch.int64)
            blocks.append(last[:rest])
        return blocks

    def _new_chunk(self) -> Tensor:
        if self._file is None:
            return torch.empty((CHUNK, self._width), dtype=torch.int64)
        size = self.num_bytes(1, self._width)
        start = len(self._chunks) * size
        # Written, not only mapped: a full disk is an error here, but would end the process later.
        self._file.seek(start)
        self._file.write(bytes(size))
        self._file.flush()
        return torch.from_numpy(np.memmap(self._file, np.int64, "r+", start, (CHUNK, self._width)))
