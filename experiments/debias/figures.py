"""The two figures: accuracies with intervals, and how bias comes about during training."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.debias.model import BLOCKS
from experiments.debias.summary import Summary
from experiments.debias.training import Run
from experiments.estimates import estimate
from sdfast.report.plots import COLORS, DASHES, FAINT, INK, PALE
from sdfast.statistics import FACTORS

IN, OUT, GAINING = COLORS["residual"], COLORS["static"], COLORS["dynamic"]


def accuracy_figure(summaries: Mapping[str, Sequence[Summary]], chance: float) -> Figure:
    """Draw a panel for each setting, a row of bars for each way to train.

    Out of distribution with its seeds as dots, and in distribution.
    """
    most = max(map(len, summaries.values()))
    figure = Figure(figsize=(3.4 + 3.4 * len(summaries), 1.2 + 0.42 * most), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(summaries), sharey=True, squeeze=False)[0]
    for axes, (title, found) in zip(panels, summaries.items(), strict=True):
        _bars(axes, found, chance)
        axes.set_title(title, fontsize=9.5, color=INK, pad=14)
    figure.supxlabel("accuracy: mean over seeds, 95 % interval, one dot a seed", fontsize=9, color=INK)
    handles = [
        Patch(color=OUT, label="out of distribution"),
        Patch(color=GAINING, label="out of distribution, interval above its control"),
        Patch(color=IN, label="in distribution"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def _bars(axes: Axes, summaries: Sequence[Summary], chance: float) -> None:
    for place, summary in enumerate(summaries):
        gains = summary.gain is not None and summary.gain.low > 0
        _bar(axes, place - 0.19, summary, "out", GAINING if gains else OUT)
        _bar(axes, place + 0.19, summary, "in", IN)
        dots = np.clip(summary.per_seed, 0, 1)
        axes.scatter(
            dots, np.full(len(dots), place - 0.19), s=9, color="white", edgecolors=INK, linewidths=0.6, zorder=4
        )
    axes.axvline(chance, color=PALE, linewidth=0.9, linestyle=DASHES, zorder=3)
    axes.text(chance, -0.62, "chance", color=INK, fontsize=7.5, ha="center", va="bottom")
    axes.set_yticks(range(len(summaries)), [summary.row.name for summary in summaries])
    axes.set(xlim=(0, 1.15), ylim=(len(summaries) - 0.4, -0.65), xticks=np.arange(0, 1.01, 0.2))
    _frame(axes)
    axes.tick_params(axis="y", length=0)


def curves_figure(summaries: Sequence[Summary], runs: Sequence[Run]) -> Figure:
    """Draw a panel for each way to train: static and dynamic score of the last block over the training."""
    columns = min(7, len(summaries))
    lines = math.ceil(len(summaries) / columns)
    figure = Figure(figsize=(2.1 * columns + 0.4, 2.2 * lines + 0.7), dpi=130, layout="constrained")
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
        axes.set(ylim=(-0.1, 1.05), xlim=(0, max(1, steps[-1])))
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
    scores = np.array([run.curve[BLOCKS[-1]][factor] for run in runs])
    found = [estimate(column) for column in scores.T]
    return (
        runs[0].steps,
        [point.mean for point in found],
        [point.low for point in found],
        [point.high for point in found],
    )


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelsize=8.5, color=PALE, labelcolor=INK)
