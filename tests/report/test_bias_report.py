"""What a report says: classes, scores, dimensions, intervals, and how it reads and is saved."""

import csv
import dataclasses
import json
import pickle
import sys

import numpy as np
import pytest
import torch

import sdfast
from sdfast.report import BiasReport, format_table, results, save_reports
from tests import truth
from tests.support.moments import with_corr

FACTORS = ("dynamic", "static")
LABELS = {"joint", "dynamic", "static", "residual", "undetermined"}


def measured(num_channels=8, number=60, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(number, num_channels))
    a, b = (common + noise * rng.normal(size=common.shape) for _ in range(2))
    return truth.comoments(a, b, np.arange(number) % 2)


def test_classes_follow_the_threshold():
    moments = with_corr([0.9, 0.9, 0.1, 0.1, 0.5, -0.9], [0.9, 0.1, 0.9, 0.1, 0.5, -0.9])
    assert BiasReport(moments).point_labels == ["joint", "dynamic", "static", "residual", "residual", "residual"]
    assert BiasReport(moments).labels == ["joint", "dynamic", "static", "residual", "undetermined", "residual"]
    assert BiasReport(moments, threshold=0.3).labels[4] == BiasReport(moments, threshold=0.4).point_labels[4] == "joint"
    assert BiasReport(moments, threshold=0.95).labels == ["residual"] * 6
    assert BiasReport(moments).classes == {"joint": 1, "dynamic": 1, "static": 1, "residual": 2, "undetermined": 1}


def test_every_channel_is_in_one_class():
    moments = torch.from_numpy(measured(200))
    moments[3:, :, ::7] = 0  # dead
    moments[3, 0, ::11] = torch.nan
    moments[1, 1, ::13] = torch.inf
    report = BiasReport(moments)
    assert set(report.labels) <= LABELS
    assert sum(report.classes.values()) == 200 == len(report.labels)


def test_dead_channels_are_residual_and_counted():
    constant = np.full((20, 1), 0.25)
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 1))
    factor = np.arange(20) % 2
    only_dynamic = np.where(factor[:, None] == 0, a, 0.25)
    feats = np.concatenate([constant, a, only_dynamic], axis=1)
    report = BiasReport(torch.from_numpy(truth.comoments(feats, feats, factor)))
    assert report.dead.tolist() == [True, False, False]
    assert report.labels == ["residual", "joint", "undetermined"], "10 static pairs that never vary say little"
    assert report.point_labels == ["residual", "joint", "dynamic"]
    assert report.corr[:, 0].tolist() == [0, 0] and report.mi[:, 0].tolist() == [0, 0]
    assert report.to_dict()["dead"] == 1
    assert BiasReport(report.moments, threshold=-0.5).point_labels == ["residual", "joint", "joint"]


def test_channel_constant_in_each_clip_but_different_is_not_dead():
    a, b = np.full((6, 1), 1.0), np.full((6, 1), 2.0)
    report = BiasReport(torch.from_numpy(truth.comoments(a, b, np.arange(6) % 2)))
    assert report.dead.tolist() == [False]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["pearson", "intraclass"])
def test_broken_channel_does_not_poison_the_layer(bad, kind):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(40, 5))
    a, b = common + rng.normal(size=common.shape), common + rng.normal(size=common.shape)
    factor = np.arange(40) % 2
    broken = a.copy()
    broken[4, 2] = bad
    keep = [0, 1, 3, 4]
    with np.errstate(invalid="ignore"):
        report = BiasReport(torch.from_numpy(truth.comoments(broken, b, factor)), kind=kind)
    alone = BiasReport(torch.from_numpy(truth.comoments(a[:, keep], b[:, keep], factor)), kind=kind)
    assert report.undefined.tolist() == [False, False, True, False, False]
    assert report.labels[2] == "residual"
    assert [report.labels[i] for i in keep] == alone.labels
    torch.testing.assert_close(report.layer_score, alone.layer_score)
    assert report.percent.isfinite().all()
    assert "1 undefined" in report.summary()
    assert report.to_dict()["undefined"] == 1


def test_pearson_layer_score_weighs_by_variance():
    moments = with_corr([1.0, 0.0], [0.5, 0.25], scale=[3.0, 1.0])
    torch.testing.assert_close(BiasReport(moments).layer_score.tolist(), [0.75, 0.4375, 1.0])


@pytest.mark.parametrize("seed", range(3))
def test_intraclass_equals_reference(seed):
    moments = measured(33, seed=seed)
    report = BiasReport(torch.from_numpy(moments), kind="intraclass")
    np.testing.assert_allclose(report.corr, truth.correlation(moments, "intraclass"), rtol=1e-12)
    np.testing.assert_allclose(report.layer_score, truth.layer_score(moments), rtol=1e-12)
    np.testing.assert_array_equal(report.dims, truth.factor_dimensions(report.layer_score.numpy(), 33))


