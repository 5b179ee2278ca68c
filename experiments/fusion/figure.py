"""The figure: what is static and what overlaps on camouflage, and how static each layer is."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.fusion.model import CROSSINGS, FUSIONS
from experiments.fusion.results import LAYERS
from experiments.fusion.summary import Summaries, Summary
from sdfast.report.plots import COLORS, DASHES, INK, PALE, plain_frame

FUSION_COLORS = dict(zip(FUSIONS, ("static", "undetermined", "joint", "dynamic"), strict=True))
MARKERS = dict(zip(CROSSINGS, ("o", "^", "s"), strict=True))
BIAS = LinearSegmentedColormap.from_list("bias", [COLORS["dynamic"], "white", COLORS["static"]])


def figure(found: Summaries) -> Figure:
    """Draw the combinations by static share and overlap, and beside them the bias of every layer of every network."""
    drawn = Figure(figsize=(13, 5.4), dpi=110, layout="constrained")
    points, layers = drawn.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_points(points, found)
    _draw_layers(layers, found.rows)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=COLORS[color], label=name)
        for name, color in FUSION_COLORS.items()
    ] + [
        Line2D([], [], marker=marker, linestyle="", color="white", markeredgecolor=INK, label=f"crossing: {name}")
        for name, marker in MARKERS.items()
    ]
    drawn.legend(handles=handles, loc="outside upper left", ncols=7, frameon=False, fontsize=8.5, labelcolor=INK)
    return drawn


def _draw_points(axes: Axes, found: Summaries) -> None:
    for summary in found.rows:
        overlap, share = summary.overlap["camouflage"], summary.static_share
        if share is None:
            continue
        color, marker = COLORS[FUSION_COLORS[summary.row.fusion]], MARKERS[summary.row.crossing]
        if not math.isnan(share.low):
            axes.plot([share.low, share.high], [overlap.mean] * 2, color=color, linewidth=1, alpha=0.7)
            axes.plot([share.mean] * 2, [overlap.low, overlap.high], color=color, linewidth=1, alpha=0.7)
        axes.plot(share.mean, overlap.mean, marker=marker, color=color, markeredgecolor="white", markersize=8)
    _draw_controls(axes, {x.row.name: x.overlap["camouflage"].mean for x in found.rows if x.static_share is None})
    axes.set_xlabel("static share of the fusion layers, %", fontsize=9, color=INK)
    axes.set_ylabel("intersection over union, camouflaged objects", fontsize=9, color=INK)
    plain_frame(axes)


def _draw_controls(axes: Axes, controls: Mapping[str, float]) -> None:
    """Draw a line for each control; one that is far below the combinations is told, or they would be a heap."""
    low, high = axes.get_ylim()
    for name, overlap in controls.items():
        place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "fontsize": 7.5, "color": INK}
        if overlap < low - (high - low) / 2:
            axes.text(0.99, low, f"{name}: {overlap:.2f}, below", **place)
        else:
            axes.axhline(overlap, color=PALE, linewidth=0.9, linestyle=DASHES)
            axes.text(0.99, overlap, f"{name}: {overlap:.2f}", **place)


def _draw_layers(axes: Axes, rows: list[Summary]) -> None:
    bias = np.full((len(rows), len(LAYERS)), np.nan)
    for i, summary in enumerate(rows):
        for j, layer in enumerate(LAYERS):
            if layer in summary.scores:
                bias[i, j] = summary.scores[layer]["static"].mean - summary.scores[layer]["dynamic"].mean
                axes.text(j, i, f"{bias[i, j]:.2f}", ha="center", va="center", fontsize=7.5, color=INK)
    axes.imshow(bias, cmap=BIAS, vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(LAYERS)), LAYERS.values(), rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), [summary.row.name for summary in rows])
    axes.set_xlabel("static less dynamic score of each layer", fontsize=9, color=INK)
    plain_frame(axes)
    axes.tick_params(length=0)
