"""What a run ends with: its JSON, a page of tables with plots, and lines for the terminal."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks import outcome
from benchmarks.targets import targets_of
from sdfast.foundation import write_atomically

REHEARSAL = (
    "REHEARSAL on the CPU, at sizes of a few kilobytes and in Triton's interpreter. It shows that the script runs and "
    "that answers are right there. No GPU was used, nothing was judged, and there is no figure of a GPU here."
)
_METHOD = (
    "Only ratios within one run count: candidates are timed in turn, and each ratio is of one round. Every answer is "
    "checked before it is timed, ours into poisoned memory; `WRONG` is not timed. Where the middle half of the rounds "
    "does not agree a row is noise and shows nothing. On a GPU times are of the device, between its events; below "
    "0.5 GB moved, of replays of CUDA graphs over rotated inputs; a verdict in brackets is of the backend that does "
    "not serve by default."
)
_BEHIND = "Right answers in less time than ours, whatever they leave out (a wrong one is not timed)."
_GROWTH = "An exponent is the slope of a line through the logarithms: 1 where twice the size takes twice the time."
_BESIDE = (
    "Times are those of the candidate over ours: above 1, sdfast is faster. Bytes are those that must be read and "
    "written, each once. Errors are absolute, against float64; of dropout, of wrong elements or of the share dropped."
)
_KERNELS = (
    "Of one call of ours each, by the profiler; registers are those of a thread, shared memory of a block, in bytes. "
    "The host's part is the least of some calls, made while the device was busy."
)
_PLOTS = {
    "limits.png": "Each operation as a fraction of its limit",
    "growth.png": "Time over size",
    "errors.png": "Error over the mean of the features",
}


class Section(NamedTuple):
    """A part of the page: what it tells, a table, and names of plots."""

    title: str
    told: str
    table: outcome.Rows = ()
    plots: tuple[str, ...] = ()


def sections(kept: Mapping) -> list[Section]:
    """Return what there is to tell, the most important first; a table of nothing but a header is left out."""
    found = []
    if not kept["rehearsal"]:
        missed = {figure["target"] for figure in outcome.sort_figures(kept)["missed"]}
        known = (target for target in targets_of(kept["kind"]) if target.remark and target.label in missed)
        lines = "\n".join(f"- {line}" for line in outcome.summary(kept))
        told = [lines, *(f"*{each.label}*: {each.remark}" for each in known)]
        found.append(Section("Reach, aim, measured", "\n\n".join(told), outcome.judged_table(kept), ("limits.png",)))
    found += [
        Section("Where a peer is faster", _BEHIND, outcome.behind_table(kept)),
        Section("Growth and precision", _GROWTH, outcome.curve_table(kept), ("growth.png", "errors.png")),
        Section("Beside its peers", _BESIDE, outcome.row_table(kept)),
        Section("Kernels", _KERNELS, outcome.kernel_table(kept)),
        Section("Counted by Nsight Compute", "Clocks as they were.", outcome.counter_table(kept)),
        Section("Answers", "Of odd shapes, in every layout; the largest error.", outcome.check_table(kept)),
    ]
    if missing := outcome.faults(kept):
        found.append(Section("What is missing", "\n".join(f"- {line}" for line in missing)))
    return [section for section in found if len(section.table) != 1]


def terminal(kept: Mapping) -> list[str]:
    """Return the lines that a run ends with, the most important last."""
    lines = []
    for section in reversed(sections(kept)):
        table = outcome.columns(section.table) if section.table else ()
        lines += ["", section.title, *table, *section.told.split("\n")]
    return [*lines, "", outcome.machine_line(kept), *([REHEARSAL] if kept["rehearsal"] else outcome.summary(kept)[:1])]


def write(kept: Mapping, out: Path) -> None:
    """Write the JSON and, beside it, the page without plots."""
    finite = json.loads(json.dumps(kept), parse_constant=str)  # JSON has no numbers for infinity and NaN
    text = json.dumps(finite, indent=1, allow_nan=False) + "\n"
    write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))
    write_page(kept, out.with_suffix(".md"))


def write_page(kept: Mapping, page: Path, plots: Path | None = None) -> list[Path]:
    """Write the page and, to a folder if there is one for them, its plots; return what was written."""
    written = []
    if plots is not None:
        from benchmarks.figures import draw_curves, draw_limits

        plots.mkdir(parents=True, exist_ok=True)
        figures = draw_limits(kept), draw_curves(kept, "s"), draw_curves(kept, "")
        for name, figure in zip(_PLOTS, figures, strict=True):
            if figure is not None:
                write_atomically(plots / name, figure.savefig)
                written.append(plots / name)
    text = _text(kept, {path.name: f"{plots.name}/{path.name}" for path in written})
    write_atomically(page, lambda part: part.write_text(text, encoding="utf-8"))
    return [page, *written]


def _text(kept: Mapping, plots: Mapping[str, str]) -> str:
    machine, rounds = kept["machine"], "a quick run, of few rounds" if kept["quick"] else "a full run"
    parts = [
        "# REHEARSAL, not a GPU's figures" if kept["rehearsal"] else "# What was measured",
        f"Written by `python -m benchmarks` on {machine.get('date', 'an unknown day')}: {rounds}.",
        outcome.markdown([("machine", f"{platform.system()} {platform.machine()}"), *machine.items()]),
        f"**{REHEARSAL}**" if kept["rehearsal"] else _METHOD,
    ]
    for section in sections(kept):
        parts += [f"## {section.title}", section.told, *([outcome.markdown(section.table)] if section.table else ())]
        parts += [f"![{_PLOTS[name]}]({plots[name]})" for name in section.plots if name in plots]
    return "\n\n".join(parts) + "\n"
