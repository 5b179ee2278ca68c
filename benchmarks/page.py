"""The page of results: what a run has kept, as Markdown beside its plots."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import draw_errors, draw_growth, draw_limits
from benchmarks.outcome import sort_figures, summary
from benchmarks.remarks import REMARKS
from benchmarks.scoreboard import markdown
from sdfast.foundation import write_atomically

_PLOTS = {
    "limits.png": (draw_limits, "Each operation as a fraction of its limit"),
    "growth.png": (draw_growth, "Time over size"),
    "errors.png": (draw_errors, "Error over the mean of the features"),
}


def write_page(kept: Mapping, folder: Path) -> list[Path]:
    """Write RESULTS.md and plots/*.png of the figures that a run has kept; return what was written.

    Args:
        kept: as `Scoreboard.to_dict` gives it.
        folder: where the page is to be.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    written = []
    for name, (draw, _) in _PLOTS.items():
        figure = draw(kept)
        if figure is not None:
            path = folder / "plots" / name
            write_atomically(path, figure.savefig)
            written.append(path)
    page = folder / "RESULTS.md"
    text = _text(kept, [path.name for path in written])
    write_atomically(page, lambda part: part.write_text(text, encoding="utf-8"))
    return [page, *written]


def _text(kept: Mapping, plots: Sequence[str]) -> str:
    machine, tables = kept["machine"], kept["tables"]
    rounds = "a quick run, of few rounds" if kept["quick"] else "a full run"
    system = f"{platform.system()} {platform.machine()}"
    parts = [
        "# What was measured",
        f"Written by `python -m benchmarks --page` on {machine['date']}: {rounds}.",
        markdown([("machine", system), *machine.items()]),
        "Only ratios within one run count: candidates are timed in turn, each ratio is of one round, and shown are the "
        "median, the extremes and the number of rounds. An answer is checked before it is timed. The rows below are "
        "noise where the middle half of the rounds does not agree; they show nothing.",
        "## Reach, aim, measured",
        "\n".join(f"- {line}" for line in summary(kept)),
        *_remarks(kept),
        markdown(tables["judged"]),
        *_picture("limits.png", plots),
    ]
    if behind := _behind(kept):
        parts += [
            "## Where a peer is faster",
            "Right answers in less time than ours, whatever they leave out (a wrong one is not timed).",
            markdown([("case", "candidate", "its time / ours", "error"), *behind]),
        ]
    if len(tables["curves"]) > 1:
        parts += [
            "## Growth and precision",
            "An exponent is the slope of a straight line through the logarithms: 1 where twice the size takes twice "
            "the time, less where a call has costs of its own.",
            markdown(tables["curves"]),
            *_picture("growth.png", plots),
            *_picture("errors.png", plots),
        ]
    if len(tables["beside"]) > 1:
        parts += [
            "## Beside its peers",
            "Times are those of the candidate over ours: above 1, sdfast is faster. Errors are absolute, against "
            "float64; of dropout, of the share that is dropped. `WRONG` was not timed.",
            markdown(tables["beside"]),
        ]
    return "\n\n".join(parts) + "\n"


def _remarks(kept: Mapping) -> list[str]:
    """Return a paragraph for each kind of figure that is missed and of which something is known."""
    missed = dict.fromkeys(figure["target"] for figure in sort_figures(kept)["missed"])
    return [f"*{target}*: {REMARKS[target]}" for target in missed if target in REMARKS]


def _picture(name: str, plots: Sequence[str]) -> list[str]:
    return [f"![{_PLOTS[name][1]}](plots/{name})"] if name in plots else []


def _behind(kept: Mapping) -> list[tuple[str, ...]]:
    """Return the peers that are faster; a limit of the machine is none."""
    limits = ("read probe", "mul_", "mul(out=)", "torch.mm")
    return [
        (row["case"], row["candidate"], f"{row['ratio']['median']:.2f}x", f"{row['error']:.0e}")
        for row in kept["beside"]
        if row["ratio"] and row["error"] is not None and row["candidate"] not in limits and row["ratio"]["median"] < 1
    ]
