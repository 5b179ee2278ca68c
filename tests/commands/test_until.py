"""`sdfast measure --until`: stops early, and says of itself whether and how it did."""

import json
import os

import pytest

from tests.support.command import assert_one_line

JOB = ("measure", "--model", "toy:make", "--layers", "head", "--workers", 0)


@pytest.fixture
def many_videos(video_folder):
    """A folder with 21 videos, all of the same content."""
    folder = video_folder.parent / "many"
    folder.mkdir()
    for number in range(21):
        os.link(video_folder / "a.mp4", folder / f"{number:02}.mp4")
    return folder


def test_it_stops_and_says_so(toy, many_videos, main):
    code, out, err = main(*JOB, "--videos", many_videos, "--pairs", 120, "--until", "30%")
    assert code == 0 and "warning" not in err, err
    found = json.loads((toy / "sdfast-report" / "report.json").read_text())
    assert found["layers"]["head"]["num_sources"] == 20 and sum(found["layers"]["head"]["count"].values()) == 40
    settings = found["settings"]
    assert (settings["until"], settings["reached"], settings["pairs"]) == (0.3, True, 120)
    ends = found["layers"]["head"]["share_interval"].values()
    assert settings["widest_share"] == pytest.approx(max(high - low for low, high in ends) / 200, rel=1e-12)
    percent = f"{100 * settings['widest_share']:.2g} %"
    assert f"stopped by --until after 40 of 120 pairs: the widest share is known to ±{percent}" in out
    assert f"widest share ±{percent}" in err.splitlines()[-1] and "40/120" in err.splitlines()[-1]


def test_it_stops_with_another_estimator_where_it_does_without(toy, many_videos, main):
    options = (*JOB, "--videos", many_videos, "--pairs", 120, "--until", "30%", "--json")
    code, out, err = main(*options, "--estimator", "copula", "--out", "copula")
    assert code == 0 and "at most 120 pairs take" in err, err
    copula, gaussian = json.loads(out), json.loads(main(*options, "--out", "gaussian")[1])
    assert copula["settings"]["reached"] and copula["settings"]["estimator"] == "copula"
    assert copula["layers"]["head"]["count"] == gaussian["layers"]["head"]["count"]
    assert copula["layers"]["head"]["percent"] == gaussian["layers"]["head"]["percent"]


def test_when_the_pairs_run_out_it_says_that(toy, video_folder, main):
    code, out, err = main(*JOB, "--videos", video_folder, "--pairs", 12, "--until", "0.01", "--json")
    assert code == 0, err
    settings = json.loads(out)["settings"]
    assert (settings["until"], settings["reached"]) == (0.01, False)
    said = "sdfast: warning: until: the pairs ran out before ±1 %: with 3 sources (fewer than 20 are never enough)"
    assert said in err and "stopped by" not in err


def test_without_it_the_settings_do_not_speak_of_it(toy, video_folder, main):
    code, out, err = main(*JOB, "--videos", video_folder, "--pairs", 4, "--json")
    assert code == 0, err
    assert not {"until", "reached", "widest_share"} & json.loads(out)["settings"].keys()


@pytest.mark.parametrize("until", ["1", "0", "0%", "100%", "-1%", "narrow", "nan", "%", "1%%"])
def test_what_is_no_half_width(toy, main, until):
    code, _, err = main(*JOB, f"--until={until}")
    assert code == 2
    assert_one_line(err, f"--until: expected a half-width such as 1%, 0.5% or 0.01, got {until}")
