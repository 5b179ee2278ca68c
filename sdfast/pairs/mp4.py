"""What an MP4 file says of the number of its samples: FFmpeg makes room for all of them before it looks for any."""

import struct
from typing import BinaryIO

# Where tables of samples lie, each box in the one before: of whole files, and of fragments.
_TABLES = ((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz"), (b"moof", b"traf", b"trun"))


def claimed_samples(file: BinaryIO, end: int, start: int = 0, path: tuple[bytes, ...] = ()) -> int:
    """Return how many samples tables say there are without a size for each, or in a fragment; 0 of what is no MP4.

    Args:
        file: open for reading.
        end: its size in bytes, or the end of a box in it.
        start: where the first box begins.
        path: the boxes that lies in.

    Source: ISO/IEC 14496-12, 4.2 (boxes), 8.7.3.2 (sample sizes) and 8.8.8 (runs of fragments).

    >>> import io
    >>> table = struct.pack(">I4sIII", 20, b"stsz", 0, 1, 10**9)
    >>> for name in reversed(_TABLES[0][:-1]):
    ...     table = struct.pack(">I4s", 8 + len(table), name) + table
    >>> claimed_samples(io.BytesIO(table), len(table))
    1000000000
    """
    total = 0
    while start + 16 <= end:
        file.seek(start)
        head = file.read(20).ljust(20, b"\0")
        size, kind = struct.unpack_from(">I4s", head)
        begin = start + (16 if size == 1 else 8)
        size = struct.unpack_from(">Q", head, 8)[0] if size == 1 else size or end - start
        if start + size < begin:
            break
        inside = (*path, kind)
        if inside == _TABLES[0]:
            same, number = struct.unpack_from(">II", head, 12)
            total += number if same else 0
        elif inside == _TABLES[1]:
            total += struct.unpack_from(">I", head, 12)[0]
        elif any(inside == table[: len(inside)] for table in _TABLES):
            total += claimed_samples(file, min(start + size, end), begin, inside)
        start += size
    return total
