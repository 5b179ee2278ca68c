"""Checks of plain arguments; each error names the argument, what it was and what it should have been."""

from collections.abc import Iterable

import numpy as np


def check_integer(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raise ValueError unless value is an integer of Python or NumPy from low to high; a bool is none."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or value < low or (high is not None and value > high):
        end = "on" if high is None else f"to {high}"
        expected = "a positive integer" if (low, high) == (1, None) else f"an integer from {low} {end}"
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def check_lengths(name: str, lengths: Iterable[int], meaning: str) -> None:
    """Raise ValueError unless lengths are positive integers, as many as meaning names, such as "(height, width)"."""
    lengths = tuple(lengths) if isinstance(lengths, Iterable) else lengths
    if not isinstance(lengths, tuple) or len(lengths) != len(meaning.split(",")):
        raise ValueError(f"{name}: expected {meaning}, got {lengths!r}")
    for length in lengths:
        check_integer(name, length, 1)
