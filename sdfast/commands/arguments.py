"""Numbers as arguments of a command."""

import argparse


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


def _integer(text: str, low: int, expected: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if value < low:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return value
