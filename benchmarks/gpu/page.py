"""What a run has found: one JSON, one page of tables beside it, and a short table for the terminal."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.journal import Journal
from benchmarks.gpu.race import COPY
from benchmarks.gpu.targets import LARGE, TARGETS
from benchmarks.outcome import MISSED, NOT_SHOWN, REACHED, status, summary
from benchmarks.scoreboard import columns, markdown
from sdfast.foundation import write_atomically

REHEARSAL = (
    "REHEARSAL on the CPU, at sizes of a few kilobytes and in Triton's interpreter. It shows that the script runs and "
    "that answers are right there. No GPU was used, nothing was judged, and there is no figure of a GPU here."
)
_METHOD = (
    "Times are of the device, between its events, medians of rounds in which all take turns; below "
    "0.5 GB moved, of replays of CUDA graphs over rotated inputs. Bytes are those that must be read and written, each "
    "once; of the copy is the share of the bandwidth of a device-to-device copy of as many bytes in the same rounds. "
    "Every answer is checked before it is timed, into poisoned memory; `WRONG` is not timed."
)


def gather(journal: Journal, settings: dict, seconds: float) -> dict:
    """Return all that is kept of a run, as JSON values; `settings` say what it was asked."""
    judged = journal.of("judged")
    kept = {
        "what": "rehearsal of the GPU benchmark" if settings["rehearsal"] else "GPU benchmark",
        **settings,
        "seconds": round(seconds, 1),
        "machine": (journal.of("machine") or [{}])[0],
        "readings_after": (journal.of("readings") or [{}])[-1],
        "builds": journal.of("build"),
        "backends": journal.of("backend"),
        "checks": journal.of("check"),
        "rows": journal.of("row"),
        "judged": [figure for figure in judged if figure["selected"]],
        "judged_beside": [figure for figure in judged if not figure["selected"]],
        "not_run": [],
        "left_out": journal.of("left_out"),
        "died": journal.of("died") + journal.of("given_up"),
    }
    if not settings["rehearsal"]:
        shown = {figure["target"] for figure in kept["judged"]}
        kept["not_run"] = [target.label for target in TARGETS if target.label not in shown]
    kept["ceiling"] = _ceiling(kept["rows"])
    kept["status"] = exit_status(kept)
    return kept


def exit_status(kept: dict) -> int:
    """Return 0 if every reach is met, 1 if one is missed or an answer was wrong, 3 if one could not be shown.

    A rehearsal judges nothing: 0 if all has run and was right.
    """
    ours = [*kept["checks"], *(row for row in kept["rows"] if row["ours"])]
    if any(each["status"] == "WRONG" for each in ours):
        return MISSED
    failed = any(each["status"] == "failed" for each in (kept["rows"] + kept["checks"] if kept["rehearsal"] else ours))
    lacking = failed or kept["died"] or kept["left_out"] or not kept["rows"]
    if kept["rehearsal"]:
        return NOT_SHOWN if lacking else REACHED
    reached = status(kept)
    return NOT_SHOWN if reached == REACHED and (lacking or any(each["fault"] for each in kept["backends"])) else reached


def write(kept: dict, out: Path) -> list[Path]:
    """Write the JSON and, beside it, the page; return both paths."""
    out.parent.mkdir(parents=True, exist_ok=True)
    page = out.with_suffix(".md")
    text = json.dumps(_finite(kept), indent=1, allow_nan=False) + "\n"
    write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))
    write_atomically(page, lambda part: part.write_text(_page(kept), encoding="utf-8"))
    return [out, page]


def short(kept: dict) -> list[str]:
    """Return the lines that a run ends with."""
    lines = [REHEARSAL] if kept["rehearsal"] else []
    right = sum(each["status"] == "right" for each in kept["checks"])
    checked = [each for each in kept["checks"] if each["status"] not in ("right", "absent")]
    if checked:
        lines += columns(_check_table(checked))
    absent = len(kept["checks"]) - right - len(checked)
    lines.append(f"checks: {right} right, {len(checked)} wrong or failed, {absent} of a backend that is absent")
    if kept["rehearsal"]:
        done = sum(row["status"] == "rehearsed" for row in kept["rows"])
        lines.append(f"{done} of {len(kept['rows'])} rows rehearsed; nothing was timed or judged")
        return [*lines, *_faults(kept)]
    lines += ["", *columns(_own_rows(kept["rows"])), "", *columns(_judged_table(kept)), ""]
    lines += [f"ceiling: a copy at {kept['ceiling'] / 1e9:.0f} GB/s" if kept["ceiling"] else "no ceiling was measured"]
    return [*lines, *summary(kept), *_faster(kept["rows"]), *_faults(kept)]


def _faster(rows: Sequence[dict]) -> list[str]:
    """Return a line an operation: in how many cases which of our backends is the faster one, beyond noise."""
    won: dict[str, list[str]] = {}
    backends = list(dict.fromkeys(row["candidate"] for row in rows if row["ours"]))
    for row in rows:
        for other in backends[backends.index(row["candidate"]) + 1 :] if row["ours"] else ():
            ratio = row["times_ours"].get(other)
            if ratio is not None:
                low, high = ratio["quartile_1"], ratio["quartile_3"]
                faster = row["candidate"] if low > 1 else other if high < 1 else "neither"
                won.setdefault(row["operation"], []).append(faster)
    lines = []
    for operation, names in won.items():
        counts = ", ".join(f"{name} in {names.count(name)}" for name in dict.fromkeys(names))
        lines.append(f"{operation}: of {len(names)} cases faster is {counts}")
    return lines


def _ceiling(rows: Sequence[dict]) -> float | None:
    """Return the largest bandwidth that a copy has had, read and written; small ones are written to a cache."""
    copies = [row for row in rows if row["candidate"] == COPY and row["seconds"] and row["bytes"] >= LARGE]
    return max((row["bytes_a_second"] for row in copies), default=None)


def _finite(value):
    """Return JSON values with infinity and NaN as text, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _page(kept: dict) -> str:
    title = "# REHEARSAL, not a GPU's figures" if kept["rehearsal"] else "# What was measured on a GPU"
    parts = [title, f"**{REHEARSAL}**" if kept["rehearsal"] else _METHOD]
    parts.append(markdown([("on", ""), *kept["machine"].items()]))
    if not kept["rehearsal"]:
        ceiling = f"{kept['ceiling'] / 1e9:.0f} GB/s, read and written" if kept["ceiling"] else "not measured"
        parts += [
            f"The ceiling, the fastest copy of this run: {ceiling}.",
            "## Reach, aim, measured",
            "Judged is the backend that is chosen for a GPU; the other is shown below it.",
            "\n".join(f"- {line}" for line in summary(kept)),
            markdown(_judged_table(kept)),
            "\n".join(f"- {line}" for line in _faster(kept["rows"])) or "One backend alone was timed.",
        ]
    parts += ["## Answers", markdown(_check_table(kept["checks"]))]
    if len(kept["rows"]):
        parts += ["## Rows" if kept["rehearsal"] else "## Times", markdown(_row_table(kept["rows"]))]
    if faults := _faults(kept):
        parts += ["## What is missing", "\n".join(f"- {line}" for line in faults)]
    return "\n\n".join(parts) + "\n"


