"""Pictures of one layer and of thirty, of broken channels, and without touching the user's matplotlib."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from sdfast.report import LABELS
from sdfast.report.bias_report import BiasReport
from tests.support.grouped import clustered_pairs, grouped_truth

matplotlib = pytest.importorskip("matplotlib")
from sdfast.report import plots  # noqa: E402
from sdfast.report.depth_plot import depth_figure  # noqa: E402

FIGURES = [plots.layers_figure, plots.channels_figure, depth_figure]


def report(num_channels=20, seed=0, number=50):
    generator = torch.Generator().manual_seed(seed)
    moments = torch.zeros(6, 2, num_channels, dtype=torch.float64)
    moments[0] = number
    moments[3:5] = number
    moments[5] = number * (2 * torch.rand(2, num_channels, generator=generator, dtype=torch.float64) - 1)
    return BiasReport(moments)


def grouped(num_channels=20, videos=30):
    return BiasReport(torch.from_numpy(grouped_truth(*clustered_pairs(videos=videos, pairs=6, channels=num_channels))))


def strokes(axes):
    """Return the lines of a panel that are neither its axes nor its threshold, as arrays (2, points)."""
    return [np.array(line.get_data()) for line in axes.lines if len(line.get_xdata()) > 2]


def broken():
    """Return a report with a dead, a NaN and a perfectly correlated channel."""
    moments = report(5).moments
    moments[3:, :, 0] = 0
    moments[1:, :, 1] = torch.nan
    moments[5, :, 2] = moments[3, :, 2]
    return BiasReport(moments)


def undefined():
    moments = torch.zeros(6, 2, 4, dtype=torch.float64)
    moments[0, 0] = 1
    return BiasReport(moments)


def save(figure, tmp_path):
    """Save a figure, warnings being errors, and return its height and width in pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "picture.png")
    pixels = matplotlib.image.imread(tmp_path / "picture.png")
    assert pixels[..., :3].std() > 0.01, "an empty picture"
    return pixels.shape[:2]


@pytest.mark.parametrize("number", [1, 2, 5, 12, 30])
@pytest.mark.parametrize("draw", FIGURES)
def test_any_number_of_layers(number, draw, tmp_path):
    reports = {f"encoder.blocks.{i}.attention.output": report(seed=i) for i in range(number)}
    height, width = save(draw(reports), tmp_path)
    assert 150 < height < 4000 and 500 < width < 4000


@pytest.mark.parametrize("draw", FIGURES)
def test_broken_and_undefined_layers(draw, tmp_path):
    save(draw({"broken": broken(), "undefined": undefined(), "whole": report()}), tmp_path)
    save(draw({"undefined": undefined()}), tmp_path)


@pytest.mark.parametrize("draw", FIGURES)
def test_names_are_not_mathematics(draw, tmp_path):
    save(draw({"": report(), "a$_b$": report(), "x" * 200: report(), "\\frac": report()}), tmp_path)


@pytest.mark.parametrize("draw", FIGURES)
def test_titles_say_what_and_how_many(draw):
    def title(reports, *of):
        (legend,) = draw(reports, *of).legends
        return legend.get_title().get_text()

    assert title({"one": grouped()}, "r3d_18") == "r3d_18: 180 pairs of 30 sources"
    assert title({"one": report()}) == "100 pairs" and title({"one": report()}, "a$b$") == r"a\$b\$: 100 pairs"
    assert title({"one": report(), "two": report(number=2000)}) == "100 to 4,000 pairs"


def test_depth_shows_shares_and_intervals_in_the_order_of_the_layers():
    reports = {"one": grouped(10), "two": grouped(40), "three": report(seed=3)}
    (axes,) = depth_figure(reports).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list(reports)
    points = [np.asarray(line.get_ydata()) for line in axes.lines if line.get_marker() != "None"]
    percent = np.stack([each.percent.numpy() for each in reports.values()])
    np.testing.assert_array_equal(points, percent.T)
    whiskers = np.stack([np.stack(lines.get_segments()[:2])[:, :, 1] for lines in axes.collections])
    expected = np.stack([each.share_interval().numpy() for each in reports.values()])
    np.testing.assert_array_equal(whiskers, expected[:2].transpose(2, 0, 1))
    assert np.isnan(expected[2]).all() and "whiskers: 95 % intervals" in axes.get_xlabel()
    low, high = axes.get_ylim()
    assert low <= np.nanmin(expected) and np.nanmax(expected) <= high
    assert "whiskers" not in depth_figure({"three": report()}).axes[0].get_xlabel()


