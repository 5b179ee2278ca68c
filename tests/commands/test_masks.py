"""`sdfast masks`: what it writes, where it writes it, and one line for whatever is wrong."""

import numpy as np
import pytest

from sdfast.commands import main
from sdfast.pairs import read_clip
from tests.support.command import assert_one_line
from tests.support.videos import write_frames, write_video


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two videos of one name, of a bright square that moves over a grey texture."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    scene = rng.integers(60, 140, (6, 8, 1), np.uint8).repeat(8, 0).repeat(8, 1).repeat(3, 2)
    frames = np.stack([scene] * 20)
    for t in range(20):
        frames[t, 8:20, 2 * t : 2 * t + 12] = 250
    for name in ("square.mp4", "deeper/square.mkv"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "videos" / name, frames)
    return tmp_path


def run(*args):
    return main(["masks", *map(str, args), "--size", "48"])


@pytest.mark.parametrize("options", [[], ["--camera", "moving"], ["--method", "video"]], ids=str)
def test_frames_stand_beside_frames_whose_static_part_is_dim(folder, capsys, options):
    assert run("videos/square.mp4", "--out", "one.mp4", "--clip-frames", 10, *options) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["wrote one.mp4", "wrote one.png"]
    shown = read_clip("one.mp4", range(20)).astype(float)
    frames, height, width, _ = shown.shape
    assert frames == 20 and (height, width) == (6 * 48, 2 * 6 * 64)
    plain, masked = shown[..., : width // 2, :], shown[..., width // 2 :, :]
    still = plain[:, 26 * 6 :].mean()
    assert abs(masked[:, 26 * 6 :].mean() - 0.3 * still) < 0.1 * still
    square = (slice(10, 12), slice(10 * 6, 18 * 6), slice((2 * 10 + 3) * 6, (2 * 10 + 11) * 6))
    assert masked[square].mean() > 0.8 * plain[square].mean() and plain[square].mean() > 200
    cv2 = pytest.importorskip("cv2")
    stills = cv2.imread("one.png").astype(float)[..., ::-1]
    assert stills.shape == (5 * height, width, 3) and abs(stills[:height] - shown[0]).mean() < 8


def test_a_folder_gets_a_file_a_video_and_names_stay_apart(folder, capsys):
    assert run("videos", "--out", "seen.v2", "--clips", 1, "--clip-frames", 4, "--stride", 3, "--start", 2) == 0
    names = sorted(path.name for path in (folder / "seen.v2").iterdir())
    assert names == ["square-2.mp4", "square-2.png", "square.mp4", "square.png"]
    assert len(read_clip("seen.v2/square.mp4", range(4))) == 4
    assert capsys.readouterr().out.count("4 frames") == 2


def test_what_is_there_is_replaced_only_if_asked_for_and_quietly(folder, capsys):
    (folder / "videos" / "square.mp4").rename(folder / "videos" / "square[1].mp4")  # a pattern to those who look for it
    job = "videos", "--out", "seen", "--clips", 1, "--clip-frames", 4
    assert run(*job, "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    (folder / "seen" / "square[1].png").write_text("hours of work")
    assert run(*job) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and (folder / "seen" / "square[1].png").read_text() == "hours of work"
    assert_one_line(captured.err, "--out: expected a folder without results, seen has square", "; --overwrite")
    assert run(*job, "--overwrite", "--quiet") == 0 and (folder / "seen" / "square[1].png").stat().st_size > 1000


def test_frames_in_folders_patterns_and_lists_of_parts_are_videos(folder, capsys):
    video = read_clip("videos/square.mp4", range(20))
    write_frames(folder / "frames" / "walk.v1", video)
    (folder / "list.csv").write_text("path,start,end\nvideos/square.mp4,15,20\nframes/walk.v1,3,6\n")
    assert run("list.csv", "frames", "videos/deeper/*.mkv", "--out", "seen") == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in out[::3]] == [
        "square.mp4: 5 frames", "walk.v1: 3 frames", "walk.v1: 20 frames", "square.mkv: 20 frames"
    ]  # fmt: skip
    names = sorted(path.name for path in (folder / "seen").glob("*.mp4"))
    assert names == ["square-2.mp4", "square.mp4", "walk.v1-2.mp4", "walk.v1.mp4"]
    shown = read_clip("seen/walk.v1.mp4", range(3)).astype(float)[:, 3::6, 3 : 64 * 6 : 6]
    assert abs(shown - video[3:6]).mean() < 6 < abs(shown - video[10:13]).mean()


def test_videos_that_cannot_be_used_are_skipped_with_a_word(folder, capsys):
    (folder / "videos" / "broken.mp4").write_bytes(b"no video at all")
    assert run("videos", "missing.mp4", "--out", "seen", "--quiet") == 0
    warned = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:4] for line in warned] == [
        ["sdfast", "warning", "skipped a video", "videos/broken.mp4"],
        ["sdfast", "warning", "skipped a video", "missing.mp4"],
    ]
    assert len([*(folder / "seen").glob("*.mp4")]) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no/such.mp4"], "no/such.mp4: no such file or folder"),
        (["broken.mp4"], "broken.mp4: cannot be read"),
        (["videos", "--out", "one.mp4"], "--out: expected a folder for 2 videos, got one.mp4"),
        (["videos/square.mp4", "--out", "one.gif"], "--out: expected a folder or a file.mp4, got one.gif"),
        (["videos/square.mp4", "--out", "videos"], "--out: expected a place other than that of the videos, videos/squ"),
        (["videos/square.mp4", "--out", "videos/square.mp4"], "--out: expected a place other than that of the videos"),
        (["videos/square.mp4", "--out", "broken.mp4/masks"], "--out: cannot write to broken.mp4/masks"),
        (
            ["frames", "--out", "frames/seen.mp4"],
            "--out: expected a place other than that of the videos, frames is one",
        ),
        (["videos/square.mp4", "--start", 20], "--start: expected a frame from 0 to 19 of videos/square.mp4, got 20"),
        (
            ["videos/square.mp4", "--method", "video", "--camera", "still"],
            "--camera: expected with --method motion only",
        ),
        (["videos/square.mp4", "--method", "video", "--close", 5], "--close: expected with --method motion"),
        (["videos/square.mp4", "--close", 4], "close: expected an odd number of pixels, got 4"),
        (["videos/square.mp4", "--window", 2], "window: expected an odd number of pixels, got 2"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, capsys, args, message):
    (folder / "broken.mp4").write_bytes(b"no video at all")
    write_frames(folder / "frames", np.zeros((3, 32, 48, 3), np.uint8))
    assert run(*args) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("sdfast: error: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert not list(folder.glob("sdfast-masks/*.mp4"))


def test_a_camera_that_there_is_not_is_a_usage_error(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("videos", "--camera", "drone")
    assert "--camera" in capsys.readouterr().err
