"""`sdfast ood`: the sets it writes, whose masks it takes, what it skips, and one line for whatever is wrong."""

import numpy as np
import pytest

from sdfast.commands import main
from sdfast.commands.ood import SETS, WITH_ANOTHER
from sdfast.pairs import read_clip
from tests.support.command import assert_one_line
from tests.support.videos import write_frames, write_video

cv2 = pytest.importorskip("cv2")
pytest.importorskip("matplotlib")
FRAMES, SCALE = 12, 10  # of a video; by how much what is written is larger than the clips of 32 pixels


def square_at(t: int) -> tuple[slice, slice]:
    return slice(12, 26), slice(2 * t, 2 * t + 14)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two videos of a bright square that moves over textures, one grey and one blue."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for number, name in enumerate(("a.mp4", "b.mp4")):
        scene = (
            np.random.default_rng(number).integers(60, 140, (4, 6, 1), np.uint8).repeat(8, 0).repeat(8, 1).repeat(3, 2)
        )
        scene[..., 2] += np.uint8(80 * number)
        frames = np.stack([scene] * FRAMES)
        for t in range(FRAMES):
            frames[(t, *square_at(t))] = 250
        write_video(tmp_path / "videos" / name, frames)
    return tmp_path


def run(*args):
    return main(["ood", *map(str, args), "--size", "32"])


