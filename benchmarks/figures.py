"""Plots of what a run has kept, in the look of the package's own pictures."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE, DASHES = "#2b2f36", "#9aa1ab", (0, (4, 3))
_COLORS = ("#46307f", "#e0662a", "#3388c4", "#6b9e4a", "#b0476f")
_VERDICTS = {"aim": "#46307f", "reached": "#3388c4", "missed": "#e0662a", "noise": "#cfd4da"}
_LIMITS = ("of the read probe", "of mul_", "of mul(out=)", "of the copy bandwidth")
_DPI = 75  # keeps the files small


def draw_limits(kept: Mapping) -> Figure | None:
    """Draw a bar for each figure that is a fraction of a limit, with its reach as a mark."""
    bars = [figure for figure in kept["judged"] if figure["measured"] and figure["target"].endswith(_LIMITS)]
    if not bars:
        return None
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(bars)), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for row, bar in enumerate(bars):
        measured = bar["measured"]
        middle = measured["median"]
        axes.barh(row, middle, height=0.7, color=_VERDICTS[bar["verdict"]])
        axes.plot((measured["quartile_1"], measured["quartile_3"]), (row, row), color=INK, linewidth=1)
        axes.plot((bar["reach"], bar["reach"]), (row - 0.42, row + 0.42), color=INK, linewidth=2)
    axes.axvline(1, color=PALE, linestyle=DASHES, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(bars)), [f"{bar['target']}  {bar['shape']}" for bar in bars], fontsize=7.5)
    axes.set_ylim(len(bars) - 0.4, -0.6)  # the first on top
    axes.set_xlim(0, max(1.05, *(1.05 * bar["measured"]["median"] for bar in bars)))
    axes.set_xlabel("fraction of the limit; thick mark: reach; line: the middle half of the rounds", fontsize=9)
    handles = [axes.barh(0, 0, color=color, label=name) for name, color in _VERDICTS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    _plain(axes)
    return figure


def draw_curves(kept: Mapping, unit: str) -> Figure | None:
    """Draw a panel for each axis, both ways as logarithms: seconds ("s") with the fitted exponents, or errors ("")."""
    curves = [curve for curve in kept["curves"] if curve["unit"] == unit]
    panels = dict.fromkeys((curve["case"], curve["axis"]) for curve in curves)
    if not panels:
        return None
    width, scale = (3.1, 1e3) if unit == "s" else (6, 1)
    figure = Figure(figsize=(width * len(panels), 3.4), dpi=_DPI, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        shown = [curve for curve in curves if (curve["case"], curve["axis"]) == panel]
        for color, curve in zip(_COLORS, shown, strict=False):
            label = curve["candidate"] + (f", exponent {curve['exponent']:.2f}" if unit == "s" else "")
            values = [scale * value for value in curve["y"]]
            axes.loglog(curve["x"], values, marker="o", markersize=4, color=color, label=label)
        axes.set_title(f"{panel[0]} over {panel[1]}", fontsize=9, color=INK)
        axes.set_xlabel(panel[1], fontsize=9)
        axes.set_xticks(shown[0]["x"], [f"{x:g}" for x in shown[0]["x"]])
        axes.minorticks_off()
        axes.set_ylabel("ms" if unit == "s" else "largest error", fontsize=9)
        axes.legend(fontsize=7.5, frameon=False)
        _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelsize=8, color=PALE, labelcolor=INK)
