"""The results on disk: tables, all numbers, figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.arguments import write_results
from experiments.debias.model import BLOCKS
from experiments.debias.summary import SETTLED, TESTS, Summary
from experiments.debias.training import Run
from experiments.tables import markdown
from sdfast.report import plain

FILES = ("debias.md", "debias.json", "accuracy.png", "curves.png")


def save(
    folder: Path,
    summaries: Mapping[str, Sequence[Summary]],
    costs: Mapping[str, float],
    runs: Sequence[Run],
    about: Mapping[str, Any],
    chance: float,
) -> list[Path]:
    """Write the tables, the numbers and, if matplotlib is there, the figures; return the files written."""
    content = {
        "about": about,
        "rows": {name: {found.row.name: found.row.settings() for found in of} for name, of in summaries.items()},
        "summary": {name: [found.to_dict() for found in of] for name, of in summaries.items()},
        "costs": costs,
        "runs": [run.to_dict() for run in runs],
    }
    texts = {
        "debias.md": tables(summaries, costs) + "\n",
        "debias.json": json.dumps(plain(content), indent=1, allow_nan=False) + "\n",
    }

    def draw() -> dict[str, Any]:
        from experiments.debias import figures

        first = next(iter(summaries))
        curved = [run for run in runs if run.setting == first]
        return {
            "accuracy.png": figures.accuracy_figure(summaries, chance),
            "curves.png": figures.curves_figure(summaries[first], curved),
        }

    return write_results(folder, texts, draw)


def tables(summaries: Mapping[str, Sequence[Summary]], costs: Mapping[str, float]) -> str:
    """Return the tables of all settings as Markdown, and what ablation found."""
    parts = ["### In short", "", "Accuracy out of distribution; mean ± half of the 95 % interval.", ""]
    parts += [*markdown(_short(summaries, costs)), ""]
    for name, of in summaries.items():
        seeds = len(of[0].per_seed)
        parts += [f"### {name.capitalize()}", "", f"Means over {seeds} seeds with 95 % intervals.", ""]
        parts += [*markdown(_accuracies(of, costs)), "", *markdown(_scores(of)), ""]
        parts += [line for found in of if found.ablation for line in _ablated(found)]
    return "\n".join(parts).rstrip()


def _short(summaries: Mapping[str, Sequence[Summary]], costs: Mapping[str, float]) -> list[list[str]]:
    rows = [["trained with", *summaries, "cost of a step"]]
    for of_row in zip(*summaries.values(), strict=True):
        name = of_row[0].row.name
        rows.append([name, *(found.accuracy["out"].short for found in of_row), f"{costs[name]:.1f}"])
    return rows


def _accuracies(summaries: Sequence[Summary], costs: Mapping[str, float]) -> list[list[str]]:
    rows = [["trained with", "chosen", "settings tried", "out of distribution", "less its control"]]
    rows[0] += ["in distribution", "SCUBA", "SCUFO", "contrasted", "cost of a step"]
    for found in summaries:
        accuracy = {test: str(found.accuracy[test]) for test in TESTS}
        gain = "" if found.gain is None else f"{found.gain}, {found.row.control}"
        cells = [found.row.name, found.chosen, str(found.tried), accuracy["out"], gain]
        cells += [accuracy[test] for test in ("in", "scuba", "scufo", "contrasted")]
        rows.append([*cells, f"{costs[found.row.name]:.2f}"])
    return rows


def _scores(summaries: Sequence[Summary]) -> list[list[str]]:
    rows = [["trained with", *(f"{block} {what}" for block in BLOCKS for what in ("static", "dynamic", "share %"))]]
    rows[0].append(f"settled within {SETTLED} at step")
    for found in summaries:
        cells = [found.row.name]
        for block in BLOCKS:
            scores = found.scores[block]
            cells += [f"{scores[what].mean:.2f}" for what in ("static", "dynamic")]
            cells.append(f"{scores['static_share'].mean:.1f}")
        rows.append([*cells, "" if found.settled is None else f"{found.settled.mean:.0f}"])
    return rows


def _ablated(found: Summary) -> list[str]:
    lost = found.ablation
    return [
        f"Trained with {found.row.name}, on still frames, where nothing but the texture predicts: without "
        f"{lost['channels'].mean:.1f} channels of {BLOCKS[-1]} that are called static, half of all at most, "
        f"{lost['static']} of the accuracy is lost, without as many at random {lost['random']}; the first less the "
        f"second, paired by seed: {lost['gap']}. On moving clips {lost['moving']} is lost without the static ones.",
        "",
    ]
