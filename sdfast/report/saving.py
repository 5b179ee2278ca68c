"""The files that a measurement leaves, and the reports that come back from them."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdfast.foundation import require, write_atomically
from sdfast.report import values
from sdfast.report.bias_report import BiasReport
from sdfast.report.sums import REPORT_JSON, REPORT_NPZ, read_reports, write_sums

CHANNELS_CSV = "channels.csv"
LAYERS_PNG, CHANNELS_PNG = "layers.png", "channels.png"
RESULTS = REPORT_JSON, REPORT_NPZ, CHANNELS_CSV, LAYERS_PNG, CHANNELS_PNG


def save_reports(reports: Mapping[str, BiasReport], folder: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Write report.json, report.npz, channels.csv, layers.png and channels.png, each whole or not at all.

    Args:
        reports: the report of each layer.
        folder: where to; made if it is not there.
        settings: what was measured and how; goes into report.json.

    Without matplotlib the pictures are left out, and a printed line says so. report.npz holds the sums that the
    reports come back from, see `load_reports`, and report.json its SHA-256.
    """
    from sdfast import __version__

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: replace(report, name=name) for name, report in reports.items()}
    layers = {name: report.to_dict() for name, report in named.items()}
    sums = write_sums(folder, named.values())
    content = values.plain({"sdfast": __version__, "settings": settings, "sums": sums, "layers": layers})
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / REPORT_JSON, lambda part: part.write_text(text, encoding="utf-8"))
    write_atomically(folder / CHANNELS_CSV, lambda part: values.write_csv(part, named.values()))
    try:
        require("matplotlib")
    except ImportError as error:
        print(f"no pictures: {error}")
        return
    from sdfast.report import plots

    write_atomically(folder / LAYERS_PNG, plots.layers_figure(named).savefig)
    write_atomically(folder / CHANNELS_PNG, plots.channels_figure(named).savefig)


def load_reports(path: str | os.PathLike) -> dict[str, BiasReport]:
    """Return the reports of a measurement, {layer: report}, as they were when they were saved.

    Args:
        path: the folder that `save_reports` or `sdfast measure` wrote to, or the report.json in it.

    Raises:
        FileNotFoundError: there is no report.json.
        ValueError: a file is damaged, or report.json and report.npz are of two runs; the message names the file.

    >>> import tempfile, torch, sdfast
    >>> from sdfast.report import save_reports
    >>> moments = torch.tensor([9.0, 0, 0, 9, 9, 8]).view(6, 1, 1).repeat(1, 2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_reports({"layer4": sdfast.BiasReport(moments)}, folder, settings={})
    ...     sdfast.load_reports(folder)["layer4"].num_channels
    3
    """
    return read_reports(path, BiasReport)
