"""`sdfast ablate`: from a saved report to what the model loses, with classes by folders, and what is wrong."""

import json
import os

import pytest

from tests.support.command import assert_one_line

MODEL = ("--model", "toy:make", "--workers", 0)


@pytest.fixture
def report(toy, video_folder, main):
    """A report of channels that are all joint by a threshold that all correlations exceed."""
    settings = "--pairs", 12, "--threshold", -1, "--out", "measured"
    code, _, err = main("measure", *MODEL, "--videos", video_folder, *settings)
    assert code == 0, err
    return toy / "measured"


def test_from_a_report_to_a_table(report, video_folder, main):
    job = ("ablate", "measured", *MODEL, "--videos", video_folder, "--clips", 5, "--draws", 3, "--classes", "joint")
    code, out, err = main(*job)
    assert code == 0, err
    assert [line.split()[:4] for line in out.splitlines()[2:4]] == [
        ["stem", "joint", "6", "6"],
        ["head", "joint", "4", "4"],
    ]
    assert f"wrote {os.path.join('measured', 'ablation.json')}" in out and "5/5" in err
    found = json.loads((report / "ablation.json").read_text())
    assert found["settings"]["model"] == "toy" and found["what"] == "output" and found["clips"] == 5
    # All channels of the head are all of the output, and as many at random are the same ones.
    head = found["losses"]["head"]["joint"]
    assert head["lost"]["value"] == 1 and head["draws"] == [1, 1, 1] and head["p"] == 1
    assert 0 < found["losses"]["stem"]["joint"]["lost"]["value"] <= 1
    code, out, _ = main(*job, "--json", "--layers", "head", "--how", "mean", "--out", "elsewhere")
    assert code == 0 and list(json.loads(out)["losses"]) == ["head"]
    assert json.loads(out)["how"] == "mean" and (report.parent / "elsewhere" / "ablation.json").is_file()


def test_classes_by_folders_give_accuracies(toy, video_folder, main):
    for name, kind in (("a.mp4", "run"), ("b.mkv", "walk")):
        (toy / "classes" / kind).mkdir(parents=True)
        os.link(video_folder / name, toy / "classes" / kind / name)
    model = ("--model", "toy:classifier", "--workers", 0, "--videos", "classes")
    assert main("measure", *model, "--pairs", 8, "--layers", "stem", "--threshold", -1)[0] == 0
    job = (
        "ablate",
        "sdfast-report",
        *model,
        "--classes",
        "joint",
        "undetermined",
        "--clips",
        4,
        "--draws",
        2,
        "--labels",
        "folder",
    )
    code, out, err = main(*job, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["what"] == "accuracy" and found["whole"]["value"] == 0.5, "it always says the second of two"
    assert [loss["lost"]["value"] for loss in found["losses"]["stem"].values()] == [0]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nowhere", *MODEL], ["nowhere"]),
        (["measured"], ["--model: expected toy, which", "got transnetv2"]),
        (["measured", *MODEL, "--layers", "haed"], ["layers: 'haed' matches no layer of Toy; near names: head"]),
        (["measured", *MODEL, "--classes", "still"], ["--classes", "still"]),
        (["measured", *MODEL, "--labels", "no/file"], ["--labels: expected folder, or a file", "no/file"]),
        (["measured", *MODEL, "--draws", 0], ["--draws: expected a positive integer, got 0"]),
        (["measured", *MODEL, "--out", "toy.py"], ["--out: cannot write to toy.py"]),
    ],
    ids=lambda value: " ".join(map(str, value[-2:])),
)
def test_what_does_not_fit_is_one_line(report, video_folder, main, arguments, parts):
    code, out, err = main("ablate", *arguments, "--videos", video_folder)
    assert code == 2 and out == ""
    assert_one_line(err, *parts)
