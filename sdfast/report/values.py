"""Reports as plain values: for JSON, comma-separated lines, data frames and loggers."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor

from sdfast.foundation import require
from sdfast.report.certainty import Certainty
from sdfast.report.notes import missing_factors
from sdfast.report.reading import SHARES
from sdfast.statistics import FACTORS

if TYPE_CHECKING:
    import pandas

ENDS = ("low", "high")
FLAGS = ("dead", "dominated")
COLUMNS = (
    "layer",
    "channel",
    "label",
    "dead",
    *(f"{what}_{factor}" for what in ("corr", "mi", "count") for factor in FACTORS),
    *(f"corr_{end}_{factor}" for factor in FACTORS for end in ENDS),
    *(f"mi_corrected_{factor}" for factor in FACTORS),
    "dominated",
)


def to_dict(report: Certainty) -> dict[str, Any]:
    """Return the values of `BiasReport.to_dict`."""
    return plain(
        {
            "name": report.name,
            "kind": report.kind,
            "threshold": report.threshold,
            "num_channels": report.num_channels,
            "count": named(FACTORS, report.count),
            "missing_factors": missing_factors(report),
            "num_sources": report.num_sources,
            "level": report.level,
            "method": report.method,
            "estimator": report.estimator,
            "classes": report.classes,
            "dead": int(report.dead.sum()),
            "undefined": int(report.undefined.sum()),
            "dominated": int(report.dominated.any(0).sum()),
            "layer_score": named(SHARES, report.layer_score),
            "layer_interval": named(SHARES, report.layer_interval().T),
            "dims": named(SHARES, report.dims),
            "percent": named(SHARES, report.percent),
            "share_interval": named(SHARES, report.share_interval().T),
            "needed_sources": report.needed_sources(),
            "mi_floor": named(FACTORS, report.mi_floor),
            "channels": _channels(report),
        }
    )


@overload
def plain(value: Mapping[Any, Any]) -> dict[str, Any]: ...
@overload
def plain(value: object) -> Any: ...
def plain(value: object) -> Any:
    """Return a value as JSON can hold it: NaN as None, infinity as "inf", what it does not know as a string."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def write_csv(path: Path, reports: Iterable[Certainty]) -> None:
    """Write one line a channel; NaN as "nan", infinity as "inf", yes and no as 1 and 0."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(COLUMNS)
        for report in reports:
            columns = _columns(report)
            columns |= {name: [int(yes) for yes in columns[name]] for name in FLAGS}
            lines.writerows(zip(*(columns[name] for name in COLUMNS), strict=True))


def to_frame(reports: Iterable[Certainty]) -> "pandas.DataFrame":
    """Return one row a channel, with the columns of channels.csv.

    Raises:
        ImportError: pandas is missing.
    """
    pandas = require("pandas")
    return pandas.concat([pandas.DataFrame(_columns(report), columns=COLUMNS) for report in reports], ignore_index=True)


def scalars(report: Certainty) -> dict[str, float]:
    """Return the values of `BiasReport.scalars`."""
    found = {f"channels/{label}": float(number) for label, number in report.classes.items()}
    for what, values, ends in (
        ("score", report.layer_score, report.layer_interval()),
        ("percent", report.percent, report.share_interval()),
    ):
        rows = {"": values, **{f"_{end}": row for end, row in zip(ENDS, ends, strict=True)}}
        found |= {f"{what}{end}/{name}": x for end, row in rows.items() for name, x in named(SHARES, row).items()}
    prefix = f"{report.name}/" if report.name else ""
    return {prefix + key: value for key, value in found.items()}


def named(names: tuple[str, ...], values: Tensor) -> dict[str, Any]:
    """Return {name: value} of a tensor with a value, or a row, a name."""
    return dict(zip(names, values.tolist(), strict=True))


def _channels(report: Certainty) -> dict[str, list[Any]]:
    """Return what each channel of a report has, a list of values a column."""
    low, high = report.interval()
    rows = {"corr": report.corr, "mi": report.mi, "corr_low": low, "corr_high": high}
    found = {"label": report.labels, "dead": report.dead.tolist(), "dominated": report.dominated.any(0).tolist()}
    for what, pair in {**rows, "mi_corrected": report.mi_corrected}.items():
        found |= {f"{what}_{factor}": row.tolist() for factor, row in zip(FACTORS, pair, strict=True)}
    return found


def _columns(report: Certainty) -> dict[str, list[Any]]:
    """Return the columns of channels.csv, and what else each channel has."""
    number = report.num_channels
    counts = {f"count_{factor}": [count] * number for factor, count in named(FACTORS, report.count).items()}
    return {"layer": [report.name] * number, "channel": list(range(number)), **_channels(report), **counts}
