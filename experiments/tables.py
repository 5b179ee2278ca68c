"""Tables of experiments as Markdown."""

from collections.abc import Sequence


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells, the first of them titles, as lines of a Markdown table.

    >>> print(*markdown([["fusion", "overlap"], ["sum", "0.5"]]), sep=chr(10))
    | fusion | overlap |
    |--------|---------|
    | sum    | 0.5     |
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    head, *lines = (f"| {' | '.join(cells)} |" for cells in padded)
    return [head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines]
