"""Reports as text, plain values and comma-separated lines."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdfast.report.reading import LABELS, SHARES, Reading
from sdfast.statistics import FACTORS

FLOOR_NOTE = "shares come from a softmax: no information at all reads 21.2 / 21.2 / 57.6 %"
POOLING_NOTE = "pooling forgets the order of frames: a frame-local model reads static 1 by construction"
UNDEFINED_NOTE = "undefined (NaN, Inf or fewer than two pairs), left out of the scores"
COLUMNS = (
    "layer",
    "channel",
    "label",
    "dead",
    *(f"{what}_{factor}" for what in ("corr", "mi", "count") for factor in FACTORS),
)


def summary(report: Reading) -> str:
    """Return the text of `BiasReport.summary`."""
    classes = {label: f"{n} ({100 * n / report.num_channels:.1f} %)" for label, n in report.classes.items()}
    lines = {
        f"classes at corr > {report.threshold:g}": _join(classes),
        "layer score": _join(_named(SHARES, report.layer_score, "{:.3f}")),
        "share of the layer": _join(_named(SHARES, report.percent, "{:.1f} %")),
        "among the residual": f"{int(report.dead.sum())} dead (never vary), "
        f"{int(report.undefined.sum())} {UNDEFINED_NOTE}",
        "MI by chance": _join(_named(FACTORS, report.mi_floor, "{:.2g} nats")),
    }
    dynamic, static = report.count.tolist()
    head = f"{report.name or 'layer'}: {report.num_channels} channels, {dynamic} dynamic + {static} static pairs"
    width = max(map(len, lines))
    body = [f"  {title:{width}}  {text}" for title, text in lines.items()]
    return "\n".join([f"{head}, {report.kind}", *body, f"  {FLOOR_NOTE};", f"  {POOLING_NOTE}"])


def to_dict(report: Reading) -> dict[str, Any]:
    """Return the values of `BiasReport.to_dict`."""
    channels = {"label": report.labels, "dead": report.dead.tolist()}
    for what, rows in (("corr", report.corr), ("mi", report.mi)):
        channels |= {f"{what}_{factor}": row.tolist() for factor, row in zip(FACTORS, rows, strict=True)}
    return plain(
        {
            "name": report.name,
            "kind": report.kind,
            "threshold": report.threshold,
            "num_channels": report.num_channels,
            "count": _named(FACTORS, report.count),
            "classes": report.classes,
            "dead": int(report.dead.sum()),
            "undefined": int(report.undefined.sum()),
            "layer_score": _named(SHARES, report.layer_score),
            "dims": _named(SHARES, report.dims),
            "percent": _named(SHARES, report.percent),
            "mi_floor": _named(FACTORS, report.mi_floor),
            "channels": channels,
        }
    )


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN as None, infinity as "inf", what it does not know as a string."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def write_csv(path: Path, reports: Iterable[Reading]) -> None:
    """Write one line a channel; NaN as "nan", infinity as "inf"."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(COLUMNS)
        for report in reports:
            columns = report.labels, report.dead.int().tolist(), *report.corr.tolist(), *report.mi.tolist()
            rows = enumerate(zip(*columns, strict=True))
            lines.writerows([report.name, channel, *row, *report.count.tolist()] for channel, row in rows)


def format_table(reports: Mapping[str, Reading]) -> str:
    """Return a table for the terminal, one line a layer."""
    rows = [["layer", "pairs", "channels", *LABELS, "dead", "score dyn/stat", "share % dyn/stat/res"]]
    notes = [FLOOR_NOTE, POOLING_NOTE]
    for name, report in reports.items():
        sizes = int(report.count.sum()), report.num_channels, *report.classes.values(), int(report.dead.sum())
        score = " / ".join(f"{x:.3f}" for x in report.layer_score.tolist()[: len(FACTORS)])
        percent = " / ".join(f"{x:4.1f}" for x in report.percent.tolist())
        rows.append([name, *map(str, sizes), score, percent])
        if undefined := int(report.undefined.sum()):
            notes.append(f"{name}: {undefined} of {report.num_channels} channels {UNDEFINED_NOTE}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([name.ljust(widths[0]), *(x.rjust(w) for x, w in zip(cells, widths[1:], strict=True))])
        for name, *cells in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*lines, *notes])


def _named(names: tuple[str, ...], values, form: str = "") -> dict[str, Any]:
    values = values.tolist()
    return dict(zip(names, [form.format(x) for x in values] if form else values, strict=True))


def _join(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
