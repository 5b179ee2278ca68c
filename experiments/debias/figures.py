"""The two figures: accuracies with intervals, and how bias comes about during training."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.debias.data import MOTIONS
from experiments.debias.model import BLOCKS
from experiments.debias.summary import Summary, estimate
from experiments.debias.training import Run
from sdfast.report.plots import COLORS, DASHES, FAINT, INK, PALE
from sdfast.statistics import FACTORS

IN, OUT, GUIDED = COLORS["residual"], COLORS["static"], COLORS["dynamic"]
CHANCE = 1 / len(MOTIONS)


def accuracy_figure(summaries: Sequence[Summary]) -> Figure:
    """Draw a row of bars for each way to train: out of distribution with its seeds as dots, and in distribution."""
    figure = Figure(figsize=(9, 1.2 + 0.55 * len(summaries)), dpi=130, layout="constrained")
    axes = figure.subplots()
    for place, summary in enumerate(summaries):
        color = GUIDED if summary.row.control else OUT
        _bar(axes, place - 0.19, summary, "out", color)
        _bar(axes, place + 0.19, summary, "in", IN)
        dots = np.clip(summary.per_seed, 0, 1)
        axes.scatter(
            dots, np.full(len(dots), place - 0.19), s=9, color="white", edgecolors=INK, linewidths=0.6, zorder=4
        )
    axes.axvline(CHANCE, color=PALE, linewidth=0.9, linestyle=DASHES, zorder=3)
    axes.text(CHANCE, -0.62, "chance", color=INK, fontsize=7.5, ha="center", va="bottom")
    axes.set_yticks(range(len(summaries)), [summary.row.name for summary in summaries])
    axes.set(xlim=(0, 1.12), ylim=(len(summaries) - 0.4, -0.65), xticks=np.arange(0, 1.01, 0.2))
    axes.set_xlabel("accuracy: mean over seeds, 95 % interval, one dot a seed", fontsize=9, color=INK)
    handles = [
        Patch(color=OUT, label="out of distribution, plain or a control"),
        Patch(color=GUIDED, label="out of distribution, meant to debias"),
        Patch(color=IN, label="in distribution"),
    ]
    _frame(axes)
    axes.tick_params(axis="y", length=0)
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def curves_figure(summaries: Sequence[Summary], runs: Sequence[Run]) -> Figure:
    """Draw a panel for each way to train: static and dynamic score of the last block over the training."""
    columns = min(4, len(summaries))
    lines = math.ceil(len(summaries) / columns)
    figure = Figure(figsize=(2.6 * columns + 0.4, 2.2 * lines + 0.7), dpi=130, layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    first = [run for run in runs if run.row == summaries[0].row.name]
    for axes, summary in zip(panels, summaries, strict=False):
        own = [run for run in runs if run.row == summary.row.name]
        for factor in FACTORS:
            if own[0].row != first[0].row:
                steps, middle, _, _ = _curve(first, factor)
                axes.plot(steps, middle, color=COLORS[factor], linewidth=0.9, linestyle=DASHES, alpha=0.8)
            steps, middle, low, high = _curve(own, factor)
            axes.fill_between(steps, low, high, color=COLORS[factor], alpha=0.2, linewidth=0)
            axes.plot(steps, middle, color=COLORS[factor], linewidth=1.6)
        axes.axvline(steps[-1] / 2, color=FAINT, linewidth=0.8, zorder=0)
        axes.set_title(summary.row.name, fontsize=8.5, color=INK)
        axes.set(ylim=(-0.1, 1.05), xlim=(0, steps[-1]))
        _frame(axes)
    for axes in panels[len(summaries) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(summaries) - columns) : len(summaries)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("step of training", fontsize=9, color=INK)
    figure.supylabel(f"score of {BLOCKS[-1]}", fontsize=9, color=INK)
    handles = [Line2D([], [], color=COLORS[factor], label=factor) for factor in FACTORS]
    handles.append(Line2D([], [], color=PALE, linestyle=DASHES, label=summaries[0].row.name))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def _bar(axes: Axes, place: float, summary: Summary, where: str, color: str) -> None:
    found = summary.accuracy[where]
    axes.barh(place, found.mean, height=0.36, color=color, edgecolor="white", linewidth=0.5)
    edge = found.mean
    if not math.isnan(found.low):
        low, edge = max(found.low, 0), min(found.high, 1)
        axes.plot([low, edge], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt", zorder=3)
    at = max([edge, found.mean, *(summary.per_seed if where == "out" else ())])
    axes.text(at + 0.012, place, f"{found.mean:.2f}", color=INK, fontsize=7.5, va="center_baseline")


def _curve(runs: Sequence[Run], factor: str) -> tuple[list[int], list[float], list[float], list[float]]:
    """Return steps, and mean and interval over the runs at each."""
    steps = [step for step, _ in runs[0].curve]
    scores = np.array([[found[BLOCKS[-1]][factor] for _, found in run.curve] for run in runs])
    found = [estimate(column) for column in scores.T]
    return steps, [point.mean for point in found], [point.low for point in found], [point.high for point in found]


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelsize=8.5, color=PALE, labelcolor=INK)
