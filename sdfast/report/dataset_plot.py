"""The picture of several data sets: their layers' numbers side by side, with intervals."""

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdfast.report.layer_bias import ACCURACIES, Estimate, LayerBias
from sdfast.report.plots import FAINT, legend, plain_frame, short_names

# Apart for every kind of colour vision, and in lightness for print; with more data sets they begin anew.
COLORS = ("#e0662a", "#3388c4", "#46307f", "#e0bc2c", "#2b8a5a", "#9aa1ab")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")

_PANELS: dict[str, Callable[[LayerBias], Estimate]] = {
    "dynamic share, %": lambda found: found.shares[0],
    "static share, %": lambda found: found.shares[1],
    "change when shuffled": lambda found: found.shuffled,
    "R² from one frame": lambda found: found.one_frame,
}


def dataset_figure(
    layers: Mapping[str, Mapping[str, LayerBias]], accuracy: Mapping[str, Mapping[str, Estimate]]
) -> Figure:
    """Draw a row for each layer in panels of shares, change and predictability; accuracies in a panel of their own.

    Args:
        layers: by the name of the data set, then by that of the layer.
        accuracy: by the name of the data set, then as in `ACCURACIES`; or empty.
    """
    rows = list(dict.fromkeys(layer for found in layers.values() for layer in found))
    number, most = len(_PANELS) + bool(accuracy), max(len(rows), len(ACCURACIES) * bool(accuracy))
    figure = Figure(
        figsize=(2.5 * number + 1.2, 1.4 + max(0.3, 0.16 * len(layers)) * most), dpi=150, layout="constrained"
    )
    panels = figure.subplots(1, number, squeeze=False)[0]
    labels = short_names(rows, 32)
    for axes, (title, read) in zip(panels, _PANELS.items(), strict=False):
        found = [[read(of_one[x]) if x in of_one else None for x in rows] for of_one in layers.values()]
        _draw(axes, found, title, labels)
        labels = [""] * len(rows)
    if accuracy:
        found = [[Estimate(*(100 * x for x in of_one[what])) for what in ACCURACIES] for of_one in accuracy.values()]
        _draw(panels[-1], found, "accuracy, %", [what.replace("_", " ") for what in ACCURACIES])
    handles = [Line2D([], [], linestyle="", label=name, **_look(i)) for i, name in enumerate(short_names(layers, 32))]
    legend(figure, handles)
    return figure


def _draw(axes: Axes, found: list[list[Estimate | None]], title: str, rows: list[str]) -> None:
    """Draw a point and a whisker for each data set in each row, those of a row below each other."""
    for i, estimates in enumerate(found):
        look, offset = _look(i), 0.6 * ((i + 0.5) / len(found) - 0.5)
        for row, estimate in enumerate(estimates):
            if estimate is not None:
                value, low, high = estimate
                axes.plot([low, high], [row + offset] * 2, color=look["color"], linewidth=1.2)
                axes.plot([value], [row + offset], linestyle="", **look)
    for row in range(1, len(rows)):
        axes.axhline(row - 0.5, color=FAINT, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first layer on top
    axes.set_xlabel(title, fontsize=9)
    plain_frame(axes)
    axes.tick_params(axis="y", length=0)


def _look(i: int) -> dict[str, Any]:
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 5}
