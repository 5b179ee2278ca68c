"""What an MP4 file says of the number of its samples: FFmpeg makes room for all of them before it looks for any."""

import struct
from typing import BinaryIO

# Where the table of sizes lies: each box in the one before.
_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def samples_of_one_size(file: BinaryIO, end: int, start: int = 0, depth: int = 0) -> int:
    """Return the largest number of samples that a table says without a size for each; 0 of what is no MP4.

    Args:
        file: open for reading.
        end: its size in bytes, or the end of a box in it.
        start: where the first box begins.
        depth: in how many boxes that lies.

    Source: ISO/IEC 14496-12, 4.2 (boxes) and 8.7.3.2 (sample sizes).

    >>> import io
    >>> table = struct.pack(">I4sIII", 20, b"stsz", 0, 1, 10**9)
    >>> for name in reversed(_PATH):
    ...     table = struct.pack(">I4s", 8 + len(table), name) + table
    >>> samples_of_one_size(io.BytesIO(table), len(table))
    1000000000
    """
    most = 0
    while start + 20 <= end:
        file.seek(start)
        head = file.read(20)
        if len(head) < 20:
            break
        size, kind = struct.unpack_from(">I4s", head)
        begin = start + (16 if size == 1 else 8)
        size = struct.unpack_from(">Q", head, 8)[0] if size == 1 else size or end - start
        if start + size < begin:
            break
        if depth == len(_PATH) and kind == b"stsz":
            same, number = struct.unpack_from(">II", head, 12)
            most = max(most, number if same else 0)
        elif depth < len(_PATH) and kind == _PATH[depth]:
            most = max(most, samples_of_one_size(file, min(start + size, end), begin, depth + 1))
        start += size
    return most
