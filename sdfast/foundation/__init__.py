"""What every room stands on: checks of arguments, optional packages, and files that are whole or not there."""

from sdfast.foundation.arguments import check_integer, check_lengths
from sdfast.foundation.extras import OPTIONAL, how_to_get, opencv, require
from sdfast.foundation.files import write_atomically

__all__ = [
    "OPTIONAL",
    "check_integer",
    "check_lengths",
    "how_to_get",
    "opencv",
    "require",
    "write_atomically",
]