def _faults(kept: dict) -> list[str]:
    lines = [f"build {each['name']}: {each['fault']}" for each in kept["builds"] if each["fault"]]
    lines += [f"backend {each['name']}: {each['fault']}" for each in kept["backends"] if each["fault"]]
    lines += [f"left out: {each['stage']}: {each['note']}" for each in kept["left_out"]]
    return lines + [
        f"died: {each.get('stage', '')} {each.get('candidate') or ''}: {each['note']}" for each in kept["died"]
    ]


def _judged_table(kept: dict) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("target", "features", "reach", "aim", "measured", "half of the rounds", "")]
    for target in TARGETS:
        wanted = target.show(target.reach), target.show(target.aim)
        found = [each for each in [*kept["judged"], *kept["judged_beside"]] if each["target"] == target.label]
        for each in found:
            values = each["measured"]
            verdict = each["verdict"] if each["selected"] else f"({each['verdict']})"
            if values is None:
                rows.append((target.label, each["shape"], *wanted, each["note"], "", verdict))
                continue
            half = f"{target.show(values['quartile_1'])} to {target.show(values['quartile_3'])}"
            rows.append((target.label, each["shape"], *wanted, target.show(values["median"]), half, verdict))
        if not any(each["selected"] for each in found):
            rows.append((target.label, "", *wanted, "", "", "not run"))
    return rows


