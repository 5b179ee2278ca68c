"""What came of a run, from its logbook: what is kept, whether every reach is met, and rows of tables."""

from collections.abc import Mapping, Sequence

from benchmarks.counters import DRAM, ISSUE
from benchmarks.logbook import Logbook
from benchmarks.targets import COPY, targets_of

Rows = list[Sequence[str]]
REACHED, MISSED, NOT_SHOWN = 0, 1, 3  # exit codes; 2 is for bad arguments
_AIMED_SHAPES = 3
_NAME = 60  # letters of a kernel's name; those of C++ have no end
_LARGE = 1_000_000_000  # bytes moved; less may be copied within a cache


def gather(log: Logbook) -> dict:
    """Return all that is kept of a run, as JSON values, whether or not it has come to its end."""
    judged, (settings,), machines = log.of("judged"), log.of("settings"), log.of("machine") or [{}]
    kept = {
        **settings,
        "machine": machines[0],
        "machine_after": machines[-1],
        **{f"{event}s": log.of(event) for event in ("build", "backend", "check", "row", "curve")},
        "counters": log.of("counters"),
        "judged": [figure for figure in judged if figure["selected"]],
        "judged_beside": [figure for figure in judged if not figure["selected"]],
        "not_run": [],
        "left_out": log.of("left_out"),
        "died": log.of("died") + log.of("given_up"),
    }
    if not settings["rehearsal"]:
        shown = {figure["target"] for figure in kept["judged"]}
        kept["not_run"] = [target.label for target in targets_of(settings["kind"]) if target.label not in shown]
    copies = [row for row in kept["rows"] if row["candidate"] == COPY and row["seconds"] and row["bytes"] >= _LARGE]
    kept["ceiling"] = max((row["bytes"] / row["seconds"]["median"] for row in copies), default=None)
    kept["status"] = status(kept)
    return kept


def status(kept: Mapping) -> int:
    """Return 0 if every reach is met, 1 if one is missed or an answer was wrong, 3 if one could not be shown.

    A rehearsal judges nothing: 0 if all has run and was right.
    """
    found, rows = sort_figures(kept), kept["checks"] + kept["rows"]
    ours = [*kept["checks"], *(row for row in kept["rows"] if row["ours"])]
    wrong = any(each["note"].startswith("AssertionError") for each in kept["died"])  # what a stage holds to be right
    if found["missed"] or wrong or any(each["status"] == "WRONG" for each in ours):
        return MISSED
    failed = any(each["status"] == "failed" for each in (rows if kept["rehearsal"] else ours))
    absent = not kept["rehearsal"] and any(each["fault"] for each in kept["backends"])
    lacking = failed or absent or kept["died"] or kept["left_out"] or not rows
    return NOT_SHOWN if lacking or found["not shown"] else REACHED


def sort_figures(kept: Mapping) -> dict[str, list[Mapping]]:
    """Return the judged figures by what came of them; what was not run is not shown, as noise is."""
    found = {"aim": [], "reached": [], "missed": [], "not shown": []}
    for figure in kept["judged"]:
        verdict = figure["verdict"]
        found[{"WRONG": "missed", "noise": "not shown"}.get(verdict, verdict)].append(figure)
    not_run = {"shape": "", "verdict": "not run", "measured": None, "unit": ""}
    found["not shown"] += [{"target": label, **not_run} for label in kept["not_run"]]
    return found


def summary(kept: Mapping) -> list[str]:
    """Return lines that say what was reached, one a figure that was not."""
    found = sort_figures(kept)
    number = {name: len(figures) for name, figures in found.items()}
    met = number["aim"] + number["reached"]
    lines = [
        f"{met} of {sum(number.values())} figures reach what they are to, {number['aim']} of these the aim; "
        f"{number['missed']} missed, {number['not shown']} not shown"
    ]
    for name in ("missed", "not shown"):
        lines += [f"{name}: {_line(figure)}" for figure in found[name]]
    shapes = {figure["shape"] for figure in found["aim"] if figure["shape"].startswith("(")}
    enough = "" if len(shapes) >= _AIMED_SHAPES else f", fewer than {_AIMED_SHAPES}"
    lines.append(f"shapes with a figure at its aim: {len(shapes)}{enough}")
    if kept["ceiling"]:
        lines.append(f"ceiling: a copy at {kept['ceiling'] / 1e9:.0f} GB/s, read and written")
    return lines


def _line(figure: Mapping) -> str:
    name = " ".join(filter(None, (figure["target"], figure["shape"])))
    if figure["measured"] is None:
        return f"{name}: {figure.get('note') or figure['verdict']}"
    measured = figure["measured"]
    value = f"{measured['median']:.3g} of {figure['reach']:.3g} {figure['unit']}".rstrip()
    half = f", noise: half of the rounds from {measured['quartile_1']:.3g} to {measured['quartile_3']:.3g}"
    return f"{name}: {value}{half if figure['verdict'] == 'noise' else ''}"


def faults(kept: Mapping) -> list[str]:
    """Return a line for each thing that is missing."""
    both = [("build", each) for each in kept["builds"]] + [("backend", each) for each in kept["backends"]]
    lines = [f"{what} {each['name']}: {each['fault']}" for what, each in both if each["fault"]]
    lines += [f"left out: {each['stage']}: {each['note']}" for each in kept["left_out"]]
    lines += [f"Nsight Compute: {each['fault']}" for each in kept["counters"] if each["fault"]]
    died = ((" ".join(filter(None, (each.get("stage"), each.get("candidate")))), each) for each in kept["died"])
    return lines + [f"died: {name}: {each['note']}" for name, each in died]


