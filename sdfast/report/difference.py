"""By how much two layers that saw the same pairs differ, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdfast.report.certainty import Certainty
from sdfast.report.notes import counted
from sdfast.report.reading import SHARES
from sdfast.report.tables import SCORE, aligned, sure
from sdfast.report.values import named, plain
from sdfast.statistics import FACTORS, compare_groups

PERCENT = "{:.2f}"  # not rounded to one decimal, as shares are
STAR_NOTE = "* the interval does not hold 0; of many numbers that are the same about one in {} has a star by chance"


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """One report less another of the same pairs, from `sdfast.compare`.

    Args:
        names: of the two layers.
        sources: how many sources the pairs were cut from.
        level: the confidence of the intervals.
        layer_score: difference of the scores, (3,): dynamic, static and residual.
        layer_interval: its lower and upper end, (2, 3).
        percent: difference of the shares in percent, (3,), of the softmax.
        share_interval: its lower and upper end, (2, 3).
        corr: difference of the correlations, (2, C), or None where the layers have not as many channels.
        interval: its lower and upper end, (2, 2, C), or None.
    """

    names: tuple[str, str]
    sources: int
    level: float
    layer_score: Tensor
    layer_interval: Tensor
    percent: Tensor
    share_interval: Tensor
    corr: Tensor | None
    interval: Tensor | None

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {x}" for name, x in zip(SHARES, self._shares(), strict=True))
        return f"Difference(percent: {shares})"

    @property
    def differing(self) -> Tensor | None:
        """Which correlations differ, their interval not holding 0, (2, C) bool; None without correlations."""
        return None if self.interval is None else _off_zero(self.interval)

    def to_dict(self) -> dict[str, Any]:
        """Return the differences as plain values that `json.dumps(..., allow_nan=False)` takes.

        NaN becomes None; "channels" is None where the layers have not as many.
        """
        return plain(
            {
                "names": self.names,
                "num_sources": self.sources,
                "level": self.level,
                "layer_score": named(SHARES, self.layer_score),
                "layer_interval": named(SHARES, self.layer_interval.T),
                "percent": named(SHARES, self.percent),
                "share_interval": named(SHARES, self.share_interval.T),
                "channels": self._channels(),
            }
        )

    def summary(self) -> str:
        """Return the differences as text; a star where the interval does not hold 0."""
        first, second = (name or "layer" for name in self.names)
        lines = [
            f"{first} less {second}: {counted(self.sources, 'source')}",
            "  layer score  " + _join(FACTORS, self._scores()),
            "  share, %     " + _join(SHARES, self._shares()),
            f"  channels     {self._differing()}",
            *(f"  {line}" for line in self._notes()),
        ]
        return "\n".join(lines)

    def _scores(self) -> list[str]:
        return _starred(self.layer_score, self.layer_interval, SCORE)[: len(FACTORS)]

    def _shares(self) -> list[str]:
        return _starred(self.percent, self.share_interval, PERCENT)

    def _channels(self) -> dict[str, list[float]] | None:
        if self.corr is None or self.interval is None:
            return None
        rows = {"corr": self.corr, "corr_low": self.interval[0], "corr_high": self.interval[1]}
        return {f"{what}_{factor}": row for what, pair in rows.items() for factor, row in named(FACTORS, pair).items()}

    def _differing(self) -> str:
        if (differing := self.differing) is None:
            return "not compared: the layers have not as many"
        numbers = differing.sum(1).tolist()
        counted = " and ".join(f"{number} {factor}" for number, factor in zip(numbers, FACTORS, strict=True))
        return f"{counted} correlations of {differing.shape[1]} differ"

    def _notes(self) -> list[str]:
        sure_of = f"± half-widths of {100 * self.level:g} % intervals, by a paired jackknife over the sources"
        return [sure_of, STAR_NOTE.format(round(1 / (1 - self.level)))]


def compare(report_a: Certainty, report_b: Certainty) -> Difference:
    """Return by how much two layers differ that saw the same pairs, such as one layer of two models.

    What is hard about a video is hard for both: leaving it out of both at once takes that out of the difference, so
    that its interval is narrower than those of the two reports let expect.

    Args:
        report_a: what is compared, with groups of sources.
        report_b: what it is compared with, of the same pairs in the same groups.

    Raises:
        ValueError: the reports have no groups, or are of other pairs, kinds or levels.
        TypeError: they are no reports, but dicts of them, say.

    Source: `sdfast.statistics.compare_groups`, a paired delete-a-group jackknife.

    >>> import torch, sdfast
    >>> feats = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    >>> one, two = sdfast.BiasMetric(8), sdfast.BiasMetric(8)
    >>> one.update(feats[0], feats[0], torch.arange(40) % 2)
    >>> two.update(feats[0], feats[1], torch.arange(40) % 2)
    >>> sdfast.compare(one.compute(), two.compute()).differing.all()
    tensor(True)
    """
    for name, report in (("report_a", report_a), ("report_b", report_b)):
        if not isinstance(report, Certainty):
            raise TypeError(f"{name}: expected the BiasReport of a layer, got {type(report).__name__}")
    for what, mine, theirs in (
        ("kind", report_a.kind, report_b.kind),
        ("level", report_a.level, report_b.level),
        ("number of sources", report_a.sources, report_b.sources),
    ):
        if mine != theirs:
            raise ValueError(f"report_b: expected {what} {mine!r} like report_a, got {theirs!r}")
    (groups_a, sources), (groups_b, _) = _grouped("report_a", report_a), _grouped("report_b", report_b)
    level = report_a.level
    try:
        found = compare_groups(groups_a, groups_b, report_a._estimator)
    except ValueError as error:
        raise ValueError(f"report_b: expected the pairs of report_a in the same groups ({error})") from error
    corr = found.correlation
    return Difference(
        names=(report_a.name, report_b.name),
        sources=sources,
        level=level,
        layer_score=found.scores.value,
        layer_interval=found.scores.interval(level),
        percent=100 * found.shares.value,
        share_interval=100 * found.shares.interval(level),
        corr=None if corr is None else corr.value,
        interval=None if corr is None else corr.interval(level),
    )


def _grouped(name: str, report: Certainty) -> tuple[Tensor, int]:
    """Return the co-moments of a report by groups, and how many sources they are of."""
    if report.groups is None or report.sources is None:
        raise ValueError(f"{name}: expected a report with groups of sources, got one without")
    return report.groups, report.sources


def format_differences(differences: Mapping[str, Difference]) -> str:
    """Return a table for the terminal, one line a layer, of what `compare` found."""
    head = ["layer", *(f"score {factor}" for factor in FACTORS), *(f"{share} %" for share in SHARES), "channels"]
    rows = [head]
    for name, found in differences.items():
        differing = found.differing
        number = "-" if differing is None else f"{int(differing.any(0).sum())} of {differing.shape[1]}"
        rows.append([name, *found._scores(), *found._shares(), number])
    notes = dict.fromkeys(line for found in differences.values() for line in found._notes())
    return "\n".join([*aligned(rows), "", *notes, "channels: how many differ in a correlation"])


def _starred(values: Tensor, interval: Tensor, form: str) -> list[str]:
    stars = _off_zero(interval).tolist()
    return [text + "*" * star for text, star in zip(sure(values, interval, form), stars, strict=True)]


def _off_zero(interval: Tensor) -> Tensor:
    low, high = interval
    return torch.logical_or(low > 0, high < 0)


def _join(names: tuple[str, ...], texts: list[str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
