"""`sdfast dataset`: one model on several folders, several weights on one, classes by folders, and what is wrong."""

import errno
import json
import os

import pytest
import torch

from sdfast.measurement import dataset as dataset_room
from tests.support.command import assert_one_line

JOB = ("dataset", "--model", "toy:make", "--pairs", 8, "--workers", 0, "--styles", "pencil")


@pytest.fixture
def sets(toy, video_folder):
    """Two data sets of a class each; `deeper` is a class of its own."""
    for name in ("one", "two"):
        (toy / name / "walk").mkdir(parents=True)
        os.link(video_folder / "a.mp4", toy / name / "walk" / "a.mp4")
    (toy / "two" / "run").mkdir()
    os.link(video_folder / "b.mkv", toy / "two" / "run" / "b.mkv")
    return toy


def test_one_model_on_several_folders(sets, main):
    code, out, err = main(*JOB, "--videos", "one", "--videos", "two", "--layers", "head", "stem")
    assert code == 0, err
    lines = out.splitlines()
    assert [" ".join(line.split()[:3]) for line in lines[2:6]] == [
        "stem one 1",
        "stem two 2",
        "head one 1",
        "head two 2",
    ]
    written = [line.removeprefix("wrote ") for line in lines if line.startswith("wrote ")]
    names = ["report.json", "datasets.csv", "datasets.png"]
    assert written == [os.path.join("sdfast-dataset", name) for name in names]
    assert sorted(os.listdir("sdfast-dataset")) == sorted(names)
    assert "one: changed clips: 100%" in err and "two: pairs: 100%" in err
    found = json.loads((sets / "sdfast-dataset" / "report.json").read_text())
    assert list(found["data_sets"]) == ["one", "two"]
    two = found["data_sets"]["two"]
    assert two["settings"]["videos"] == ["a.mp4", "b.mkv"] and two["settings"]["styles"] == ["pencil"]
    assert list(two["layers"]) == ["stem", "head"] and two["accuracy"] is None


def test_a_run_that_was_stopped_goes_on(sets, main, monkeypatch):
    options = (*JOB, "--videos", "one", "--videos", "two", "--layers", "head")
    code, out, _ = main(*options, "--json", "--out", "whole")
    assert code == 0
    whole = json.loads(out)
    real, calls = dataset_room.measure, []

    def second_fails(*args, **settings):
        calls.append(settings["resume"])
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")
        return real(*args, **settings)

    monkeypatch.setattr(dataset_room, "measure", second_fails)
    code, _, err = main(*options)
    assert code == 1 and "No space left on device" in err
    left = sorted(os.listdir("sdfast-dataset"))
    assert left == ["states.0.clips", "states.0.pairs", "states.1.clips"]
    code, _, err = main(*options, "--resume", "--layers", "stem")
    assert code == 2 and "of another job: layers" in err
    code, out, err = main(*options, "--resume", "--json")
    assert code == 0, err
    assert json.loads(out) == whole
    assert not any(name.startswith("states") for name in os.listdir("sdfast-dataset"))
    assert "one: pairs: 100%" in err and "8/8 pairs [00:00<?" in err, "the first data set was not measured again"


def test_a_run_that_overwrites_starts_afresh(sets, main, monkeypatch):
    options = (*JOB, "--videos", "one", "--layers", "head")
    with monkeypatch.context() as patch, pytest.raises(pytest.fail.Exception):
        patch.setattr(dataset_room, "measure", lambda *_, **__: pytest.fail("stopped"))
        main(*options)
    code, _, err = main(*options, "--layers", "haed")
    assert code == 2 and os.listdir("sdfast-dataset") == ["states.0.clips"], "bad input forgets nothing"
    code, _, err = main(*options, "--seed", 1)
    assert code == 2 and "--resume goes on with it" in err
    code, _, err = main(*options, "--seed", 1, "--overwrite")
    assert code == 0, err


def test_several_weights_on_one_folder(sets, main):
    import toy

    for seed in range(2):
        torch.manual_seed(seed)
        torch.save(toy.Toy().state_dict(), f"w{seed}.pt")
    code, out, err = main(*JOB, "--videos", "two", "--weights", "w0.pt", "w1.pt", "--json", "--out", "deep/er")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((sets / "deep" / "er" / "report.json").read_text())
    w0, w1 = (found["data_sets"][name] for name in ("w0", "w1"))
    assert w0["layers"]["head"]["percent"] != w1["layers"]["head"]["percent"]
    assert (w0["settings"]["weights"], w1["settings"]["weights"]) == ("w0.pt", "w1.pt")
    assert "wrote" in err and "layer" in err


def test_classes_by_folders_or_from_a_file(sets, main):
    (sets / "classes.txt").write_text("walk\n\nrun \n")
    for labels in ("folder", "classes.txt"):
        code, out, err = main(
            *JOB, "--model", "toy:classifier", "--videos", "two", "--labels", labels, "--json", "--overwrite"
        )
        assert code == 0, err
        right = json.loads(out)["data_sets"]["two"]["accuracy"]
        assert list(right) == ["clips", "shuffled", "one_frame"]
        # This model always says the second class; a video each is of either.
        assert {x["value"] for x in right.values()} == {0.5}
        assert "right %" in err


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--videos", "no/such/folder"], "no/such/folder"),
        (["--videos", "one", "--videos", "empty"], "empty"),
        (
            ["--videos", "one", "--videos", "two", "--weights", "a", "b"],
            "--weights: expected one with several",
        ),
        (["--videos", "one", "--videos", "one"], "--videos, --weights: expected each once, got one, one"),
        (
            ["--videos", "one", "--labels", "no.txt"],
            "--labels: expected folder, or a file with a class a line",
        ),
        (["--videos", "one/walk", "--labels", "folder"], "--labels: expected a folder for each class below one/walk"),
        (["--videos", "two", "--labels", "folder"], "classes: expected as many as the model has logits"),
        (
            ["--videos", "one", "--videos", "two", "--labels", "c.txt", "--model", "toy:classifier"],
            "in a folder named",
        ),
        (["--videos", "one", "--layers", "haed"], "layers: 'haed' matches no layer"),
        (["--videos", "one", "--styles", "plaid"], "plaid"),
        (["--videos", "one", "--out", "toy.py"], "--out: cannot write to toy.py"),
        (["--videos", "one", "--weights", "no.pt"], "no.pt"),
        ([], "the following arguments are required: --videos"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(sets, main, options, part):
    (sets / "empty").mkdir()
    (sets / "c.txt").write_text("walk\nswim")
    code, out, err = main(*JOB, *options)
    assert (code, out) == (2, ""), err
    assert_one_line(err, part)
    assert "pairs/s" not in err, "before anything is measured"


def test_folders_of_the_same_name_go_by_their_paths(sets, main):
    code, out, err = main(*JOB, "--videos", "one/walk", "--videos", "two/walk", "--json", "--layers", "head")
    assert code == 0, err
    assert list(json.loads(out)["data_sets"]) == ["one/walk", "two/walk"]
