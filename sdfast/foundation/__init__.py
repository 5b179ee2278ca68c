"""What every room stands on: checks of arguments, optional packages, files, and how far a job is."""

from sdfast.foundation.arguments import check_integer, check_lengths
from sdfast.foundation.extras import OPTIONAL, how_to_get, opencv, require
from sdfast.foundation.files import StrPath, remove_parts, write_atomically, write_together
from sdfast.foundation.lock import FolderLock, LockedError
from sdfast.foundation.progress import progress_bar
from sdfast.foundation.untrusted import map_npy, read_json, read_npz, read_torch

__all__ = [
    "OPTIONAL",
    "FolderLock",
    "LockedError",
    "StrPath",
    "check_integer",
    "check_lengths",
    "how_to_get",
    "map_npy",
    "opencv",
    "progress_bar",
    "read_json",
    "read_npz",
    "read_torch",
    "remove_parts",
    "require",
    "write_atomically",
    "write_together",
]