def test_the_dotted_lines_are_what_no_information_reads():
    from sdfast.statistics import shares

    (axes,) = depth_figure({"one": report()}).axes
    dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted, 100 * shares(torch.tensor([0.0, 0, 1], dtype=torch.float64)), atol=0.05)


def test_long_names_lie_inside_the_picture():
    reports = {f"encoder.blocks.{i}.attention.output.dense": report(seed=i) for i in range(12)}
    figure = depth_figure(reports)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    assert axes.get_window_extent().height > 0.4 * figure.bbox.height


def test_a_thousand_channels_are_a_density():
    each = report(1500, number=400)
    figure = plots.channels_figure({"one": each})
    (axes,) = figure.axes
    (cells,) = axes.collections
    assert "hexagons" in figure.get_supxlabel()
    middles, classes = cells.get_offsets(), cells.get_array().astype(int)
    corr, labels = each.corr.numpy()[::-1].T, np.array([LABELS.index(label) for label in each.labels])
    # By hand: each channel belongs to the nearest middle of a hexagon in units of its sides.
    size = np.ptp(middles, axis=0) / np.array([36, 36 / 2 / np.sqrt(3)])
    assert len(middles) > 300 and set(classes) <= set(labels)
    nearest = (np.abs(corr[:, None] - middles[None]) / size[None]).sum(2).argmin(1)
    agree = np.mean([np.bincount(labels[nearest == i]).argmax() == classes[i] for i in set(nearest)])
    assert agree > 0.9
    shade = cells.get_alpha()
    assert shade.min() > 0.25 and shade.max() == 1
    assert "hexagons" not in plots.channels_figure({"one": report(600)}).get_supxlabel()


def test_layers_show_all_channels_and_both_scores():
    reports = {"one": report(seed=1), "two": report(seed=2)}
    classes, scores = plots.layers_figure(reports).axes
    for row, each in enumerate(reports.values()):
        bars = [bar for bar in classes.patches if abs(bar.get_y() + bar.get_height() / 2 - row) < 0.01]
        widths = [100 * number / each.num_channels for number in each.classes.values()]
        np.testing.assert_allclose([bar.get_width() for bar in bars], widths)
        bars = [bar for bar in scores.patches if abs(bar.get_y() + bar.get_height() / 2 - row) < 0.3]
        np.testing.assert_allclose([bar.get_width() for bar in bars], each.layer_score[:2])
    low, high = scores.get_xlim()
    assert all(low <= x <= high for each in reports.values() for x in each.layer_score.tolist())


def test_scores_have_whiskers():
    reports = {"one": grouped(), "two": report()}
    _, scores = plots.layers_figure(reports).axes
    drawn = [line.get_data() for line in scores.lines if line.get_marker() == "|"]
    ends = np.stack([np.asarray(x) for x, _ in drawn])
    np.testing.assert_allclose(ends[:2], reports["one"].layer_interval().T[:2])
    assert np.isnan(ends[2:]).all(), "without sources there are none"
    heights = [y[0] for _, y in drawn]
    bars = [bar.get_y() + bar.get_height() / 2 for bar in scores.patches]
    np.testing.assert_allclose(heights, bars)
    assert "95 % intervals" in scores.get_xlabel()
    assert "interval" not in plots.layers_figure({"two": report()}).axes[1].get_xlabel()


def test_what_is_open_is_hatched():
    each = grouped(60)
    classes, _ = plots.layers_figure({"one": each}).axes
    hatched = [bar.get_width() for bar in classes.patches if bar.get_hatch()]
    np.testing.assert_allclose(hatched, [100 * each.classes["undetermined"] / 60])


def test_channels_have_whiskers():
    each = grouped()
    (axes,) = plots.channels_figure({"one": each}).axes
    (dynamic, static), (low, high) = each.corr.numpy(), each.interval().numpy()
    drawn = np.concatenate(strokes(axes), axis=1).round(9)
    across = [np.stack([end, dynamic]) for end in (low[1], high[1])]
    up = [np.stack([static, end]) for end in (low[0], high[0])]
    expected = np.concatenate([*across, *up], axis=1).round(9)
    assert sorted(map(tuple, drawn[:, ~np.isnan(drawn[0])].T)) == sorted(map(tuple, expected.T))


