"""Which layers of a deep model are measured unless others are asked for."""

from collections.abc import Sequence

_MOST = 4


def spread(names: Sequence[str]) -> tuple[str, ...]:
    """Return up to four names, evenly spread, the last one included.

    >>> spread("abcdef")
    ('a', 'c', 'd', 'f')
    """
    count = min(_MOST, len(names))
    return tuple(names[(number + 1) * len(names) // count - 1] for number in range(count))