def test_no_information_reads_the_softmax_floor():
    report = BiasReport(with_corr([0.0] * 1000, [0.0] * 1000))
    assert report.percent.tolist() == [21.2, 21.2, 57.6]
    assert "21.2 / 21.2 / 57.6" in report.summary()


def test_all_dead_layer_scores_zero():
    report = BiasReport(with_corr([0.0] * 3, [0.0] * 3, scale=0.0))
    assert report.layer_score.tolist() == [0, 0, 1]
    assert report.classes["residual"] == 3 and report.dead.all()


@pytest.mark.parametrize("kind", ["pearson", "intraclass"])
@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pairs_are_undefined_and_do_not_crash(kind, count, tmp_path):
    state = sdfast.CoMoments(3)
    if count:
        state.update(torch.rand(1, 3), torch.rand(1, 3), torch.tensor([1]))
    report = BiasReport(state.moments, kind=kind, name="layer")
    assert report.count.tolist() == [0, count]
    assert report.corr.isnan().all() and report.mi.isnan().all() and report.interval().isnan().all()
    assert report.labels == ["residual"] * 3 and report.undefined.all()
    assert report.layer_score.isnan().tolist() == [True, True, False]
    assert report.dims.tolist() == [0, 0, 0] and report.percent.isnan().all()
    assert "3 undefined" in report.summary() and "3 channels" in repr(report)
    save_reports({"layer": report}, tmp_path, {})
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["layers"]["layer"]["channels"]["corr_static"] == [None] * 3
    assert saved["layers"]["layer"]["count"] == {"dynamic": 0, "static": count}


def test_one_factor_alone_has_its_own_score():
    moments = with_corr([0.8, 0.6], [0.0, 0.0], count=[50, 0])
    report = BiasReport(moments)
    torch.testing.assert_close(report.layer_score[0].item(), 0.7)
    assert report.layer_score[1].isnan() and report.corr[0].isfinite().all()


def test_perfect_correlation_is_infinite_and_still_json(tmp_path):
    report = BiasReport(with_corr([1.0, -1.0], [0.25, 1.0]), name="layer")
    assert report.mi[0].tolist() == [torch.inf, torch.inf]
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["channels"]["mi_dynamic"] == ["inf", "inf"]
    assert values["channels"]["corr_dynamic"] == [1.0, -1.0]
    assert values["channels"]["label"] == ["dynamic", "static"]
    save_reports({"layer": report}, tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} >= {"report.json", "channels.csv"}


@pytest.mark.parametrize("kind, freedom", [("pearson", 3), ("intraclass", 1.5)])
def test_interval_is_fishers(kind, freedom):
    report = BiasReport(with_corr([0.6, 0.0], [-0.3, 0.9]), kind=kind)
    reach = 1.959963984540054 / np.sqrt(100 - freedom)
    expected = np.tanh(np.arctanh(report.corr.numpy()) + reach * np.array([-1, 1])[:, None, None])
    np.testing.assert_allclose(report.interval(), expected, rtol=1e-12)
    low, high = report.interval(0.5)
    assert (low > report.interval()[0]).all() and (high < report.interval()[1]).all()


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    rho, number, trials = 0.6, 40, 4000
    common = rng.normal(size=(2 * number, trials))
    a, b = (np.sqrt(rho) * common + np.sqrt(1 - rho) * rng.normal(size=common.shape) for _ in range(2))
    report = BiasReport(torch.from_numpy(truth.comoments(a, b, np.arange(2 * number) % 2)))
    low, high = report.interval(0.9)
    covered = ((low < rho) & (rho < high)).double().mean()
    assert covered == pytest.approx(0.9, abs=0.02)


def test_interval_of_three_pairs_says_nothing():
    low, high = BiasReport(with_corr([0.9, 1.0], [-1.0, 0.0], count=3)).interval()
    assert (low == -1).all() and (high == 1).all()
    low, high = BiasReport(with_corr([1.0], [-1.0], count=100)).interval()
    np.testing.assert_allclose([*low, *high], [[1], [-1], [1], [-1]], atol=1e-12)


@pytest.mark.parametrize("level", [0, 1, 95, -0.5, float("nan")])
def test_interval_needs_a_probability(level):
    with pytest.raises(ValueError, match="level: expected a probability between 0 and 1"):
        BiasReport(with_corr([0.5], [0.5])).interval(level)


def test_mi_floor_is_what_chance_gives():
    rng = np.random.default_rng(6)
    number, channels = 500, 5000
    a, b = rng.normal(size=(2, number, channels))
    factor = np.arange(number) % 5 // 4  # 400 dynamic, 100 static
    report = BiasReport(torch.from_numpy(truth.comoments(a, b, factor)))
    assert report.mi_floor.tolist() == [1 / 800, 1 / 200]
    torch.testing.assert_close(report.mi.mean(1), report.mi_floor, rtol=0.1, atol=0)


