"""The paper's own picture: how much of every layer is dynamic, static and residual, over the depth of the network."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdfast.report.certainty import Certainty
from sdfast.report.plots import FAINT, INK, MARKERS, heading, legend, plain_frame, short_names, stroke
from sdfast.report.reading import SHARES
from sdfast.statistics import shares

# What a layer without any information reads, by scores of 0, 0 and 1.
_FLOORS = dict(zip(SHARES, (100 * shares(torch.tensor([0.0, 0.0, 1.0]))).tolist(), strict=True))
_APART = 0.12  # whiskers of one layer beside each other


def depth_figure(reports: Mapping[str, Certainty], title: str = "") -> Figure:
    """Draw the shares of each layer with their intervals, the layers in their order from left to right.

    Args:
        reports: by layer.
        title: what they are of, such as the name of the model; how many pairs there were is added.
    """
    number = len(reports)
    figure = Figure(figsize=(min(max(4.8, 2.4 + 0.42 * number), 24), 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    depth = np.arange(number)
    percent = np.stack([report.percent.numpy() for report in reports.values()])
    ends = np.stack([report.share_interval().numpy() for report in reports.values()])  # (layers, 2, 3)
    for i, name in enumerate(SHARES):
        x, color = depth + _APART * (i - 1), stroke(name)
        axes.axhline(_FLOORS[name], color=color, linewidth=0.8, linestyle=":", zorder=0)
        axes.vlines(x, ends[:, 0, i], ends[:, 1, i], color=color, linewidth=1.2)
        axes.plot(x, percent[:, i], color=color, linewidth=1.2, alpha=0.7)
        axes.plot(x, percent[:, i], color=color, linestyle="", marker=MARKERS[name], markersize=5)
    for between in depth[1:] - 0.5:
        axes.axvline(between, color=FAINT, linewidth=0.6, zorder=0)
    names = short_names(reports, 40)
    slanted = sum(map(len, names)) > 9 * figure.get_figwidth()
    axes.set_xticks(depth, names, rotation=40 if slanted else 0, ha="right" if slanted else "center",
                    rotation_mode="anchor" if slanted else "default")  # fmt: skip
    axes.set_xlim(-0.6, number - 0.4)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_ylabel("share of the layer, %", fontsize=10, color=INK)
    levels = sorted({f"{100 * report.level:g} %" for report in reports.values() if report.groups is not None})
    surety = f"whiskers: {' or '.join(levels)} intervals; " if levels else ""
    axes.set_xlabel(
        f"layer, in the order of the network\n({surety}dotted: no information at all)", fontsize=9, color=INK
    )
    plain_frame(axes)
    legend(
        figure,
        [Line2D([], [], marker=MARKERS[x], color=stroke(x), label=x, markersize=5) for x in SHARES],
        heading(reports, title),
    )
    return figure
