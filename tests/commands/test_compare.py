"""`sdfast compare`: the table of two measurements, and what cannot be compared said in one line."""

import contextlib
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

import sdfast
from sdfast.report import save_reports, saving
from tests.support.command import assert_one_line
from tests.support.grouped import clustered_pairs, grouped_truth

SETTINGS = {"model": "toy", "weights": None, "videos": ["a.mp4", "b.mp4"], "styles": ["pencil"], "seed": 0}


def report(noise=0.0, videos=12, channels=3, **fields):
    a, b, factor, source = clustered_pairs(videos=videos, channels=channels)
    a = a + noise * np.random.default_rng(1).normal(size=a.shape)
    return sdfast.BiasReport(torch.from_numpy(grouped_truth(a, b, factor, source)), sources=videos, **fields)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save reports, without pictures, to folders of a folder of the test, which is the working directory."""

    def no_pictures(_):
        raise ImportError

    monkeypatch.setattr(saving, "require", no_pictures)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDFAST_DEBUG", raising=False)

    def save(name, layers, **settings):
        with contextlib.redirect_stdout(io.StringIO()):  # it says why there are no pictures
            save_reports(layers, tmp_path / name, {**SETTINGS, **settings})

    save("one", {"stem": report(), "head": report(0.1), "mine": report(0.2)})
    save("two", {"head": report(0.5), "stem": report(0.7), "theirs": report(), "other": report()}, weights="w.pt")
    return save


def test_the_table_names_both_and_what_is_left_out(saved, main):
    code, out, err = main("compare", "one", os.path.join("two", "report.json"))
    assert code == 0, err
    lines = out.splitlines()
    second = os.path.join("two", "report.json")
    assert lines[0] == f"one (toy) less {second} (toy, w.pt): 60 pairs of 12 sources, pearson"
    assert [line.split()[0] for line in lines[4:6]] == ["stem", "head"]  # in the order of the first
    found = sdfast.compare(report(), report(0.7))
    assert f"{found.percent[0]:.2f} ± " in lines[4]
    assert lines[-2:] == ["only in one, left out: mine", f"only in {second}, left out: theirs, other"]


def test_json_is_all_there_is(saved, main):
    code, out, err = main("compare", "one", "two", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["a"], found["b"]) == ("one", "two")
    assert found["left_out"] == {"a": ["mine"], "b": ["theirs", "other"]}
    assert list(found["layers"]) == ["stem", "head"]
    expected = sdfast.compare(report(name="head", noise=0.1), report(name="head", noise=0.5)).to_dict()
    assert found["layers"]["head"] == json.loads(json.dumps(expected))


def test_layers_by_name_and_pattern(saved, main):
    for pattern in ("head", "h*"):
        code, out, err = main("compare", "one", "two", "--json", "--layers", pattern)
        assert code == 0, err
        assert list(json.loads(out)["layers"]) == ["head"]


@pytest.mark.parametrize(
    ("layers", "settings", "parts"),
    [
        ({"stem": report(videos=11)}, {}, ["layer 'stem': two: expected number of sources 12 like one, got 11"]),
        ({"stem": report(kind="intraclass")}, {}, ["two: expected kind 'pearson' like one, got 'intraclass'"]),
        ({"stem": report(level=0.9)}, {}, ["two: expected level 0.95 like one, got 0.9"]),
        ({"stem": replace(report(), groups=None)}, {}, ["two: expected a report with groups of sources, got one with"]),
        ({"neck": report()}, {}, ["two: expected a layer that one has, stem, head, mine; got neck"]),
        ({"stem": report()}, {"seed": 1}, ["two: expected seed 0 like one, got 1"]),
        ({"stem": report()}, {"videos": ["c.mp4"]}, ["two: expected videos a.mp4, b.mp4 like one, got c.mp4"]),
        ({"stem": report()}, {"styles": ["poster"]}, ["two: expected styles pencil like one, got poster"]),
    ],
)
def test_what_does_not_match_is_refused_in_one_line(saved, main, layers, settings, parts):
    saved("two", layers, **settings)
    code, out, err = main("compare", "one", "two")
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert_one_line(err, *parts)


def test_pairs_in_other_groups_are_refused(saved, main):
    a, b, factor, source = clustered_pairs()
    moments = torch.from_numpy(grouped_truth(a, b, factor, (source * 5) % 64))
    saved("two", {"stem": sdfast.BiasReport(moments, sources=12)})
    code, _, err = main("compare", "one", "two")
    assert code == 2 and "layer 'stem': two: expected the pairs of one in the same groups" in err
    assert "grouped" not in err and "report_" not in err


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["one", "three"], "three"),
        (["one"], "the following arguments are required: B"),
        (["one", "two", "--layers", "haed"], "--layers: 'haed' matches no layer that both have; these are stem, head"),
        (["one", "two", "--layers", "mine"], "--layers: 'mine' matches no layer that both have"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(saved, main, args, part):
    code, out, err = main("compare", *args)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert_one_line(err, part)


def test_two_runs_of_one_measurement_do_not_differ(toy, main, video_folder):
    for out in ("one", "two"):
        code, _, err = main("measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 12, "--workers", 0,
                            "--out", out)  # fmt: skip
        assert code == 0, err
    code, out, err = main("compare", "one", "two", "--json")
    assert code == 0, err
    for layer in json.loads(out)["layers"].values():
        assert set(layer["percent"].values()) == {0.0}