def test_report_is_a_snapshot():
    moments = with_corr([0.9], [0.1])
    report = BiasReport(moments, name="layer")
    moments.zero_()
    assert report.labels == ["dynamic"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.threshold = 0.1
    assert dataclasses.replace(report, threshold=0.05).labels == ["undetermined"]
    assert dataclasses.replace(report, threshold=-0.15).labels == ["joint"]
    copied = pickle.loads(pickle.dumps(report))
    assert copied.to_dict() == report.to_dict()


def test_repr_and_summary_read():
    report = BiasReport(torch.from_numpy(measured(8)), name="layer4")
    classes = ", ".join(f"{number} {label}" for label, number in report.classes.items())
    assert repr(report) == f"BiasReport('layer4', 8 channels: {classes})"
    text = report.summary()
    assert text.startswith("layer4: 8 channels, 30 dynamic + 30 static pairs, pearson")
    for number in report.percent.tolist():
        assert f"{number:.1f} %" in text
    assert "static 1 by construction" in text
    assert len(text.splitlines()) < 12 and max(map(len, text.splitlines())) <= 120


def test_csv_has_a_line_a_channel(tmp_path):
    moments = torch.from_numpy(measured(5))
    moments[5, 0, 1] = moments[3, 0, 1] = moments[4, 0, 1]  # corr 1, mi inf
    moments[3, 0, 2] = torch.nan
    report = BiasReport(moments, name="a, b")
    report.to_csv(tmp_path / "channels.csv")
    with open(tmp_path / "channels.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    columns = "layer channel label dead corr_dynamic corr_static mi_dynamic mi_static count_dynamic count_static"
    ends = "corr_low_dynamic corr_high_dynamic corr_low_static corr_high_static"
    rest = "mi_corrected_dynamic mi_corrected_static dominated"
    assert list(lines[0]) == " ".join([columns, ends, rest]).split()
    assert [line["channel"] for line in lines] == list("01234")
    assert {line["layer"] for line in lines} == {"a, b"}
    assert [line["label"] for line in lines] == report.labels
    read = [[float(line[f"{what}_{factor}"]) for line in lines] for what in ("corr", "mi") for factor in FACTORS]
    np.testing.assert_array_equal(read, torch.cat([report.corr, report.mi]))
    assert lines[1]["mi_dynamic"] == "inf" and lines[2]["corr_dynamic"] == "nan"
    assert all(line["count_dynamic"] == "30" for line in lines)


def test_save_reports_writes_everything(tmp_path):
    pytest.importorskip("matplotlib")
    reports = {name: BiasReport(torch.from_numpy(measured(4, seed=i))) for i, name in enumerate(("one", "two"))}
    settings = {"model": "mine", "pairs": 60, "videos": tmp_path, "limit": float("inf"), "layers": ("a", "b")}
    folder = tmp_path / "new" / "folder"
    save_reports(reports, folder, settings)
    save_reports(reports, folder, settings)  # and over itself
    files = {path.name for path in folder.iterdir()}
    pictures = {"layers.png", "channels.png", "depth.png"}
    assert files == {"report.json", "report.npz", "channels.csv", *pictures}, "and nothing half-made"
    saved = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    assert saved["sdfast"] == sdfast.__version__
    assert saved["settings"] == {
        "model": "mine",
        "pairs": 60,
        "videos": str(tmp_path),
        "limit": "inf",
        "layers": ["a", "b"],
    }
    assert saved["layers"]["two"] == dataclasses.replace(reports["two"], name="two").to_dict()
    assert len((folder / "channels.csv").read_text().splitlines()) == 1 + 2 * 4
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("picture", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_of_other_formats(picture, begins, tmp_path):
    pytest.importorskip("matplotlib")
    report = BiasReport(torch.from_numpy(measured(4)))
    save_reports({"one": report}, tmp_path, {"model": "mine"}, picture)
    assert {path.name for path in tmp_path.iterdir()} == set(results(picture))
    save_reports({"one": report}, tmp_path, {}, "png")
    assert {path.name for path in tmp_path.iterdir()} == set(results("png")), "no picture of other numbers is left"
    save_reports({"one": report}, tmp_path, {"model": "mine"}, picture)
    for name in ("layers", "channels", "depth"):
        assert (tmp_path / f"{name}.{picture}").read_bytes().startswith(begins)
    with pytest.raises(ValueError, match="picture: expected one of png, svg, pdf, got 'jpg'"):
        save_reports({"one": report}, tmp_path, {}, "jpg")


def test_without_matplotlib_there_are_no_pictures(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib" or name == "sdfast.report.plots"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = BiasReport(torch.from_numpy(measured(4)))
    save_reports({"one": report}, tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.npz", "channels.csv"}
    (line,) = capsys.readouterr().out.splitlines()
    assert "pip install 'sdfast[plot]'" in line
    with pytest.raises(ImportError, match=r"matplotlib is missing.*: pip install 'sdfast\[plot\]'"):
        report.plot()


def test_table_has_a_line_a_layer():
    reports = {f"layer{i}": BiasReport(torch.from_numpy(measured(16, seed=i))) for i in range(3)}
    broken = torch.from_numpy(measured(16))
    broken[5, 0, :2] = torch.nan
    reports["broken"] = BiasReport(broken)
    lines = format_table(reports).splitlines()
    classes, shares, notes = lines[:6], lines[7:13], lines[14:]
    for head, rule, *rows in (classes, shares):
        assert set(rule) == {"-"} and len({len(head), len(rule), *map(len, rows)}) == 1
        assert [row.split()[0] for row in rows] == list(reports)
        assert len(head) <= 120
    for row, report in zip(classes[2:], reports.values(), strict=True):
        assert row.split()[1:] == [str(x) for x in (60, "-", 16, *report.classes.values(), 0)]
    for row, report in zip(shares[2:], reports.values(), strict=True):
        assert row.split()[3:] == [f"{x:.1f}" for x in report.percent.tolist()]
    assert classes[0].split() == ["layer", "pairs", "sources", "channels", *report.classes, "dead"]
    assert any(line.startswith("broken: 2 of 16 channels undefined") for line in notes)
    assert lines[6] == lines[13] == ""


def test_errors_name_the_argument():
    moments = with_corr([0.5], [0.5])
    with pytest.raises(ValueError, match=r"moments: expected shape \(6, 2, C\), got \(6, 1, 1\)"):
        BiasReport(moments[:, :1])
    with pytest.raises(ValueError, match=r"moments: expected shape \(6, 2, C\), got \(6, 2, 0\)"):
        BiasReport(moments[:, :, :0])
    with pytest.raises(ValueError, match="kind: expected one of pearson, intraclass, got 'icc'"):
        BiasReport(moments, kind="icc")
    for threshold in (2, float("nan")):
        with pytest.raises(ValueError, match="threshold: expected a correlation from -1 to 1"):
            BiasReport(moments, threshold=threshold)


@pytest.mark.parametrize("how", ["rank", "minmax", "difference"])
def test_static_weights_order_channels_by_static_minus_dynamic(how):
    weight = BiasReport(with_corr([0.9, 0.1, 0.5, 0.3], [0.1, 0.9, 0.6, 0.3])).static_weight(how)
    expected = {"rank": [0, 1, 2 / 3, 1 / 3], "minmax": [0, 1, 0.9 / 1.6, 0.5], "difference": [0, 0.8, 0.1, 0]}
    np.testing.assert_allclose(weight, expected[how], atol=1e-6)
    assert weight.dtype == torch.float32


def test_relative_static_weights_spread_where_every_channel_is_static():
    report = BiasReport(with_corr([0.1, 0.12, 0.11], [0.9, 0.9, 0.9]))
    for how in ("rank", "minmax"):
        assert report.static_weight(how).tolist() == pytest.approx([1, 0, 0.5])
    assert report.static_weight().tolist() == report.static_weight("rank").tolist()
    assert report.static_weight("difference").min() > 0.7
    opposed = BiasReport(with_corr([0.9, -0.9], [-0.9, 0.9]))
    assert opposed.static_weight("difference").tolist() == [0, 1]


def test_static_weights_share_ranks_and_leave_out_what_has_no_score():
    moments = with_corr([0.5, 0.5, 0.1, 0.9, 0.0, 0.0], [0.5, 0.5, 0.9, 0.1, 0.9, 0.9])
    moments[3:, :, 4] = 0  # dead
    moments[5, 0, 5] = torch.nan
    report = BiasReport(moments)
    assert report.static_weight().tolist() == [0.5, 0.5, 1, 0, 0, 0]
    assert report.static_weight("minmax").tolist() == [0.5, 0.5, 1, 0, 0, 0]
    assert report.static_weight("difference")[4:].tolist() == [0, 0]
    for how in ("rank", "minmax"):
        assert BiasReport(with_corr([0.2], [0.7])).static_weight(how).tolist() == [0.5]
        assert BiasReport(with_corr([0.2, 0.2], [0.7, 0.7])).static_weight(how).tolist() == [0.5, 0.5]
    moments[:] = torch.nan
    assert BiasReport(moments).static_weight().tolist() == [0] * 6
    with pytest.raises(ValueError, match="how: expected one of rank, minmax, difference, got 'best'"):
        report.static_weight("best")
