"""`sdfast compare`: by how much two measurements of the same pairs differ, layer by layer."""

import argparse
import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sdfast.commands.arguments import Subparsers
from sdfast.report import BiasReport, Difference, compare, format_differences, load_reports, load_settings, plain

# What other videos, styles or numbers of the videos would show in. Sizes and lengths of clips are a model's own.
_OF_THE_PAIRS = ("videos", "styles", "seed")


def register(subparsers: Subparsers) -> None:
    """Add `compare` to the subcommands."""
    command = subparsers.add_parser(
        "compare",
        help="compare two models that were measured on the same pairs",
        description="Print by how much the layers of two measurements differ, A less B, with intervals paired by the "
        "videos: what is hard about a video is hard for both models, and drops out. Both must have measured the same "
        "pairs: as many, of the same videos, styles and seed.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("a", type=Path, metavar="A", help="a folder of results, or the report.json in it")
    add("b", type=Path, metavar="B", help="what it is compared with, likewise")
    add("--layers", nargs="+", metavar="LAYER", help="names or glob patterns (default: all that both have)")
    add("--json", action="store_true", help="print the differences as JSON")


def run(args: argparse.Namespace) -> None:
    """Print the differences of the layers that both have, and which are left out."""
    reports_a, reports_b = load_reports(args.a), load_reports(args.b)
    settings_a, settings_b = load_settings(args.a), load_settings(args.b)
    names = _chosen(args, reports_a, reports_b)
    _check_same_pairs(args, settings_a, settings_b)
    differences = {name: _difference(args, name, reports_a[name], reports_b[name]) for name in names}
    left_out = {
        "a": [name for name in reports_a if name not in reports_b],
        "b": [name for name in reports_b if name not in reports_a],
    }
    if args.json:
        layers = {name: found.to_dict() for name, found in differences.items()}
        content = plain({"a": args.a, "b": args.b, "left_out": left_out, "layers": layers})
        print(json.dumps(content, indent=1, allow_nan=False))
        return
    report = reports_a[names[0]]
    pairs = f"{int(report.count.sum())} pairs of {report.num_sources} sources, {report.kind}"
    print(f"{_named(args.a, settings_a)} less {_named(args.b, settings_b)}: {pairs}\n")
    print(format_differences(differences))
    for path, alone in zip((args.a, args.b), left_out.values(), strict=True):
        if alone:
            print(f"only in {path}, left out: {', '.join(alone)}")


def _chosen(
    args: argparse.Namespace, reports_a: Mapping[str, BiasReport], reports_b: Mapping[str, BiasReport]
) -> list[str]:
    """Return the names of the layers to compare, in the order of A."""
    shared = [name for name in reports_a if name in reports_b]
    if not shared:
        a, b = (", ".join(reports) or "none" for reports in (reports_a, reports_b))
        raise ValueError(f"{args.b}: expected a layer that {args.a} has, {a}; got {b}")
    patterns = args.layers or ["*"]
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in shared):
            raise ValueError(f"--layers: {pattern!r} matches no layer that both have; these are {', '.join(shared)}")
    return [name for name in shared if any(_matches(name, pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _check_same_pairs(args: argparse.Namespace, settings_a: Mapping[str, Any], settings_b: Mapping[str, Any]) -> None:
    """Raise ValueError where the settings tell of other pairs, whose numbers alone may well be the same."""
    for key in _OF_THE_PAIRS:
        if key in settings_a and key in settings_b and settings_a[key] != settings_b[key]:
            a, b = (_short(settings[key]) for settings in (settings_a, settings_b))
            raise ValueError(f"{args.b}: expected {key} {a} like {args.a}, got {b}")


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _difference(args: argparse.Namespace, name: str, report_a: BiasReport, report_b: BiasReport) -> Difference:
    try:
        return compare(report_a, report_b)
    except ValueError as error:
        paths = {"a": str(args.a), "b": str(args.b)}
        said = re.sub(r"\b(?:report|grouped)_([ab])\b", lambda found: paths[found[1]], str(error))
        raise ValueError(f"layer {name!r}: {said}") from error


def _named(path: Path, settings: Mapping[str, Any]) -> str:
    """Return a path with the model and the weights that were measured, where they are known."""
    known = ", ".join(str(settings[key]) for key in ("model", "weights") if settings.get(key))
    return f"{path} ({known})" if known else str(path)
