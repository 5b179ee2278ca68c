"""What to keep in mind when reading reports, a line a thought."""

from collections.abc import Collection, Mapping

from sdfast.report.certainty import FEW_SOURCES, Certainty
from sdfast.statistics import FACTORS

FLOOR_NOTE = "shares come from a softmax: no information at all reads 21.2 / 21.2 / 57.6 %"
POOLING_NOTE = "pooling forgets the order of frames: a frame-local model reads static 1 by construction"
UNDEFINED_NOTE = "undefined (NaN, Inf or fewer than two pairs), left out of the scores"


def notes(reports: Collection[Certainty]) -> list[str]:
    """Return what is to be known of all the reports, each thing once."""
    found = [FLOOR_NOTE, POOLING_NOTE]
    for of_each in (missing_pairs, how_sure, _few):
        found += dict.fromkeys(map(of_each, reports))
    found += [_needed(reports), _dominated(reports)]
    return [line for line in found if line]


def undefined_notes(reports: Mapping[str, Certainty]) -> list[str]:
    """Return how many channels are undefined, a line for each layer that has some."""
    numbers = {name: int(report.undefined.sum()) for name, report in reports.items()}
    return [
        f"{name}: {number} of {reports[name].num_channels} channels {UNDEFINED_NOTE}"
        for name, number in numbers.items()
        if number
    ]


def missing_factors(report: Certainty) -> list[str]:
    """Return the factors of which there are too few pairs for any correlation."""
    return [factor for factor, number in zip(FACTORS, report.count.tolist(), strict=True) if number < 2]


def missing_pairs(report: Certainty) -> str:
    """Return what is not known for want of pairs, or nothing."""
    numbers = dict(zip(FACTORS, report.count.tolist(), strict=True))
    few = " and ".join(counted(numbers[factor], f"{factor} pair") for factor in missing_factors(report))
    return few and f"{few}: there must be two of each factor, without which no channel has a class and no layer shares"


def how_sure(report: Certainty) -> str:
    """Return how the intervals of a report were made."""
    if report.num_sources is None or report.groups is None:
        return "no sources known: intervals take all pairs as independent (Fisher); scores and shares have none"
    if report.num_groups < 2:
        return f"{counted(report.num_sources, 'source')}: no intervals, so that every class stays undetermined"
    return f"± half-widths of {100 * report.level:g} % intervals, by a jackknife over the sources"


def counted(number: int, what: str) -> str:
    """Return a number of things in words: "1 source", "2,000 sources"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def _few(report: Certainty) -> str:
    number = report.num_sources
    if number is None or report.num_groups < 2 or number >= FEW_SOURCES:
        return ""
    held = ", and hold in 85 to 97 % of cases instead of 95" if report.level == 0.95 else ""  # simulated for this only
    return f"{number} sources are few: intervals from so few are wide{held}"


def _needed(reports: Collection[Certainty]) -> str:
    known = [
        (number, have)
        for report in reports
        if (number := report.needed_sources()) is not None and (have := report.num_sources) is not None
    ]
    if not known:
        return ""
    number, have = max(known)
    if number <= have:
        return f"every share is known to ±1 %: about {counted(number, 'source')} would have done"
    return f"every share to ±1 % would take about {counted(number, 'source')}"


def _dominated(reports: Collection[Certainty]) -> str:
    # Of few groups one often carries most: that is said of them all.
    number = sum(int(report.dominated.any(0).sum()) for report in reports if report.num_groups >= FEW_SOURCES)
    if not number:
        return ""
    return (
        f"one group of sources carries most of the variance in {counted(number, 'channel')} (dominated): "
        "intervals there may be too narrow"
    )