def judged_table(kept: Mapping) -> Rows:
    """Return a header and a row a figure, in the order of the targets; in brackets what decides nothing."""
    rows: Rows = [("case", "shape", "reach", "aim", "measured", "half of the rounds", "min to max", "rounds", "")]
    for target in targets_of(kept["kind"]):
        wanted = target.show(target.reach), target.show(target.aim)
        found = [each for each in [*kept["judged"], *kept["judged_beside"]] if each["target"] == target.label]
        for each in found:
            values, verdict = each["measured"], each["verdict"] if each["selected"] else f"({each['verdict']})"
            figures = each["note"], "", "", ""
            if values is not None:
                ends = (("quartile_1", "quartile_3"), ("min", "max")) if values["rounds"] > 1 else ((), ())
                spread = [" to ".join(target.show(values[end]) for end in pair) for pair in ends]
                figures = target.show(values["median"]), *spread, str(values["rounds"])
            rows.append((target.label, each["shape"], *wanted, *figures, verdict))
        if not any(each["selected"] for each in found):
            rows.append((target.label, "", *wanted, "", "", "", "", "not run"))
    return rows


def row_table(kept: Mapping) -> Rows:
    """Return a header and a row a candidate; where two of ours are timed, its time is over that of each."""
    rows: Rows = [
        ("case", "candidate", "time", "GB/s", "its time / ours", "min to max", "rounds", "error", "launches", "")
    ]
    for row in kept["rows"]:
        over, timed, figures = row["over"], row["seconds"] or {}, ("", "", "")
        if over:
            medians = [f"{each['median']:.2f}x{f' {name}' * (name != 'sdfast')}" for name, each in over.items()]
            first = next(iter(over.values()))
            figures = ", ".join(medians), f"{first['min']:.2f} to {first['max']:.2f}", str(first["rounds"])
        time = f"{timed['median'] * 1e3:.3f} ms" if timed else ""
        speed = f"{row['bytes'] / timed['median'] / 1e9:.0f}" if timed and row["bytes"] else ""
        launches = "" if row["launches"] is None else str(len(row["launches"]))
        note = row["note"] or (row["status"] if row["status"] != "timed" else "")
        rows.append((row["case"], row["candidate"], time, speed, *figures, error_text(row["error"]), launches, note))
    return rows


def kernel_table(kept: Mapping) -> Rows:
    """Return a header and a row a kernel of ours, in the order in which a call launches them."""
    rows: Rows = [
        ("case", "candidate", "host", "kernel", "time", "blocks", "threads", "registers", "shared", "occupancy")
    ]
    for row in kept["rows"]:
        host = "" if row["host"] is None else f"{row['host'] * 1e6:.0f} us"
        for each in row["launches"] or ():
            shape = [str(each[name] or "") for name in ("blocks", "threads", "registers", "shared")]
            busy = "" if each["occupancy"] is None else f"{each['occupancy']:.0f} %"
            times = host, each["name"][:_NAME], f"{each['microseconds']:.1f} us"
            rows.append((row["case"], row["candidate"], *times, *shape, busy))
    return rows


def counter_table(kept: Mapping) -> Rows:
    """Return a header and a row a kernel that Nsight Compute has looked at."""
    rows: Rows = [("kernel", "time", "issue slots busy", "of the DRAM bandwidth")]
    for each in (kernel for counted in kept["counters"] for kernel in counted["kernels"]):
        time = f"{each['gpu__time_duration.sum']:.4g} {each['unit']}"
        rows.append((each["name"][:_NAME], time, f"{each[ISSUE]:.0f} %", f"{each[DRAM]:.0f} %"))
    return rows


def behind_table(kept: Mapping) -> Rows:
    """Return a header and a row a peer that is right and faster; limits of the device answer nothing."""
    judged = (row for row in kept["rows"] if not row["ours"] and row["error"] is not None)
    ratios = [(row, ratio["median"]) for row in judged for ratio in row["over"].values()]
    behind = [(row["case"], row["candidate"], f"{r:.2f}x", error_text(row["error"])) for row, r in ratios if r < 1]
    return [("case", "candidate", "its time / ours", "error"), *behind]


def check_table(kept: Mapping) -> Rows:
    """Return a header and a row a check."""
    rows: Rows = [("check", "dtype", "of", "variants", "largest error", "allowed", "", "where")]
    for each in kept["checks"]:
        cells = each["operation"], each["dtype"], each["candidate"], str(each["variants"]), error_text(each["error"])
        rows.append((*cells, f"{each['tolerance']:.0e}", each["status"], f"{each['where']} {each['note']}".strip()))
    return rows


def curve_table(kept: Mapping) -> Rows:
    """Return a header and a row a curve."""
    rows: Rows = [("case", "candidate", "axis", "over", "from and to", "exponent")]
    for each in kept["curves"]:
        x, ends = each["x"], (each["y"][0], each["y"][-1])
        shown = [f"{value * 1e3:.3g} ms" if each["unit"] == "s" else f"{value:.0e}" for value in ends]
        fitted = "" if each["exponent"] is None else f"{each['exponent']:.2f}"
        over = f"{x[0]:g} to {x[-1]:g}", " to ".join(shown)
        rows.append((each["case"], each["candidate"], each["axis"], *over, fitted))
    return rows


def error_text(error: float | str | None) -> str:
    """Return an error for a table; JSON has infinity as text."""
    return "" if error is None else f"{float(error):.0e}"


def machine_line(kept: Mapping) -> str:
    """Return the machine and the versions in one line."""
    return ", ".join(f"{name} {value}" for name, value in kept["machine"].items())


def columns(rows: Rows) -> list[str]:
    """Return the rows of a table as lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def markdown(rows: Rows) -> str:
    """Return the rows of a table as Markdown."""
    header, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|---" * len(rows[0]) + "|", *body])
