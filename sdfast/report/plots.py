"""Pictures of reports. Figures are made without pyplot, so the backend that the user chose is left alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from torch import Tensor

from sdfast.report.certainty import LABELS, Certainty
from sdfast.report.reading import SHARES
from sdfast.statistics import FACTORS

# Apart in hue for every kind of colour vision, and in lightness for print; the scatter adds a marker each.
COLORS = {
    "joint": "#46307f",
    "dynamic": "#e0662a",
    "static": "#3388c4",
    "residual": "#e1e5ea",
    "undetermined": "#e0bc2c",
}
MARKERS = {"joint": "D", "dynamic": "^", "static": "s", "residual": "o", "undetermined": "X"}
INK, PALE, FAINT = "#2b2f36", "#9aa1ab", "#e6e8eb"
DASHES = (0, (4, 3))
APART = 600  # with more channels points hide each other: then hexagons show how many there are
LEGIBLE = 40  # with more channels their whiskers are a thicket: then one cross shows what is usual
SCORES = (-0.5, 1.5)  # as far as whiskers of scores are followed


def layers_figure(reports: Mapping[str, Certainty], title: str = "") -> Figure:
    """Draw a row for each layer: the classes its channels fall into, and its dynamic and static score."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(figsize=(10, 1.3 + 0.38 * len(reports)), dpi=150, layout=layout)
    classes, score = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, report in enumerate(reports.values()):
        _draw_classes(classes, row, report)
        _draw_scores(score, row, report)
    classes.set_yticks(range(len(reports)), short_names(reports, 32))
    classes.set_ylim(len(reports) - 0.4, -0.6)  # the first layer on top
    classes.set_xlim(0, 100)
    low, high = score.get_xlim()
    score.set_xlim(min(low, 0), max(high, 1.03))
    score.axvline(0, color=PALE, linewidth=0.8)
    score.axvline(1, color=PALE, linewidth=0.8, linestyle=DASHES, zorder=0)
    levels = {f"{100 * report.level:g} %" for report in reports.values() if report.groups is not None}
    surety = f", {' or '.join(sorted(levels))} intervals" if levels else ""
    for axes, text in ((classes, "channels of each class, %"), (score, f"layer score (residual: 1){surety}")):
        axes.set_xlabel(text, fontsize=9, color=INK)
        plain_frame(axes)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    legend(
        figure,
        [Patch(label=label, **_filling(label)) for label in LABELS],
        heading(reports, title),
        handleheight=1,
        handlelength=1,
    )
    return figure


def channels_figure(reports: Mapping[str, Certainty], title: str = "") -> Figure:
    """Draw a panel for each layer: its channels by static and dynamic correlation, coloured by class."""
    number = len(reports)
    columns = min(number, 3 if number <= 9 else 4 if number <= 16 else 6)
    rows = math.ceil(number / columns)
    side = 3.6 if columns <= 3 else 2.6
    figure = Figure(figsize=(max(side * columns, 4.8) + 0.4, side * rows + 0.9), dpi=150, layout="constrained")
    panels = _panels(figure, number, columns)
    lowest = min(-0.2, *(np.nanmin(report.corr.numpy(), initial=0) for report in reports.values()))
    limits, ticks = (lowest - 0.05, 1.05), np.arange(-2, 3) / 2
    for axes, name, report in zip(panels, short_names(reports, 12 * side), reports.values(), strict=True):
        _draw_channels(axes, report, lowest)
        axes.set_title(name, fontsize=9, color=INK)
        # Limits last: ticks outside would widen them.
        axes.set(xticks=ticks, yticks=ticks, xlim=limits, ylim=limits, aspect="equal")
        plain_frame(axes)
    crosses = "\ncross: median interval of a channel" if any(map(_crowded, reports.values())) else ""
    dense = "\nhexagons: the class of most channels there, the darker the more" * any(map(_dense, reports.values()))
    figure.supxlabel(f"static correlation{crosses}{dense}", fontsize=10, color=INK)
    figure.supylabel("dynamic correlation", fontsize=10, color=INK)
    look: dict[str, Any] = {"linestyle": "", "markersize": 7}
    legend(
        figure,
        [Line2D([], [], marker=MARKERS[x], color=COLORS[x], label=x, **look) for x in LABELS],
        heading(reports, title),
    )
    return figure


