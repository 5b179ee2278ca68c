"""What was measured, as tables: what is to be reached, everything beside its peers, and how it grows."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.curves import Curve
from benchmarks.machine import describe_machine
from benchmarks.targets import TARGETS, Target
from sdfast.bench import QUICK, Spread


@dataclass(frozen=True)
class Judged:
    """A figure that has a target; without one it was wrong, as `note` says, and not timed."""

    target: Target
    shape: str
    measured: Spread | None
    note: str = ""

    @property
    def verdict(self) -> str:
        return "WRONG" if self.measured is None else self.target.verdict(self.measured)

    def to_dict(self) -> dict:
        """Return everything as JSON values."""
        return {
            "target": self.target.label,
            "shape": self.shape,
            "reach": self.target.reach,
            "aim": self.target.aim,
            "unit": self.target.unit.strip(),
            "limit": self.target.limit,
            "measured": None if self.measured is None else self.measured.to_dict(),
            "verdict": self.verdict,
            "note": self.note,
        }


@dataclass(frozen=True)
class Beside:
    """How many times its own seconds a candidate takes those of ours; without `ratio` it was not timed."""

    case: str
    candidate: str
    ratio: Spread | None
    error: float | None = None
    note: str = ""


@dataclass
class Scoreboard:
    """Collect the figures of a session."""

    judged: list[Judged] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.judged or self.beside or self.curves)

    def judged_table(self) -> list[Sequence[str]]:
        """Return a header and a row a figure, in the order of the targets; what was not run says so."""
        rows: list[Sequence[str]] = [("case", "shape", "reach", "aim", "measured", "min to max", "rounds", "")]
        for target in TARGETS:
            wanted = target.show(target.reach), target.show(target.aim)
            found = [figure for figure in self.judged if figure.target is target]
            rows += [(target.label, figure.shape, *wanted, *_figures(target, figure)) for figure in found]
            if not found:
                rows.append((target.label, "", *wanted, "", "", "", "not run"))
        return rows

    def beside_table(self) -> list[Sequence[str]]:
        """Return a header and a row a candidate."""
        rows: list[Sequence[str]] = [("case", "candidate", "its time / ours", "min to max", "rounds", "error")]
        for row in self.beside:
            if row.ratio is None:
                figures = (row.note, "", "")
            else:
                values = row.ratio.values
                figures = f"{row.ratio.median:.2f}x", f"{min(values):.2f} to {max(values):.2f}", str(len(values))
            rows.append((row.case, row.candidate, *figures, _error(row.error)))
        return rows

    def curves_table(self) -> list[Sequence[str]]:
        """Return a header and a row a curve."""
        return [("case", "candidate", "axis", "over", "from and to", "exponent"), *(c.cells() for c in self.curves)]

    def to_dict(self) -> dict:
        """Return everything as JSON values."""
        return {
            "machine": describe_machine(),
            "quick": QUICK,
            "not_run": [
                target.label for target in TARGETS if not any(figure.target is target for figure in self.judged)
            ],
            "curves": [curve.to_dict() for curve in self.curves],
            "tables": {
                "judged": self.judged_table(),
                "beside": self.beside_table(),
                "curves": self.curves_table(),
            },
            "judged": [figure.to_dict() for figure in self.judged],
            "beside": [
                {
                    "case": row.case,
                    "candidate": row.candidate,
                    "ratio": None if row.ratio is None else row.ratio.to_dict(),
                    "error": row.error,
                    "note": row.note,
                }
                for row in self.beside
            ],
        }

    def save(self, folder: Path) -> None:
        """Write `latest.json` and `latest.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "latest.json").write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        tables = self.judged_table(), self.beside_table(), self.curves_table()
        text = "\n\n".join([machine_line(), *(markdown(table) for table in tables if len(table) > 1)])
        (folder / "latest.md").write_text(text + "\n", encoding="utf-8")


def _figures(target: Target, figure: Judged) -> tuple[str, str, str, str]:
    if figure.measured is None:
        return figure.note, "", "", figure.verdict
    values = figure.measured.values
    ends = f"{target.show(min(values))} to {target.show(max(values))}" if len(values) > 1 else ""
    return target.show(figure.measured.median), ends, str(len(values)), figure.verdict


def _error(error: float | None) -> str:
    return "" if error is None else "wrong" if math.isinf(error) else f"{error:.0e}"


def machine_line() -> str:
    """Return the machine and the versions in one line."""
    return ", ".join(f"{name} {value}" for name, value in describe_machine().items())


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows of a table as Markdown."""
    header, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|---" * len(rows[0]) + "|", *body])
