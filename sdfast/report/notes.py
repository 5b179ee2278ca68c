"""What to keep in mind when reading a report, a line a thought."""

from collections.abc import Mapping

from sdfast.report.certainty import FEW_SOURCES, Certainty

FLOOR_NOTE = "shares come from a softmax: no information at all reads 21.2 / 21.2 / 57.6 %"
POOLING_NOTE = "pooling forgets the order of frames: a frame-local model reads static 1 by construction"
UNDEFINED_NOTE = "undefined (NaN, Inf or fewer than two pairs), left out of the scores"


def notes(reports: Mapping[str, Certainty]) -> list[str]:
    """Return what is to be known of all the reports, then what is of one only, with its name in front."""
    found = [FLOOR_NOTE, POOLING_NOTE]
    found += dict.fromkeys(line for report in reports.values() for line in (how_sure(report), *_few(report)))
    if needed := _needed(reports):
        found.append(needed)
    for name, report in reports.items():
        found += [f"{name or 'layer'}: {line}" for line in (*_undefined(report), *_dominated(report))]
    return found


def how_sure(report: Certainty) -> str:
    """Return how the intervals of a report were made."""
    if report.groups is None:
        return "no sources known: intervals take all pairs as independent (Fisher); scores and shares have none"
    return f"± half-widths of {100 * report.level:g} % intervals, by a jackknife over the sources"


def _few(report: Certainty) -> list[str]:
    number = report.num_sources
    if report.groups is None or number >= FEW_SOURCES:
        return []
    if number < 2:
        return [f"{number} source{'s' * (number == 0)}: no interval, so that every class stays undetermined"]
    held = "84 to 90 %" if number <= 6 else "about 90 %"
    return [f"{number} sources are few: intervals of so few are too narrow, {held} instead of 95"]


def _needed(reports: Mapping[str, Certainty]) -> str | None:
    known = {name: number for name, report in reports.items() if (number := report.needed_sources()) is not None}
    if not known:
        return None
    layer = max(known, key=known.get)
    number, have = known[layer], reports[layer].num_sources
    if number <= have:
        return f"every share is known to ±1 %: that takes about {number:,} sources"
    return f"every share to ±1 % would take about {number:,} sources"


def _undefined(report: Certainty) -> list[str]:
    number = int(report.undefined.sum())
    return [f"{number} of {report.num_channels} channels {UNDEFINED_NOTE}"] if number else []


def _dominated(report: Certainty) -> list[str]:
    # Of few sources one nearly always carries most: that is said of them all.
    number = int(report.dominated.any(0).sum())
    if not number or report.num_sources < FEW_SOURCES:
        return []
    return [
        f"in {number} of {report.num_channels} channels one group of sources carries most of the variance: "
        "their intervals may be too narrow"
    ]
