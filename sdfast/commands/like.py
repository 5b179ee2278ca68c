"""The settings of an earlier run as the defaults of a new one."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdfast.report import load_reports, load_settings

_TAKEN = ("weights", "channel_dim", "batch_dim", "styles", "pairs", "clip_frames", "batch_size", "seed", "kind",
          "threshold", "estimator", "neighbors", "flow", "heads")  # fmt: skip


def add_like(command: argparse.ArgumentParser) -> None:
    """Add --like to a command whose results have settings."""
    command.set_defaults(command=command)
    command.add_argument("--like", type=Path, metavar="REPORT",
        help="a folder of results: model, layers, pairs and all else that is not given are as they were there, but "
        "for --videos, of which only the names are kept")  # fmt: skip


def as_before(args: argparse.Namespace, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of a command once more, with defaults by --like where that is given.

    Raises:
        FileNotFoundError: there is no such report.
        ValueError: it is damaged.
    """
    if getattr(args, "like", None) is None:
        return args
    args.command.set_defaults(**_defaults(args.like))
    again: argparse.Namespace = args.parser.parse_args(argv)
    return again


def _defaults(path: Path) -> dict[str, Any]:
    settings = load_settings(path)
    # A layer that is called several times has a report a call.
    layers = dict.fromkeys(re.sub(r"#\d+$", "", name) for name in load_reports(path))
    found = {key: settings[key] for key in _TAKEN if settings.get(key) is not None}
    return {**found, "layers": list(layers), "model": settings.get("spec") or settings.get("model")}
