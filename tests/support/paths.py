"""Where the repository and the data of the tests are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


def is_unpacked() -> bool:
    """Tell whether this is an unpacked source distribution, which leaves out pictures and the larger data."""
    return (ROOT / "PKG-INFO").exists()
