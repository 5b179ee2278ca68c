"""The files that a measurement leaves, and the reports that come back from them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sdfast.foundation import FolderLock, StrPath, require, write_together
from sdfast.report import values
from sdfast.report.bias_report import BiasReport
from sdfast.report.sums import REPORT_JSON, REPORT_NPZ, read_content, read_reports, report_json, sha256_of, write_sums

CHANNELS_CSV = "channels.csv"
PICTURES = "layers", "channels", "depth"
FORMATS = "png", "svg", "pdf"


def results(picture: str = "png") -> list[str]:
    """Return the names of all files that `save_reports` writes with pictures of this format."""
    return [REPORT_JSON, REPORT_NPZ, CHANNELS_CSV, *(f"{name}.{picture}" for name in PICTURES)]


def save_reports(
    reports: Mapping[str, BiasReport], folder: StrPath, settings: Mapping[str, Any], picture: str = "png"
) -> None:
    """Write report.json, report.npz, channels.csv and pictures of layers, channels and depth.

    All are there before the first is moved to the folder, and report.json comes last: where it is, all are of one run.

    Args:
        reports: the report of each layer.
        folder: where to; made if it is not there.
        settings: what was measured and how; goes into report.json. Pictures are titled by its "model".
        picture: the format of the pictures, "png", "svg" or "pdf".

    Without matplotlib the pictures are left out, and a printed line says so. report.npz holds the sums that the
    reports come back from, see `load_reports`; each of the two has the SHA-256 of the other.

    Raises:
        ValueError: there is no such format of pictures.
    """
    if picture not in FORMATS:
        raise ValueError(f"picture: expected one of {', '.join(FORMATS)}, got {picture!r}")
    from sdfast import __version__

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: replace(report, name=name) for name, report in reports.items()}
    layers = {name: report.to_dict() for name, report in named.items()}
    rest = values.plain({"sdfast": __version__, "settings": settings, "layers": layers})

    def write_json(part: Path) -> None:
        sums = {"file": REPORT_NPZ, "sha256": sha256_of(part.with_name(REPORT_NPZ))}
        text = json.dumps({**rest, "sums": sums}, indent=1, allow_nan=False) + "\n"
        part.write_text(text, encoding="utf-8")

    writers: dict[str, Callable[[Path], Any]] = {
        REPORT_NPZ: lambda part: write_sums(part, named.values(), rest),
        CHANNELS_CSV: lambda part: values.write_csv(part, named.values()),
    }
    try:
        require("matplotlib")
    except ImportError as error:
        print(f"no pictures: {error}")
    else:
        from sdfast.report import depth_plot, plots

        draw = dict(zip(PICTURES, (plots.layers_figure, plots.channels_figure, depth_plot.depth_figure), strict=True))
        title = str(settings.get("model", ""))
        for name, of_all in draw.items():
            writers[f"{name}.{picture}"] = partial(_save_figure, partial(of_all, named, title))
    with FolderLock(folder):
        write_together(folder, {**writers, REPORT_JSON: write_json})
        for name in (f"{name}.{other}" for name in PICTURES for other in FORMATS):
            if name not in writers:
                (folder / name).unlink(missing_ok=True)  # those of an earlier run show other numbers


def _save_figure(draw: Callable[[], Any], part: Path) -> None:
    draw().savefig(part)


def load_settings(path: StrPath) -> dict[str, Any]:
    """Return what was measured and how, as `save_reports` was told it.

    Args:
        path: the folder that `save_reports` or `sdfast measure` wrote to, or the report.json in it.

    Raises:
        FileNotFoundError: there is no report.json.
        ValueError: it is damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "report.json").write_text('{"settings": {"model": "mine"}}')
    ...     load_settings(folder)
    {'model': 'mine'}
    """
    path = report_json(path)
    settings = read_content(path).get("settings")
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected a report.json with settings by name, got {settings!r}")
    return settings


def load_reports(path: StrPath) -> dict[str, BiasReport]:
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
