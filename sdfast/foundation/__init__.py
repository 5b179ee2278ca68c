"""What every room stands on: checks of arguments, optional packages, whole files, and how far a job is."""

from sdfast.foundation.arguments import check_integer, check_lengths
from sdfast.foundation.extras import OPTIONAL, how_to_get, opencv, require
from sdfast.foundation.files import remove_parts, write_atomically, write_together
from sdfast.foundation.lock import FolderLock, LockedError
from sdfast.foundation.progress import progress_bar

__all__ = [
    "OPTIONAL",
    "FolderLock",
    "LockedError",
    "check_integer",
    "check_lengths",
    "how_to_get",
    "opencv",
    "progress_bar",
    "remove_parts",
    "require",
    "write_atomically",
    "write_together",
]