def test_many_channels_have_one_cross_of_median_size():
    each = grouped(300)
    figure = plots.channels_figure({"one": each})
    (axes,), (low, high) = figure.axes, each.interval().numpy()
    (cross,) = strokes(axes)
    sizes = np.nanmax(cross, axis=1) - np.nanmin(cross, axis=1)
    np.testing.assert_allclose(sizes, np.median(high - low, axis=1)[::-1])
    limits = axes.get_xlim()
    assert (limits[0] <= np.nanmin(cross)) and (np.nanmax(cross) <= limits[1])
    assert "cross: median interval" in figure.get_supxlabel()
    assert "cross" not in plots.channels_figure({"one": grouped()}).get_supxlabel()
    alone = plots.channels_figure({"one": grouped(300, videos=1)})
    assert "cross" not in alone.get_supxlabel(), "of one source nothing is known"


def test_the_cross_lies_where_there_are_no_points():
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(-0.2, 1, 60), np.linspace(0.2, 1, 60)))
    column, row = plots._free_place(x, y, across=0.1, up=0.08, lowest=-0.2)
    assert row + 0.08 < 0.2 and row - 0.08 >= -0.2 and -0.1 <= column <= 0.9


def test_channels_show_every_defined_channel_in_its_colour():
    for each in (report(200), broken()):
        (axes,) = plots.channels_figure({"one": each}).axes
        shown = {tuple(points.get_facecolor()[0][:3]): points.get_offsets() for points in axes.collections
                 if len(points.get_offsets())}  # fmt: skip
        corr = each.corr.numpy()
        for label in LABELS:
            chosen = (np.array(each.labels) == label) & ~each.undefined.numpy()
            if chosen.any():
                drawn = shown.pop(matplotlib.colors.to_rgb(plots.COLORS[label]))
                np.testing.assert_allclose(drawn, corr[::-1, chosen].T)
        assert not shown
        (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
        assert x_low == y_low < np.nanmin(corr) and 1 < x_high == y_high


def test_threshold_is_drawn_where_it_is():
    (axes,) = plots.channels_figure({"one": BiasReport(report().moments, threshold=0.3)}).axes
    assert sum(0.3 in np.asarray(line.get_xdata()) for line in axes.lines) == 1
    assert sum(0.3 in np.asarray(line.get_ydata()) for line in axes.lines) == 1


def test_legend_names_all_classes():
    for draw in (plots.layers_figure, plots.channels_figure):
        (legend,) = draw({"one": report()}).legends
        assert [text.get_text() for text in legend.get_texts()] == list(LABELS)


@pytest.mark.parametrize("vision", ["protan", "deutan", "grey"])
def test_colours_stay_apart_for_all_eyes(vision):
    # Linear RGB to what a dichromat sees (Vienot, Brettel and Mollon, 1999), or to luminance.
    matrices = {
        "protan": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
        "deutan": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
        "grey": [[0.2126, 0.7152, 0.0722]] * 3,
    }
    seen = {
        label: (np.array(matrices[vision]) @ np.array(matplotlib.colors.to_rgb(color)) ** 2.2).clip(0, 1) ** (1 / 2.2)
        for label, color in plots.COLORS.items()
    }
    for first in LABELS:
        for second in LABELS:
            if first < second and (vision, {first, second}) != ("grey", {"dynamic", "static"}):  # a marker each
                assert np.linalg.norm(seen[first] - seen[second]) > 0.25, (vision, first, second)


def test_long_names_keep_what_tells_them_apart():
    names = [f"video_encoder.transformer.blocks.{i}.mlp.activation" for i in range(3)]
    assert plots.short_names(names, 30) == [f"…{i}.mlp.activation" for i in range(3)]
    assert plots.short_names(["layer3", "layer4"], 30) == ["layer3", "layer4"]
    (only,) = plots.short_names(["x" * 50 + ".end"], 30)
    assert len(only) == 30 and only.endswith(".end")


def test_report_plots_itself(tmp_path):
    figure = report().plot(tmp_path / "one.png")
    assert isinstance(figure, matplotlib.figure.Figure)
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_users_backend_is_left_alone():
    program = (
        "import sys, torch, sdfast\n"
        "assert not any(name.startswith('matplotlib') for name in sys.modules), 'imported before it is needed'\n"
        "report = sdfast.BiasReport(torch.rand(6, 2, 3) + torch.tensor([5.0, 0, 0, 1, 1, 0]).view(6, 1, 1))\n"
        "report.plot()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "import matplotlib\n"
        "assert matplotlib.get_backend(auto_select=False) is None\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("MPLBACKEND", None)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
