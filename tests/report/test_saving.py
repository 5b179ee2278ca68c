"""Reports that come back from their files as they were, and files that are damaged or of two runs."""

import hashlib
import io
import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch

import sdfast
from sdfast.report import BiasReport, load_reports, load_settings, save_reports
from tests.support.grouped import clustered_pairs, grouped_truth
from tests.support.limits import bounded


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def report(seed=0, grouped=True, **settings):
    pairs = clustered_pairs(channels=7, seed=seed)
    groups = torch.from_numpy(grouped_truth(*pairs, groups=16))
    groups[3, 2, 1, 1] = torch.nan
    return BiasReport(groups if grouped else BiasReport(groups).moments, **settings)


def seal(folder, layers=None, **arrays):
    """Write layers or sums into a saved report, and the digests that fit them, as somebody who wants to harm would."""
    content = json.loads((folder / "report.json").read_text())
    content["layers"] = layers or content["layers"]
    rest = json.dumps({key: value for key, value in content.items() if key != "sums"})
    with np.load(folder / "report.npz") as sums:
        arrays = {**sums, **arrays, "report": np.frombuffer(hashlib.sha256(rest.encode()).digest(), np.uint8)}
    np.savez(folder / "report.npz", **arrays)
    content["sums"]["sha256"] = hashlib.sha256((folder / "report.npz").read_bytes()).hexdigest()
    (folder / "report.json").write_text(json.dumps(content))


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
    seal(tmp_path, content["layers"])
    with pytest.raises(ValueError, match=r"report\.json: expected what a report is made of"):
        load_reports(tmp_path)


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_byte_is_noticed_or_changes_nothing(step, tmp_path):
    groups = torch.from_numpy(grouped_truth(*clustered_pairs(channels=1, seed=0), groups=4))
    save_reports({"layer": BiasReport(groups)}, tmp_path, {"model": "mine", "seed": 12})

    def read():
        (found,) = load_reports(tmp_path).values()
        return found.to_dict(), found.groups.numpy().tobytes(), load_settings(tmp_path)

    sound, refused = read(), 0
    for path in (tmp_path / "report.json", tmp_path / "report.npz"):
        content = path.read_bytes()
        for at in range(0, len(content), step):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
            try:
                assert read() == sound, f"byte {at} of {path.name}"
            except ValueError as error:
                assert "\n" not in str(error)
                refused += 1
        path.write_bytes(content)
    assert refused * step > 3000 and read() == sound


def test_reports_of_earlier_versions_are_read(tmp_path):
    """They have no digest of report.json."""
    saved(tmp_path, layer=report())
    content = json.loads((tmp_path / "report.json").read_text())
    with np.load(tmp_path / "report.npz") as sums:
        arrays = {key: value for key, value in sums.items() if key != "report"}
    np.savez(tmp_path / "report.npz", **arrays)
    content["sums"]["sha256"] = hashlib.sha256((tmp_path / "report.npz").read_bytes()).hexdigest()
    (tmp_path / "report.json").write_text(json.dumps(content))
    assert load_reports(tmp_path)["layer"].to_dict() == report().to_dict() | {"name": "layer"}


def test_settings_that_were_changed_are_refused(tmp_path):
    saved(tmp_path, layer=report())
    text = (tmp_path / "report.json").read_text()
    (tmp_path / "report.json").write_text(text.replace('"mine"', '"mind"'))
    for read in (load_reports, load_settings):
        with pytest.raises(ValueError, match=r"report\.json: expected .* changed since"):
            read(tmp_path)


@pytest.mark.parametrize("text", [100_000 * "[", '{"a":' * 50_000, "\0", "[" + "1" * 5000 + "]", '{"settings": 3}'])
def test_hostile_json_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "report.json").write_text(text)
    for read in (load_reports, load_settings):
        with pytest.raises(ValueError, match=r"report\.json: expected") as caught:
            bounded(read, tmp_path)
        assert "\n" not in str(caught.value)


def npy(shape, content=b"", descr="<f8") -> bytes:
    """Return an array of .npy that says that it has this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


@pytest.mark.parametrize(
    "parts",
    [
        {"0": npy((6, 2, 1 << 40))},
        {"0": npy((6, 1 << 27))},
        {"0": npy((1 << 31, 1 << 31), bytes(8))},
        {"0": npy((-6, -2, 1), bytes(96))},
        {"0": npy((6, 2, 3), bytes(288), "|O")},
        {"0": npy((6, 2, 3), bytes(288)).replace(b"}", b")")},
        {"0": b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535},
        {"0": b"\x93NUMPY\x02\x00\xff\xff\xff\xff"},
        {"0": npy((6, 0, 2, 1 << 27)), "0.filled": npy((64,), bytes(64), "|b1")},
        {"0": npy((6, 1, 2, 3000), bytes(288_000)), "0.filled": npy((50_000,), bytes(49_999) + b"\1", "|b1")},
        {"0": npy((6, 1, 2, 3), bytes(288)), "0.filled": npy((1 << 40,), b"", "|b1")},
        {"0": npy((6, 1, 2, 3), bytes(288)), "0.filled": npy((1, 1), b"\1", "|b1")},
    ],
    ids=range(12),
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sums_that_claim_more_than_they_hold_are_refused(parts, method, tmp_path):
    saved(tmp_path, layer=report())
    content = json.loads((tmp_path / "report.json").read_text())
    with zipfile.ZipFile(tmp_path / "report.npz", "w", method) as archive:
        for name, part in parts.items():
            archive.writestr(f"{name}.npy", part)
    content["sums"]["sha256"] = hashlib.sha256((tmp_path / "report.npz").read_bytes()).hexdigest()
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"report\.npz: expected the sums of 1 layer") as caught:
        bounded(load_reports, tmp_path)
    assert "\n" not in str(caught.value)


def test_sums_that_unpack_to_more_than_the_file_are_refused(tmp_path):
    saved(tmp_path, layer=report())
    content = json.loads((tmp_path / "report.json").read_text())
    np.savez_compressed(tmp_path / "report.npz", **{"0": np.zeros((6, 2, 1_000_000))})
    content["sums"]["sha256"] = hashlib.sha256((tmp_path / "report.npz").read_bytes()).hexdigest()
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="its parts are larger than the file"):
        bounded(load_reports, tmp_path, megabytes=60)


def test_many_empty_groups_are_kept_rather_than_left_out(tmp_path):
    """A file that holds few of them must not unpack to any number."""
    groups = torch.zeros(6, 1000, 2, 3, dtype=torch.float64)
    groups[:, 7] = 5
    saved(tmp_path, layer=BiasReport(groups))
    assert torch.equal(load_reports(tmp_path)["layer"].groups, groups)


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
