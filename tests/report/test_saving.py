"""Reports that come back from their files as they were, and files that are damaged or of two runs."""

import hashlib
import json
import shutil
import sys

import numpy as np
import pytest
import torch

import sdfast
from sdfast.report import BiasReport, load_reports, save_reports
from tests.support.grouped import clustered_pairs, grouped_truth


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def report(seed=0, grouped=True, **settings):
    pairs = clustered_pairs(channels=7, seed=seed)
    groups = torch.from_numpy(grouped_truth(*pairs, groups=16))
    groups[3, 2, 1, 1] = torch.nan
    return BiasReport(groups if grouped else BiasReport(groups).moments, **settings)


def saved(folder, **reports):
    save_reports(reports, folder, {"model": "mine"})
    return reports


@pytest.mark.parametrize("where", ["", "report.json"])
def test_reports_come_back_as_they_were(where, tmp_path):
    odd = {"": report(1), "blocks/0.mlp\\é": report(2, kind="intraclass", threshold=1 / 3, level=0.9, sources=100)}
    reports = saved(tmp_path, **{"layer4": report(), "plain": report(3, grouped=False)}, **odd)
    found = load_reports(tmp_path / where)
    assert list(found) == list(reports)
    for name, each in found.items():
        mine = reports[name]
        assert each.name == name
        assert (each.kind, each.threshold, each.level) == (mine.kind, mine.threshold, mine.level)
        assert each.sources == mine.sources
        torch.testing.assert_close(each.moments, mine.moments, rtol=0, atol=0, equal_nan=True)
        assert (each.groups is None) == (mine.groups is None)
        if mine.groups is not None:
            torch.testing.assert_close(each.groups, mine.groups, rtol=0, atol=0, equal_nan=True)
        assert each.to_dict() == {**mine.to_dict(), "name": name}
    save_reports(found, tmp_path / "again", {"model": "mine"})
    one, two = (json.loads((folder / "report.json").read_text()) for folder in (tmp_path, tmp_path / "again"))
    assert one["layers"] == two["layers"]


def test_a_layer_is_loaded_by_name(tmp_path):
    saved(tmp_path / "two", one=report(1), two=report(2))
    saved(tmp_path / "one", only=report(3))
    assert BiasReport.load(tmp_path / "two", "two").name == "two"
    assert BiasReport.load(tmp_path / "one").name == "only"
    for layer in (None, "three"):
        with pytest.raises(ValueError, match=f"layer: expected one of 'one', 'two' of .*, got {layer!r}"):
            BiasReport.load(tmp_path / "two", layer)
    with pytest.raises(FileNotFoundError, match=r"report\.json"):
        sdfast.load_reports(tmp_path)


def test_files_of_two_runs_are_told_apart(tmp_path):
    saved(tmp_path / "first", layer=report(1))
    saved(tmp_path / "second", layer=report(2))
    shutil.copy(tmp_path / "second" / "report.npz", tmp_path / "first")
    with pytest.raises(ValueError, match=r"first/report\.npz: expected the sums of report\.json, got those of another"):
        load_reports(tmp_path / "first")
    (tmp_path / "first" / "report.npz").unlink()
    with pytest.raises(ValueError, match=r"first/report\.npz: expected the sums of report\.json beside it"):
        load_reports(tmp_path / "first")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_sums_are_refused(damage, tmp_path):
    saved(tmp_path, layer=report())
    path = tmp_path / "report.npz"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:-100], "flip": content, "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"report\.npz: expected"):
        load_reports(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"layers": {"a": {}}, "sums": {}}', '{"layers": 3, "sums": 4}']
)
def test_a_damaged_report_is_refused(content, tmp_path):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ValueError, match=r"report\.json: expected"):
        load_reports(tmp_path)


@pytest.mark.parametrize(
    "key, value", [("kind", "icc"), ("kind", []), ("threshold", 2), ("level", "x"), ("num_sources", -1)]
)
def test_a_report_that_was_tampered_with_is_refused(key, value, tmp_path):
    saved(tmp_path, layer=report())
    content = json.loads((tmp_path / "report.json").read_text())
    content["layers"]["layer"][key] = value
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"report\.json: expected what a report is made of"):
        load_reports(tmp_path)


def test_empty_groups_take_no_room(tmp_path):
    groups = torch.zeros(6, 64, 2, 500, dtype=torch.float64)
    groups[:, [3, 60]] = torch.rand(6, 2, 2, 500, dtype=torch.float64)
    groups[0, [3, 60]] = 5
    saved(tmp_path, layer=BiasReport(groups))
    assert (tmp_path / "report.npz").stat().st_size < 1.1 * groups[:, :2].numel() * 8
    assert torch.equal(load_reports(tmp_path)["layer"].groups, groups)


def test_no_code_is_loaded(tmp_path):
    saved(tmp_path, layer=report())
    np.savez(tmp_path / "report.npz", **{"0": np.array([{"a": 1}], dtype=object)})
    content = json.loads((tmp_path / "report.json").read_text())
    content["sums"]["sha256"] = hashlib.sha256((tmp_path / "report.npz").read_bytes()).hexdigest()
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"report\.npz: expected the sums of 1 layer"):
        load_reports(tmp_path)
