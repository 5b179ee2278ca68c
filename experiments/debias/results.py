"""The results on disk: a table, all numbers, two figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.debias.model import BLOCKS
from experiments.debias.summary import SETTLED, Summary
from experiments.debias.training import Run
from sdfast.foundation import require, write_atomically
from sdfast.report import plain

FILES = ("debias.md", "debias.json", "accuracy.png", "curves.png")


def save(folder: Path, summaries: Sequence[Summary], runs: Sequence[Run], settings: Mapping[str, Any]) -> list[Path]:
    """Write the table, the numbers and, if matplotlib is there, the figures; return the files written."""
    content = {
        "settings": settings,
        "rows": {summary.row.name: summary.row.settings() for summary in summaries},
        "summary": [summary.to_dict() for summary in summaries],
        "runs": [run.to_dict() for run in runs],
    }
    texts = {
        "debias.md": table(summaries) + "\n",
        "debias.json": json.dumps(plain(content), indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))
    try:
        require("matplotlib")
    except ImportError as error:
        print(f"no pictures: {error}")
        return [folder / name for name in texts]
    from experiments.debias import figures

    write_atomically(folder / "accuracy.png", figures.accuracy_figure(summaries).savefig)
    write_atomically(folder / "curves.png", figures.curves_figure(summaries, runs).savefig)
    return [folder / name for name in FILES]


def table(summaries: Sequence[Summary]) -> str:
    """Return the tables as Markdown: accuracies, then the scores of each block."""
    seeds = len(summaries[0].per_seed)
    accuracies = [["dropout", "p", "out of distribution", "less its control", "in distribution", "settled"]]
    scores = [["dropout", *(f"{block} {what}" for block in BLOCKS for what in ("static", "dynamic", "share %"))]]
    for summary in summaries:
        name, accuracy = summary.row.name, summary.accuracy
        gain = "" if summary.gain is None else f"{summary.gain}, {summary.row.control}"
        p = f"{summary.row.options['p']:g}" if summary.row.options else ""
        accuracies.append([name, p, str(accuracy["out"]), gain, str(accuracy["in"]), f"{summary.settled.mean:.2f}"])
        cells = [name]
        for block in BLOCKS:
            found = summary.scores[block]
            cells += [f"{found[what].mean:.2f}" for what in ("static", "dynamic")]
            cells.append(f"{found['static_share'].mean:.1f}")
        scores.append(cells)
    return "\n".join(
        [
            f"Accuracy, means over {seeds} seeds with 95 % intervals. Settled: the part of the training after which "
            f"the static score of the last block stays within {SETTLED} of where it ends.",
            "",
            *_lines(accuracies),
            "",
            "Static and dynamic score of each block at the end, and its static share; means over the seeds.",
            "",
            *_lines(scores),
        ]
    )


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    lines = [f"| {' | '.join(cells)} |" for cells in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines
