"""Numbers as arguments of a command, and what adds commands and arguments."""

import argparse
import math
from collections.abc import Callable
from typing import Any, Protocol

Add = Callable[..., argparse.Action]  # what adds an argument to a command


class Subparsers(Protocol):
    """What a command adds itself to."""

    def add_parser(self, name: str, *, help: str, description: str = ...) -> argparse.ArgumentParser:
        """Add a command."""


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


class PairsAction(argparse.Action):
    """Take `N`, `flow` or `flow N`: how many pairs there shall be, and in `flow` whether with optical flow."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Set what was given, or say what was expected."""
        numbers = [value for value in values if value != "flow"]
        if len(numbers) > 1 or len(values) - len(numbers) > 1:
            raise argparse.ArgumentError(self, f"expected N, flow or flow N, got {' '.join(values)}")
        namespace.flow = len(values) > len(numbers)
        try:
            namespace.pairs = positive(numbers[0]) if numbers else self.default
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from error


def half_width(text: str) -> float:
    """Return a half-width between 0 and 1 from percent or a fraction.

    >>> half_width("0.5%"), half_width("1 %"), half_width("0.01")
    (0.005, 0.01, 0.01)
    """
    given = text.strip()
    try:
        value = float(given.removesuffix("%")) / (100 if given.endswith("%") else 1)
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
