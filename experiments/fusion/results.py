"""The results on disk: the tables, all numbers, one figure."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.arguments import write_results
from experiments.estimates import Estimate
from experiments.fusion.model import CHANNELS
from experiments.fusion.rows import LEVELS
from experiments.fusion.summary import BASELINE, Summaries
from experiments.fusion.training import KINDS, Run
from experiments.tables import markdown
from sdfast.report import plain

FILES = ("fusion.md", "fusion.json", "fusion.png")
LAYERS = {f"{part}.{level}": f"{part} {level + 1}" for part in (*CHANNELS, "fusion") for level in LEVELS}


def save(folder: Path, found: Summaries, runs: Sequence[Run], settings: Mapping[str, Any]) -> list[Path]:
    """Write the tables, the numbers and, if matplotlib is there, the figure; return the files written."""
    content = {"settings": settings, "summary": found.to_dict(), "runs": [run.to_dict() for run in runs]}
    texts = {
        "fusion.md": tables(found) + "\n",
        "fusion.json": json.dumps(plain(content), indent=1, allow_nan=False) + "\n",
    }

    def draw() -> dict[str, Any]:
        from experiments.fusion.figure import figure

        return {"fusion.png": figure(found)}

    return write_results(folder, texts, draw)


def tables(found: Summaries) -> str:
    """Return the tables as Markdown: each network, what its parts do, the scores of each layer, and who is best."""
    less = f"less {BASELINE.name}"
    rows = [["fusion", "crossing", *(x for kind in KINDS for x in (kind, less)), "static share %", less]]
    scores = [["static / dynamic score", *LAYERS.values()]]
    for summary in found.rows:
        cells = [summary.row.fusion, "" if summary.static_share is None else summary.row.crossing]
        for kind in KINDS:
            cells += [_text(summary.overlap[kind], 3), _text(summary.gain.get(kind), 3)]
        rows.append([*cells, _text(summary.static_share, 1), _text(summary.gain.get("static_share"), 1)])
        both = (summary.scores.get(layer) for layer in LAYERS)
        scores.append(
            [
                summary.row.name,
                *("" if x is None else f"{x['static'].mean:.2f} / {x['dynamic'].mean:.2f}" for x in both),
            ]
        )
    effects = [["", *KINDS, "static share %"]]
    for effect in found.effects:
        against = "none" if effect.name in (row.row.crossing for row in found.rows) else "sum"
        gains = [_text(effect.gain[kind], 3) for kind in KINDS]
        effects.append([f"{effect.name} less {against}", *gains, _text(effect.gain["static_share"], 1)])
    return "\n".join(
        [
            "Intersection over union, and the static share of the fusion layers (mean of all levels): means over "
            f"{found.seeds} seeds with 95 % intervals; differences are seed by seed.",
            "",
            *markdown(rows),
            "",
            "Each fusion over all crossings, and each crossing over all fusions.",
            "",
            *markdown(effects),
            "",
            "Static and dynamic score of each layer, means over the seeds.",
            "",
            *markdown(scores),
            "",
            f"Least static: {_best(found.best['static_share'])}",
            f"Best on camouflage: {_best(found.best['camouflage'])}",
            "Correlation of static share and overlap on camouflage over the combinations, within a seed: "
            f"{_text(found.trend, 2)}.",
        ]
    )


def _text(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return ""
    mean, low, high = (f"{value:.{digits}f}" for value in (estimate.mean, estimate.low, estimate.high))
    return mean if low == "nan" else f"{mean} ({low} to {high})"


def _best(names: Sequence[str]) -> str:
    first, *others = names
    return f"{first}; not told apart from it by these seeds: {'; '.join(others) or 'none'}."
