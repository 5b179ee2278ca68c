"""Runs of several seeds as means with intervals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from experiments.debias.model import BLOCKS
from experiments.debias.rows import TRIES, Row
from experiments.debias.training import Run
from experiments.estimates import Estimate, estimate
from sdfast.training import settled_step

SETTLED = 0.05  # how near to its last value a score must stay to count as settled
TESTS = ("in", "out", "scuba", "scufo", "contrasted")


@dataclass(frozen=True)
class Summary:
    """A row of the table of one setting.

    Attributes:
        accuracy: of each of `TESTS`.
        gain: "out" less that of the row's control, seed by seed; None for rows without one.
        scores: of each block: dynamic and static score, static share in percent.
        settled: the step from which on the static score of the last block stays where it ends; None without a curve.
        ablation: accuracy lost without the static channels, "static"; without as many at "random"; and "gap", the
            first less the second, seed by seed; None where no run has one.
        per_seed: accuracies "out" of each seed.
    """

    row: Row
    accuracy: dict[str, Estimate]
    gain: Estimate | None
    scores: dict[str, dict[str, Estimate]]
    settled: Estimate | None
    ablation: dict[str, Estimate] | None
    per_seed: tuple[float, ...]

    @property
    def chosen(self) -> str:
        """What the tuning chose."""
        what = "learning rate times" if self.row.tuned == "rate" else self.row.tuned
        return f"{what} {self.row.value:g}"

    @property
    def tried(self) -> int:
        """How many values the tuning tried."""
        return len(TRIES[self.row.tries])

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return {**asdict(self), "row": self.row.name}


def summarise(rows: Sequence[Row], runs: Sequence[Run]) -> list[Summary]:
    """Return the summary of each row of one setting; every row has a run of every seed."""
    found = {row.name: sorted((run for run in runs if run.row == row.name), key=lambda run: run.seed) for row in rows}
    out = {name: np.array([run.accuracy["out"] for run in of_row]) for name, of_row in found.items()}
    return [_summary(row, found[row.name], out[row.name], out.get(row.control)) for row in rows]


def _summary(row: Row, runs: list[Run], out: np.ndarray, control: np.ndarray | None) -> Summary:
    return Summary(
        row,
        accuracy={test: estimate([run.accuracy[test] for run in runs]) for test in TESTS},
        gain=None if control is None else estimate(out - control),
        scores={
            block: {what: estimate([run.scores[block][what] for run in runs]) for what in runs[0].scores[block]}
            for block in BLOCKS
        },
        settled=estimate([settled(run) for run in runs]) if all(run.steps for run in runs) else None,
        ablation=_ablation([run.ablation for run in runs if run.ablation]),
        per_seed=tuple(out.tolist()),
    )


def _ablation(found: list[dict[str, float]]) -> dict[str, Estimate] | None:
    if not found:
        return None
    means = {what: estimate([one[what] for one in found]) for what in found[0]}
    return {**means, "gap": estimate([one["static"] - one["random"] for one in found])}


def settled(run: Run) -> int:
    """Return the step from which on the last block's static score stays near its last value."""
    return settled_step(run.steps, torch.tensor(run.curve[BLOCKS[-1]]["static"], dtype=torch.float64), SETTLED)
