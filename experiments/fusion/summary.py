"""Runs of several seeds as means with intervals, differences seed by seed, and what each part of a network does."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.estimates import Estimate, estimate
from experiments.fusion.model import CROSSINGS, FUSIONS
from experiments.fusion.rows import COMBINATIONS, CONTROLS, LEVELS, Row
from experiments.fusion.training import KINDS, Run

BASELINE = Row("sum", "none")


@dataclass(frozen=True)
class Summary:
    """A row of the table.

    Attributes:
        overlap: intersection over union of each of `KINDS`.
        static_share: of the fusion layers, the mean of theirs in percent; None for the controls, which have none.
        gain: what overlap and static share are more than those of `BASELINE`, seed by seed: by kind, and
            "static_share". Empty for the baseline; the controls have no static share.
        scores: of each layer measured: dynamic and static score and share.
    """

    row: Row
    overlap: dict[str, Estimate]
    static_share: Estimate | None
    gain: dict[str, Estimate]
    scores: dict[str, dict[str, Estimate]]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return {**asdict(self), "row": self.row.name}


@dataclass(frozen=True)
class Effect:
    """What one fusion has more than the sum over all crossings, or one crossing more than none over all fusions.

    Attributes:
        name: of the fusion or the crossing.
        gain: of each of `KINDS`, and "static_share": differences seed by seed, averaged within the seed.
    """

    name: str
    gain: dict[str, Estimate]


class Summaries:
    """All that is said of the runs; every row has a run of every seed.

    Args:
        runs: of all rows.

    Attributes:
        seeds: how many there are.
        rows: a summary each, controls first.
        effects: of each fusion and each crossing but the first.
        trend: correlation of static share and overlap on camouflage over the combinations, mean over the seeds.
        best: what is least static and what overlaps best on camouflage, each with the rows whose difference from it
            has an interval that holds 0.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        rows = (*CONTROLS, *COMBINATIONS)
        by_row = {row: sorted((run for run in runs if run.row == row.name), key=lambda run: run.seed) for row in rows}
        values = {
            row: {what: np.array([_value(run, what) for run in found]) for what in _whats(row)}
            for row, found in by_row.items()
        }
        self.seeds = len(by_row[BASELINE])
        self.rows = [_summary(row, by_row[row], values[row], values[BASELINE]) for row in rows]
        self.effects = [_effect(name, values, lambda row: row.fusion, "sum") for name in list(FUSIONS)[1:]] + [
            _effect(name, values, lambda row: row.crossing, "none") for name in CROSSINGS[1:]
        ]
        shares, overlaps = (
            np.array([values[row][what] for row in COMBINATIONS]) for what in ("static_share", "camouflage")
        )
        self.trend = estimate([np.corrcoef(*both)[0, 1] for both in zip(shares.T, overlaps.T, strict=True)])
        self.best = {what: _best(what, sign, values) for what, sign in (("static_share", -1), ("camouflage", 1))}

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values."""
        return {
            "rows": [summary.to_dict() for summary in self.rows],
            "effects": [asdict(effect) for effect in self.effects],
            "trend": asdict(self.trend),
            "best": self.best,
        }


def _whats(row: Row) -> tuple[str, ...]:
    return KINDS if row in CONTROLS else (*KINDS, "static_share")


def _value(run: Run, what: str) -> float:
    if what in KINDS:
        return run.overlap[what]
    return float(np.mean([run.scores[f"fusion.{level}"]["static_share"] for level in LEVELS]))


def _summary(row: Row, runs: list[Run], own: dict[str, np.ndarray], baseline: dict[str, np.ndarray]) -> Summary:
    found = {what: estimate(of_seeds) for what, of_seeds in own.items()}
    return Summary(
        row,
        overlap={kind: found[kind] for kind in KINDS},
        static_share=found.get("static_share"),
        gain={} if row == BASELINE else {what: estimate(own[what] - baseline[what]) for what in own},
        scores={
            layer: {what: estimate([run.scores[layer][what] for run in runs]) for what in runs[0].scores[layer]}
            for layer in row.layers
        },
    )


def _effect(name: str, values: dict[Row, dict[str, np.ndarray]], part: Callable[[Row], str], reference: str) -> Effect:
    means = {
        which: {
            what: np.mean([values[row][what] for row in COMBINATIONS if part(row) == which], axis=0)
            for what in _whats(BASELINE)
        }
        for which in (name, reference)
    }
    return Effect(name, {what: estimate(means[name][what] - means[reference][what]) for what in means[name]})


def _best(what: str, sign: int, values: dict[Row, dict[str, np.ndarray]]) -> list[str]:
    """Return the names of the combination with the best mean, and of those not told apart from it."""
    best = max(COMBINATIONS, key=lambda row: sign * values[row][what].mean())
    differences = {row: estimate(values[row][what] - values[best][what]) for row in COMBINATIONS if row != best}
    return [best.name, *(row.name for row, gap in differences.items() if not (gap.high < 0 or gap.low > 0))]