def written(name: str, video: str = "a") -> np.ndarray:
    """Return the frames of a set as small as the clips were, float."""
    frames = read_clip(f"sets/{name}/{video}.mp4", range(FRAMES)).astype(float)
    return frames[:, SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


def test_each_set_is_written_and_shows_what_it_says(folder, capsys):
    assert run("--videos", "videos", "--out", "sets") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("a.mp4: 12 frames, ") and out[0].endswith(" % static, shown in sets/a.png")
    assert out[2:] == [f"wrote sets/{name}" for name in SETS]
    assert sorted(path.name for path in (folder / "sets").iterdir()) == sorted(["a.png", "b.png", *SETS])
    video, inside, outside = (
        read_clip("videos/a.mp4", range(FRAMES)),
        (6, slice(14, 24), slice(14, 24)),
        (6, slice(28, 32)),
    )
    shown = {name: written(name) for name in SETS}
    for name in ("scuba", "conflicting", "action_swap", "foreground_only"):
        assert shown[name].shape == (FRAMES, 32, 48, 3)
        assert shown[name][inside].mean() > 235, name  # what moves is there
        assert abs(shown[name][outside] - video[outside]).mean() > 15, name  # and its background is not
    assert abs(shown["scufo"] - shown["scufo"][0]).max() < 25 and abs(shown["scuba"] - shown["scuba"][0]).max() > 60
    assert abs(shown["foreground_only"][outside] - 128).max() < 12
    assert abs(shown["background_only"][outside] - video[outside]).mean() < 6
    assert shown["background_only"][inside].mean() < 150
    assert (shown["action_swap"][outside] - video[outside])[..., 2].mean() > 40  # the blue one's background
    assert shown["appearance_free"][inside].std() > 50
    assert cv2.imread("sets/a.png").shape[0] > 5 * cv2.imread("sets/a.png").shape[1] / 4


@pytest.mark.parametrize("kind", ["array", "pictures"])
def test_masks_come_from_a_folder(folder, capsys, kind):
    mask = np.ones((FRAMES, 64, 96), np.float32)  # at another size than the clip
    for t in range(FRAMES):
        rows, columns = square_at(t)
        mask[t, 2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop] = 0
    (folder / "masks" / "a").mkdir(parents=True)
    if kind == "array":
        np.save(folder / "masks" / "a.npy", mask)
    for t in range(FRAMES):
        cv2.imwrite(f"masks/a/{t:03d}.png", np.uint8(38 * (1 - mask[t])))
    arguments = "--sets", "foreground_only", "scuba", "--out", "sets"
    assert run("--videos", "videos/a.mp4", "--masks", "masks", *arguments) == 0
    assert "a.mp4: 12 frames, 87 % static" in capsys.readouterr().out
    expected = np.full((FRAMES, 32, 48, 3), 128.0)
    for t in range(FRAMES):
        expected[(t, *square_at(t))] = 250
    assert (abs(written("foreground_only") - expected) > 40).mean() < 0.01


def test_videos_that_cannot_be_used_are_skipped_with_a_word(folder, capsys):
    (folder / "videos" / "a_broken.mp4").write_bytes(b"no video at all")
    write_video(folder / "videos" / "still.mp4", np.zeros((1, 32, 48, 3), np.uint8))
    assert run("--videos", "videos", "--sets", "action_swap", "--out", "sets", "--clip-frames", 3) == 0
    captured = capsys.readouterr()
    warned = [line for line in captured.err.replace("\r", "\n").splitlines() if "warning" in line]
    assert len(warned) == 2 and "videos/a_broken.mp4: cannot be read" in warned[0]
    assert "videos/still.mp4: expected two frames or more from frame 0 on, it has 1 in all" in warned[1]
    assert sorted(path.name for path in (folder / "sets" / "action_swap").iterdir()) == ["a.mp4", "b.mp4"]
    assert len(captured.out.splitlines()) == 3


def test_what_is_there_is_replaced_only_if_asked_for_and_quietly(folder, capsys):
    (folder / "videos" / "a.mp4").rename(folder / "videos" / "a[1].mp4")  # a pattern to those who look for it
    job = "--videos", "videos", "--sets", "scuba", "--out", "sets", "--clip-frames", 4
    assert run(*job, "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    (folder / "sets" / "scuba" / "b.mp4").write_text("hours of work")
    assert run(*job) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and (folder / "sets" / "scuba" / "b.mp4").read_text() == "hours of work"
    assert_one_line(
        captured.err, "--out: expected a folder without results, sets has a[1].png, b.png, scuba/a[1].mp4; --overwrite"
    )
    assert run(*job, "--overwrite", "--quiet") == 0
    assert read_clip("sets/scuba/b.mp4", range(4)).shape == (4, 32 * SCALE, 48 * SCALE, 3)


def test_frames_in_folders_and_lists_of_parts_are_videos(folder, capsys):
    write_frames(folder / "frames" / "walk", read_clip("videos/a.mp4", range(FRAMES)))
    (folder / "list.csv").write_text("path,start,end\nvideos/b.mp4,2,7\nvideos/b.mp4,7,12\nframes/walk,,\n")
    job = "--videos", "list.csv", "frames", "--sets", "scuba", "background_only", "--clip-frames", 20, "--out", "sets"
    assert run(*job) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in out[:4]] == [
        "b.mp4: 5 frames", "b.mp4: 5 frames", "walk: 12 frames", "walk: 12 frames"
    ]  # fmt: skip
    names = sorted(path.name for path in (folder / "sets" / "scuba").iterdir())
    assert names == ["b-2.mp4", "b.mp4", "walk-2.mp4", "walk.mp4"]
    background = read_clip("sets/background_only/b-2.mp4", range(5)).astype(float)[:, SCALE // 2 :: SCALE]
    video = read_clip("videos/b.mp4", range(7, 12)).astype(float)
    assert abs(background[:, 28:, SCALE // 2 :: SCALE] - video[:, 28:]).mean() < 6


def test_one_video_has_the_sets_that_need_no_other(folder, capsys):
    assert run("--videos", "videos/a.mp4", "--out", "sets", "--clip-frames", 4, "--masks", "video") == 0
    missing = [name for name in SETS if not (folder / "sets" / name).exists()]
    assert missing == list(WITH_ANOTHER)
    captured = capsys.readouterr()
    assert all(f"a: no {name}, which needs another video" in captured.err for name in missing)
    assert "wrote sets/action_swap" not in captured.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--videos", "no/such"], "no/such: no such file or folder"),
        (["--videos", "broken.mp4"], "videos: none of 1 can be used; the last: broken.mp4: cannot be read"),
        (
            ["--videos", "videos", "--start", 12],
            "videos: none of 2 can be used; the last: videos/b.mp4: expected two fr",
        ),
        (["--videos", "videos", "--masks", "no/masks"], "--masks: expected motion, video or a folder, got no/masks"),
        (
            ["--videos", "videos", "--masks", "video", "--camera", "still"],
            "--camera: expected with --masks motion only",
        ),
        (["--videos", "videos", "--masks", "videos"], "there is neither videos/b.npy nor a folder videos/b"),
        (
            ["--videos", "videos", "--masks", "short"],
            "short/b.npy: expected (12, H, W), a mask for each frame, got (5, 4,",
        ),
        (["--videos", "videos", "--masks", "named"], "named/b.npy: cannot be read: no array of numbers, but of <U1"),
        (["--videos", "videos", "--masks", "packed"], "packed/b.npy: cannot be read: no array of np.save"),
        (["--videos", "videos", "--close", 4], "close: expected an odd number of pixels, got 4"),
        (
            ["--videos", "sets/scuba", "--out", "sets"],
            "--out: expected a place other than that of the videos, sets/scub",
        ),
        (
            ["--videos", "frames", "--out", "frames"],
            "--out: expected a place other than that of the videos, frames is on",
        ),
        (["--videos", "videos", "--out", "broken.mp4/sets"], "--out: cannot write to broken.mp4/sets"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, capsys, args, message):
    (folder / "broken.mp4").write_bytes(b"no video at all")
    for name in ("short", "named", "packed"):
        (folder / name).mkdir()
    np.save(folder / "named" / "b.npy", np.full((12, 4, 4), "0"))
    with open(folder / "packed" / "b.npy", "wb") as file:
        np.savez(file, np.zeros((12, 4, 4)))
    np.save(folder / "short" / "b.npy", np.zeros((5, 4, 4)))
    write_frames(folder / "frames", np.zeros((3, 32, 48, 3), np.uint8))
    (folder / "sets" / "scuba").mkdir(parents=True)
    write_video(folder / "sets" / "scuba" / "a.mp4", np.zeros((2, 32, 48, 3), np.uint8))
    assert run(*args) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.replace("\r", "\n").splitlines() if line.startswith("sdfast: error: ")]
    assert captured.out == "" and len(errors) == 1 and message in errors[0]


def test_a_set_that_there_is_not_is_a_usage_error(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--videos", "videos", "--sets", "scubba")
    assert "--sets" in capsys.readouterr().err
