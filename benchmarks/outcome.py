"""Whether every reach is met, from the figures that a run has kept."""

from collections.abc import Mapping

REACHED, MISSED, NOT_SHOWN = 0, 1, 3  # exit codes; 2 is for bad arguments
_AIMED_SHAPES = 3


def sort_figures(kept: Mapping) -> dict[str, list[Mapping]]:
    """Return the judged figures by what came of them; what was not run is not shown, as noise is.

    Args:
        kept: as `Scoreboard.to_dict` gives it.
    """
    found = {"aim": [], "reached": [], "missed": [], "not shown": []}
    place = {"aim": "aim", "reached": "reached", "missed": "missed", "WRONG": "missed", "noise": "not shown"}
    for figure in kept["judged"]:
        found[place[figure["verdict"]]].append(figure)
    for label in kept["not_run"]:
        found["not shown"].append({"target": label, "shape": "", "verdict": "not run", "measured": None, "unit": ""})
    return found


def status(kept: Mapping) -> int:
    """Return 0 if every reach is met, 1 if one is missed or an answer was wrong, 3 if one could not be shown."""
    found = sort_figures(kept)
    return MISSED if found["missed"] else NOT_SHOWN if found["not shown"] else REACHED


def summary(kept: Mapping) -> list[str]:
    """Return lines that say so, one a figure that is not reached."""
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
    return lines


def _line(figure: Mapping) -> str:
    name = " ".join(filter(None, (figure["target"], figure["shape"])))
    if figure["measured"] is None:
        return f"{name}: {figure.get('note') or figure['verdict']}"
    measured = figure["measured"]
    value = f"{measured['median']:.3g} of {figure['reach']:.3g} {figure['unit']}".rstrip()
    if figure["verdict"] != "noise":
        return f"{name}: {value}"
    return (
        f"{name}: {value}, noise: half of the rounds from {measured['quartile_1']:.3g} to {measured['quartile_3']:.3g}"
    )
