"""The table, the lines and the picture of several data sets."""

import csv
import json

import pytest
import torch

import sdfast
from sdfast.report import SHARES, DatasetBias, Estimate, LayerBias
from sdfast.statistics import Spread
from tests.support.grouped import clustered_pairs, grouped_truth


def layer_bias(seed=0, videos=12, shuffled=(0.25, 0.2, 0.3)):
    a, b, factor, source = clustered_pairs(videos=videos, seed=seed)
    report = sdfast.BiasReport(torch.from_numpy(grouped_truth(a, b, factor, source)), sources=videos)
    return LayerBias(report, Estimate(*shuffled), Estimate(0.5, 0.4, 0.6))


@pytest.fixture
def bias():
    layers = {"ucf": {"stem": layer_bias(0), "head": layer_bias(1)}, "ssv2": {"stem": layer_bias(2)}}
    right = {
        "clips": Estimate(0.9, 0.8, 1.0),
        "shuffled": Estimate(0.5, 0.4, 0.6),
        "one_frame": Estimate(0.25, 0.2, 0.3),
    }
    return DatasetBias(layers, {"ucf": right})


def test_estimates_come_with_their_intervals():
    without = torch.tensor([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0]], dtype=torch.float64)
    spread = Spread(without.mean(0), without, torch.ones(3, 2, dtype=torch.bool))
    found = Estimate.of(spread, 0, 0.9)
    low, high = spread.interval(0.9)[:, 0].tolist()
    assert found == (3.0, low, high) and low < 3 < high
    assert Estimate.of(spread, 1, 0.9) == (4, 4, 4)
    assert Estimate(0.5, 0.4, 0.6).text("{:.1f}", 100) == "50.0 ± 10.0"
    assert Estimate(0.5, float("nan"), float("nan")).text("{:.1f}") == "0.5"


def test_the_table_has_a_line_for_each_layer_of_each_data_set(bias):
    lines = bias.summary().splitlines()
    assert [line.split()[:3] for line in lines[2:5]] == [
        ["stem", "ucf", "12"],
        ["stem", "ssv2", "12"],
        ["head", "ucf", "12"],
    ]
    for share in bias.layers["ssv2"]["stem"].shares:
        assert share.text("{:.1f}") in lines[3]
    assert "0.250 ± 0.050" in lines[3] and "0.500 ± 0.100" in lines[3]
    right = next(line for line in lines if line.startswith("ucf"))
    assert right.split() == ["ucf", "90.0", "±", "10.0", "50.0", "±", "10.0", "25.0", "±", "5.0"]
    assert "± half-widths of 95 % intervals, by a jackknife over the sources" in lines


def test_without_classes_there_are_no_accuracies(bias):
    assert "right %" not in DatasetBias(bias.layers, {}).summary() and "right %" in bias.summary()


def test_few_sources_are_said_to_be_few():
    assert "4 sources are few" in DatasetBias({"a": {"stem": layer_bias(videos=4)}}, {}).summary()


def test_values_are_plain(bias):
    found = json.loads(json.dumps(bias.to_dict(), allow_nan=False))
    stem = found["ucf"]["layers"]["stem"]
    report = bias.layers["ucf"]["stem"].report
    for i, share in enumerate(SHARES):
        low, high = report.share_interval()[:, i].tolist()
        assert stem["percent"][share] == {"value": report.percent[i].item(), "low": low, "high": high}
    assert stem["shuffled_change"] == {"value": 0.25, "low": 0.2, "high": 0.3}
    assert found["ucf"]["accuracy"]["clips"]["value"] == 0.9 and found["ssv2"]["accuracy"] is None
    unknown = DatasetBias({"a": {"stem": layer_bias(shuffled=(0.5, float("nan"), float("nan")))}}, {}).to_dict()
    assert unknown["a"]["layers"]["stem"]["shuffled_change"] == {"value": 0.5, "low": None, "high": None}


def test_lines_for_a_spreadsheet(bias, tmp_path):
    bias.to_csv(tmp_path / "datasets.csv")
    with open(tmp_path / "datasets.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["data_set"], row["layer"]) for row in rows] == [("ucf", "stem"), ("ucf", "head"), ("ssv2", "stem")]
    share = bias.layers["ssv2"]["stem"].shares[1]
    row = rows[2]
    assert (float(row["static_percent"]), float(row["static_percent_low"])) == (share.value, share.low)
    assert [float(row[f"one_frame_r2{end}"]) for end in ("", "_low", "_high")] == [0.5, 0.4, 0.6]


def test_the_picture_has_a_panel_a_number_and_a_mark_a_data_set(bias, tmp_path):
    pytest.importorskip("matplotlib")
    figure = bias.plot(tmp_path / "datasets.png")
    assert (tmp_path / "datasets.png").stat().st_size > 1000
    panels = figure.axes
    assert [axes.get_xlabel() for axes in panels] == [
        "dynamic share, %", "static share, %", "change when shuffled", "R² from one frame", "accuracy, %"
    ]  # fmt: skip
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["stem", "head"]
    assert [label.get_text() for label in panels[4].get_yticklabels()] == ["clips", "shuffled", "one frame"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ucf", "ssv2"]
    marks = [line for line in panels[1].get_lines() if line.get_marker() not in ("None", None, "")]
    assert [line.get_xdata()[0] for line in marks] == [
        bias.layers[name][layer].shares[1].value for name, layer in (("ucf", "stem"), ("ucf", "head"), ("ssv2", "stem"))
    ]
    assert len({line.get_color() for line in marks}) == 2
    assert len(DatasetBias(bias.layers, {}).plot().axes) == 4
