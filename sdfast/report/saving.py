"""The files that a measurement leaves."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdfast.foundation import require, write_atomically
from sdfast.report import tables
from sdfast.report.bias_report import BiasReport

REPORT_JSON, CHANNELS_CSV = "report.json", "channels.csv"
LAYERS_PNG, CHANNELS_PNG = "layers.png", "channels.png"
RESULTS = REPORT_JSON, CHANNELS_CSV, LAYERS_PNG, CHANNELS_PNG


def save_reports(reports: Mapping[str, BiasReport], folder: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Write report.json, channels.csv, layers.png and channels.png, each whole or not at all.

    Args:
        reports: the report of each layer.
        folder: where to; made if it is not there.
        settings: what was measured and how; goes into report.json.

    Without matplotlib the pictures are left out, and a printed line says so.
    """
    from sdfast import __version__

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: replace(report, name=name) for name, report in reports.items()}
    layers = {name: report.to_dict() for name, report in named.items()}
    content = tables.plain({"sdfast": __version__, "settings": settings, "layers": layers})
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / REPORT_JSON, lambda part: part.write_text(text, encoding="utf-8"))
    write_atomically(folder / CHANNELS_CSV, lambda part: tables.write_csv(part, named.values()))
    try:
        require("matplotlib")
    except ImportError as error:
        print(f"no pictures: {error}")
        return
    from sdfast.report import plots

    write_atomically(folder / LAYERS_PNG, plots.layers_figure(named).savefig)
    write_atomically(folder / CHANNELS_PNG, plots.channels_figure(named).savefig)
