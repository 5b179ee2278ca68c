"""`sdfast measure --like`: a run with the settings of an earlier one, but for what is given."""

import json

import pytest

from tests.support.command import assert_one_line


@pytest.fixture
def first(toy, video_folder, main):
    settings = ["--pairs", 6, "--seed", 3, "--styles", "pencil", "--layers", "head", "--kind", "intraclass"]
    more = ["--threshold", 0.3, "--clip-frames", 5, "--batch-size", 2, "--channel-dim", -1]
    job = ["--model", "toy:make", "--videos", video_folder, "--workers", 0, *settings, *more, "--out", "first"]
    code, _, err = main("measure", *job)
    assert code == 0, err
    return toy


def saved(folder, name):
    found = json.loads((folder / name / "report.json").read_text())
    del found["settings"]["seconds"]
    return found


def test_all_is_as_it_was(first, video_folder, main):
    code, _, err = main("measure", "--like", "first", "--videos", video_folder, "--workers", 0, "--out", "second")
    assert code == 0, err
    one, two = (saved(first, name) for name in ("first", "second"))
    assert one["settings"] == two["settings"] and one["layers"] == two["layers"]
    assert main("compare", "first", "second")[0] == 0


def test_what_is_given_counts(first, video_folder, main):
    job = ["measure", "--like", "first", "--videos", video_folder, "--workers", 0]
    code, _, err = main(*job, "--batch-size", 8, "--kind", "pearson", "--layers", "stem")
    assert code == 0, err
    found = saved(first, "sdfast-report")
    assert found["settings"]["batch_size"] == 8, "also where it is the default"
    assert (found["settings"]["kind"], found["settings"]["seed"], list(found["layers"])) == ("pearson", 3, ["stem"])


@pytest.mark.parametrize(("path", "part"), [("nowhere", "got nowhere: no such file"), ("broken", "broken/report.json")])
def test_a_report_that_cannot_be_read_is_said(first, main, path, part):
    (first / "broken").mkdir()
    (first / "broken" / "report.json").write_text("{}")
    code, out, err = main("measure", "--like", path)
    assert code == 2 and out == ""
    assert_one_line(err, part)
