"""Numbers as arguments of a command."""

import argparse


def positive(text: str) -> int:
    """Return an integer from 1 on.

    >>> positive("3")
    3
    """
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text}")
    return value


def not_negative(text: str) -> int:
    """Return an integer from 0 on.

    >>> not_negative("0")
    0
    """
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 on, got {text}")
    return value