def _check_table(checks: Sequence[dict]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("check", "dtype", "backend", "variants", "largest error", "allowed", "", "where")]
    for each in checks:
        error = "" if each["error"] is None else f"{each['error']:.0e}"
        note = each["note"] if each["error"] is None else each["where"]
        if each["status"] == "failed":
            note = f"{each['where']}: {each['note']}"
        cells = each["operation"], each["dtype"], each["candidate"], str(each["variants"])
        rows.append((*cells, error, f"{each['tolerance']:.0e}", each["status"], note))
    return rows


def _own_rows(rows: Sequence[dict]) -> list[Sequence[str]]:
    """Return our rows alone, each with its nearest peer."""
    table: list[Sequence[str]] = [("case", "backend", "time", "of the copy", "nearest peer / ours", "")]
    own = {row["candidate"] for row in rows if row["ours"]}
    limits = {row["candidate"] for row in rows if row["error"] is None and not row["ours"]}
    for row in rows:
        if row["ours"] and row["seconds"]:
            peers = {name: r["median"] for name, r in row["times_ours"].items() if name not in own | limits}
            near = min(peers, key=peers.get, default=None)
            beside = "" if near is None else f"{peers[near]:.2f}x {near}"
            of_copy = f"{row['of_copy']['median']:.3f}" if row["of_copy"] else ""
            table.append((row["stage"], row["candidate"], _time(row), of_copy, beside, row["note"][:40]))
        elif row["ours"] and row["status"] != "absent":
            table.append((row["stage"], row["candidate"], "", "", "", row["note"][:80]))
    return table


def _time(row: dict) -> str:
    return f"{row['seconds']['median'] * 1e6:.1f} us" if row["seconds"] else ""


def _row_table(rows: Sequence[dict]) -> list[Sequence[str]]:
    header = ("case", "candidate", "time", "GB/s", "of the copy", "its time / ours", "error", "launches", "")
    table: list[Sequence[str]] = [header]
    ratios = _over_ours(rows)
    for row in rows:
        speed = f"{row['bytes_a_second'] / 1e9:.0f}" if row["bytes_a_second"] else ""
        of_copy = f"{row['of_copy']['median']:.3f}" if row["of_copy"] else ""
        error = "" if row["error"] is None else f"{row['error']:.0e}"
        launches = "" if row["launches"] is None else str(len(row["launches"]))
        beside = ratios.get((row["stage"], row["candidate"]), "")
        note = row["note"] or (row["status"] if row["status"] != "timed" else "")
        table.append((row["stage"], row["candidate"], _time(row), speed, of_copy, beside, error, launches, note))
    return table


def _over_ours(rows: Sequence[dict]) -> dict[tuple[str, str], str]:
    """Return how many times the seconds of ours a candidate takes, each of ours by name."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for peer, ratio in row["times_ours"].items():
            found.setdefault((row["stage"], peer), []).append(f"{ratio['median']:.2f}x {row['candidate']}")
    return {key: ", ".join(ratios) for key, ratios in found.items()}