def curves_figure(steps: Sequence[int], curves: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw a panel for each layer: its shares in percent over steps (S, 3), and their intervals (S, 2, 3) as bands."""
    number = len(curves)
    columns = min(number, 3 if number <= 9 else 4)
    rows, width = math.ceil(number / columns), 3.4 if columns <= 3 else 2.6
    figure = Figure(figsize=(max(width * columns, 4.8) + 0.4, 2.5 * rows + 0.9), dpi=150, layout="constrained")
    panels = _panels(figure, number, columns)
    for axes, title, (shares, bands) in zip(panels, short_names(curves, 12 * width), curves.values(), strict=True):
        for name, share, ends in zip(SHARES, shares.T, bands.permute(2, 1, 0), strict=True):
            color = stroke(name)
            axes.fill_between(steps, *ends.numpy(), color=color, alpha=0.2, linewidth=0)
            axes.plot(steps, share.numpy(), color=color, linewidth=1.4, marker=MARKERS[name], markersize=3.5)
        axes.set_title(title, fontsize=9, color=INK)
        plain_frame(axes)
    figure.supxlabel("step", fontsize=10, color=INK)
    figure.supylabel("share of the layer, %\n(bands: 95 % intervals)", fontsize=10, color=INK)
    legend(figure, [Line2D([], [], marker=MARKERS[x], color=stroke(x), label=x, markersize=5) for x in SHARES])
    return figure


def _panels(figure: Figure, number: int, columns: int) -> list[Axes]:
    """Return so many panels in rows of `columns`; the lowest of each column has numbers below it."""
    grid = figure.subplots(math.ceil(number / columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[number:]:
        axes.set_axis_off()
    for axes in grid[number - columns : number]:
        axes.tick_params(labelbottom=True)  # also above an empty panel
    return list(grid[:number])


def stroke(label: str) -> str:
    """Return the colour of lines: that of areas is too pale for what is residual."""
    return PALE if label == "residual" else COLORS[label]


def _draw_classes(axes: Axes, row: int, report: Certainty) -> None:
    start = 0.0
    for label, number in report.classes.items():
        width = 100 * number / report.num_channels
        axes.barh(row, width, left=start, height=0.7, **_filling(label))
        if width >= 7:
            ink = INK if label in ("residual", "undetermined") else "white"
            look: dict[str, Any] = {"color": ink, "fontsize": 8, "ha": "center", "va": "center"}
            if label == "undetermined":
                look["bbox"] = {"color": "white", "pad": 1.5}
            axes.text(start + width / 2, row, f"{width:.0f}", **look)
        start += width


def _filling(label: str) -> dict[str, Any]:
    """Return how a bar of a class looks: what is open is hatched, or it would be louder than what is known."""
    if label == "undetermined":
        return {"facecolor": "white", "edgecolor": COLORS[label], "hatch": "/////", "linewidth": 0.8}
    return {"facecolor": COLORS[label], "edgecolor": "white", "linewidth": 0.8}


def _draw_scores(axes: Axes, row: int, report: Certainty) -> None:
    ends = report.layer_interval().clamp(*SCORES).T.tolist()[: len(FACTORS)]
    scores = report.layer_score.tolist()[: len(FACTORS)]
    for factor, score, whisker, above in zip(FACTORS, scores, ends, (-0.18, 0.18), strict=True):
        if math.isnan(score):
            axes.text(0.02, row + above, f"{factor}: undefined", color=PALE, fontsize=7, va="center_baseline")
            continue
        axes.barh(row + above, score, height=0.34, color=COLORS[factor], edgecolor="white", linewidth=0.5)
        axes.plot(whisker, [row + above] * 2, color=INK, linewidth=1, marker="|", markersize=4, solid_capstyle="butt")


def _draw_channels(axes: Axes, report: Certainty, lowest: float) -> None:
    for line in (axes.axhline, axes.axvline):
        line(0, color=FAINT, linewidth=0.8, zorder=0)
        line(report.threshold, color=PALE, linewidth=0.8, linestyle=DASHES, zorder=1)
    dynamic, static = report.corr.numpy()
    labels, shown = np.array(report.labels), ~report.undefined.numpy()
    size = min(40.0, max(6.0, 4000 / report.num_channels))
    if _dense(report):
        _draw_density(axes, static[shown], dynamic[shown], labels[shown], lowest)
    for label in () if _dense(report) else reversed(LABELS):  # the few on top of the many
        chosen = (labels == label) & shown
        edge = PALE if label == "residual" else "white"
        look: dict[str, Any] = {"marker": MARKERS[label], "color": COLORS[label], "edgecolors": edge, "linewidths": 0.4}
        axes.scatter(static[chosen], dynamic[chosen], s=size, alpha=0.85, clip_on=False, zorder=3, **look)
    if shown.any():
        _draw_intervals(axes, report, shown, lowest)
    else:
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "bbox": {"color": "white"}}
        axes.text(0.5, 0.3, "undefined", color=PALE, fontsize=9, **place)


def _draw_density(axes: Axes, x: np.ndarray, y: np.ndarray, labels: np.ndarray, lowest: float) -> None:
    """Draw hexagons in the colour of the class that most of their channels have, paler where these are few."""
    grid: dict[str, Any] = {"gridsize": 36, "extent": (lowest, 1, lowest, 1), "mincnt": 1}
    grid |= {"linewidths": 0.2, "edgecolors": "white"}
    counted = axes.hexbin(x, y, **grid)
    number = np.asanyarray(counted.get_array())
    counted.remove()
    classes = np.array([LABELS.index(label) for label in labels])

    def most(inside: np.ndarray | list[float]) -> int:
        return int(np.bincount(inside).argmax())

    colors = ListedColormap([stroke(label) for label in LABELS])
    cells = axes.hexbin(x, y, C=classes, reduce_C_function=most, cmap=colors, vmin=-0.5, vmax=len(LABELS) - 0.5, **grid)
    cells.set(alpha=0.25 + 0.75 * np.log1p(number) / np.log1p(number.max()), clip_on=False, zorder=3)


def _draw_intervals(axes: Axes, report: Certainty, shown: np.ndarray, lowest: float) -> None:
    """Draw the channels' intervals as whiskers, or, where these would hide each other, one cross of median size."""
    dynamic, static = report.corr.numpy()
    (dynamic_low, static_low), (dynamic_high, static_high) = report.interval().numpy()
    if not _crowded(report):
        labels = np.array(report.labels)
        for label in LABELS:
            chosen = (labels == label) & shown
            color = stroke(label)
            for x, y in (([static_low, static_high], [dynamic] * 2), ([static] * 2, [dynamic_low, dynamic_high])):
                strokes = (np.stack([*ends, dynamic + np.nan], axis=1)[chosen].ravel() for ends in (x, y))
                axes.plot(*strokes, color=color, linewidth=0.8, alpha=0.6, zorder=2)
        return
    halves = ((high - low)[shown] / 2 for low, high in ((static_low, static_high), (dynamic_low, dynamic_high)))
    across, up = (np.median(half[np.isfinite(half)]) if np.isfinite(half).any() else np.nan for half in halves)
    column, row = _free_place(static[shown], dynamic[shown], across, up, lowest)
    halo = [withStroke(linewidth=3.5, foreground="white")]
    ends = [column - across, column + across, np.nan, column, column], [row, row, np.nan, row - up, row + up]
    axes.plot(*ends, color=INK, linewidth=1.2, zorder=4, path_effects=halo)


def _free_place(x: np.ndarray, y: np.ndarray, across: float, up: float, lowest: float) -> tuple[float, float]:
    """Return the centre of a cross of these half-widths that covers the fewest points, first in the upper left."""
    rows, columns = np.linspace(1 - up, lowest + up, 24), np.linspace(lowest + across, 1 - across, 24)
    places = [(column, row) for row in rows for column in columns]
    dx, dy = np.abs(np.array(places)[:, :, None] - np.stack([x, y])).transpose(1, 0, 2)
    near = 0.04
    covered = ((dx < near) & (dy < up + near)) | ((dy < near) & (dx < across + near))
    return places[int(covered.sum(1).argmin())]


def _crowded(report: Certainty) -> bool:
    """Tell whether whiskers for each channel would be a thicket."""
    known = report.interval().isfinite().all(0).any(0)
    return int(known.sum()) > LEGIBLE


def _dense(report: Certainty) -> bool:
    """Tell whether points for each channel would hide each other."""
    return report.num_channels > APART


def heading(reports: Mapping[str, Certainty], title: str) -> str:
    """Return a title: what the picture is of, and how many pairs of how many sources."""
    pairs = sorted({int(report.count.sum()) for report in reports.values()})
    sources = sorted({report.num_sources for report in reports.values() if report.num_sources is not None})
    parts = [" to ".join(f"{n:,}" for n in dict.fromkeys((x[0], x[-1]))) for x in (pairs, sources) if x]
    text = f"{parts[0]} pairs" + (f" of {parts[1]} sources" if sources else "")
    return f"{title}: {text}".removeprefix(": ").replace("$", r"\$")  # not mathematics


def legend(figure: Figure, handles: Sequence[Artist], title: str | None = None, **space: float) -> None:
    """Put a line of names above all panels of a figure, and a title above it."""
    space = {"handletextpad": 0.4, "columnspacing": 1.4, **space}
    look: dict[str, Any] = {"fontsize": 9, "labelcolor": INK, "title_fontsize": 10, "frameon": False, **space}
    made = figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), title=title, **look)
    made.get_title().set_color(INK)


def plain_frame(axes: Axes) -> None:
    """Leave a panel its lower and its left line, and make its numbers small."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelsize=8.5, color=PALE, labelcolor=INK)


def short_names(names: Iterable[str], length: float) -> list[str]:
    """Cut layer names that are too long: first what they all begin with, then their beginnings."""
    names = list(names)
    if len(names) > 1 and max(map(len, names)) > length:
        parts = [name.split(".") for name in names]
        shared = next((i for i, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1), 0)
        names = ["…" * (shared > 0) + ".".join(part[shared:]) for part in parts]
    names = [name if len(name) <= length else "…" + name[1 - int(length) :] for name in names]
    return [name.replace("$", r"\$") for name in names]  # not mathematics
