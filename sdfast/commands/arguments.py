"""Numbers as arguments of a command."""

import argparse
import math
import re


def positive(text: str) -> int:
    """Return an integer from 1 on.

    >>> positive("3")
    3
    """
    return _integer(text, 1, "a positive integer")


def not_negative(text: str) -> int:
    """Return an integer from 0 on.

    >>> not_negative("0")
    0
    """
    return _integer(text, 0, "an integer from 0 on")


def half_width(text: str) -> float:
    """Return a half-width between 0 and 1 from percent or a fraction.

    >>> half_width("0.5%"), half_width("1 %"), half_width("0.01")
    (0.005, 0.01, 0.01)
    """
    number, percent = re.fullmatch(r"\s*(.*?)\s*(%?)\s*", text, re.DOTALL).groups()
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a half-width such as 1%, 0.5% or 0.01, got {text}")
    return value


def _integer(text: str, low: int, expected: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if value < low:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return value
