"""The command line: defaults, outputs, exit codes, and one line for whatever is wrong."""

import errno
import inspect
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sdfast.commands import measure as command_measure
from sdfast.foundation import FolderLock
from sdfast.foundation.lock import _start
from tests.support.command import assert_one_line, run
from tests.support.paths import ROOT


def small(video_folder, *more):
    return ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 6, "--workers", 0, *more]


def test_measure_ends_with_the_table_and_the_files(toy, video_folder, capsys):
    code, out, err = run(capsys, *small(video_folder))
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("layer") and [line.split()[0] for line in lines[2:4]] == ["stem", "head"]
    written = [line.removeprefix("wrote ") for line in lines if line.startswith("wrote ")]
    names = ["report.json", "report.npz", "channels.csv", "layers.png", "channels.png", "depth.png"]
    assert written == [os.path.join("sdfast-report", name) for name in names]
    assert sorted(os.listdir("sdfast-report")) == sorted(names)
    assert "6/6" in err and "pairs/s" in err
    settings = json.loads((toy / "sdfast-report" / "report.json").read_text())["settings"]
    assert settings["videos"] == ["a.mp4", "b.mkv", "c.avi"] and settings["seed"] == 0 and settings["pairs"] == 6


@pytest.mark.parametrize("left", ["report.json", "depth.svg", "state.8.sdfast"])
def test_results_are_not_overwritten_silently(toy, video_folder, capsys, left):
    (toy / "sdfast-report").mkdir()
    (toy / "sdfast-report" / left).write_text("hours of work")
    job = small(video_folder, "--format", "svg")
    code, out, err = run(capsys, *job)
    assert code == 2 and out == "" and (toy / "sdfast-report" / left).read_text() == "hours of work"
    assert_one_line(err, f"--out: expected a folder without results, sdfast-report has {left}; --overwrite", "--resume")
    code, out, err = run(capsys, *job, "--overwrite")
    assert code == 0, err
    pictures = ["layers.svg", "channels.svg", "depth.svg"]
    assert sorted(os.listdir("sdfast-report")) == sorted(["report.json", "report.npz", "channels.csv", *pictures])


def test_quiet_says_nothing_but_what_is_wrong(toy, video_folder, capsys):
    code, out, err = run(capsys, *small(video_folder, "--quiet"))
    assert (code, out, err) == (0, "", "") and (toy / "sdfast-report" / "report.json").is_file()
    code, out, err = run(capsys, *small(video_folder, "--quiet", "--json", "--out", "other"))
    assert code == 0 and err == "" and json.loads(out)["layers"].keys() == {"stem", "head"}
    code, out, err = run(capsys, *small(video_folder, "--quiet", "--layers", "haed", "--out", "third"))
    assert code == 2 and out == ""
    assert_one_line(err, "near names: head")


def test_json_is_all_there_is_on_stdout(toy, video_folder, capsys):
    code, out, err = run(capsys, *small(video_folder, "--json", "--out", "deep/er", "--layers", "head", "st*"))
    assert code == 0, err
    report = json.loads(out)
    assert list(report["layers"]) == ["stem", "head"]  # in the order they ran
    assert report == json.loads((toy / "deep" / "er" / "report.json").read_text())
    assert "wrote" in err


def test_options_reach_the_measurement(toy, video_folder, capsys):
    options = ["--kind", "intraclass", "--threshold", 0.25, "--clip-frames", 6, "--styles", "pencil", "poster"]
    code, out, err = run(capsys, *small(video_folder, "--json", "--seed", 3, "--batch-size", 2, *options))
    assert code == 0, err
    report = json.loads(out)
    settings = report["settings"]
    assert (settings["clip_frames"], settings["styles"], settings["batch_size"]) == (6, ["pencil", "poster"], 2)
    assert {(layer["kind"], layer["threshold"]) for layer in report["layers"].values()} == {("intraclass", 0.25)}
    code, out, err = run(capsys, *small(video_folder, "--json", "--channel-dim", 2, "--overwrite"))
    report = json.loads(out)
    assert report["settings"]["channel_dim"] == 2
    assert report["layers"]["stem"]["num_channels"] == 4  # of (N, channels, 4 frames, height, width)


def test_heads_are_rows_of_their_own(toy, video_folder, capsys):
    code, out, err = run(capsys, *small(video_folder, "--json", "--heads", 2))
    assert code == 0, err
    channels = {name: layer["num_channels"] for name, layer in json.loads(out)["layers"].items()}
    assert channels == {"stem": 6, "stem.head0": 3, "stem.head1": 3, "head": 4, "head.head0": 2, "head.head1": 2}
    assert "stem.head1" in (toy / "sdfast-report" / "channels.csv").read_text()


def test_a_module_of_ones_own_needs_layers(toy, video_folder, capsys):
    job = ["measure", "--model", "toy:bare", "--videos", video_folder, "--pairs", 2, "--workers", 0]
    code, _, err = run(capsys, *job)
    assert code == 2
    assert_one_line(err, "--layers: needed for toy:bare; it has stem, head")
    code, _, err = run(capsys, *job, "--layers", "stem")
    assert code == 0, err


def test_a_folder_of_styles_is_read_as_one(toy, capsys):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for style in ("style_1", "style_2"):
        (toy / "styled" / style / "video").mkdir(parents=True)
        for frame in range(1, 13):
            path = toy / "styled" / style / "video" / f"frame_{frame:05d}.jpg"
            cv2.imwrite(str(path), rng.integers(0, 255, (24, 32, 3), np.uint8))
    code, out, err = run(capsys, *small("styled", "--json"))
    assert code == 0, err
    assert json.loads(out)["settings"]["styles"] == ["style_1", "style_2"]
    code, _, err = run(capsys, *small("styled", "--styles", "pencil"))
    assert code == 2
    assert_one_line(err, "--styles: the folder styled has its own")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--videos", "no/such/folder"], ["no/such/folder"]),
        (["--videos", "empty"], ["empty"]),
        (["--videos", "broken"], ["videos: none of", "broken.mp4"]),
        (["--videos", "broken", "--workers", 1], ["videos: none of", "broken.mp4"]),
        (["--videos", "hollow"], ["videos: none of", "hollow.mp4: the file is empty"]),
        (["--videos", "cut"], ["videos: none of", "cut.mkv: truncated"]),
        (["--clip-frames", 4000], ["shorter than a clip", "clip_frames = 4000"]),
        (["--layers", "haed"], ["layers: 'haed' matches no layer of Toy; near names: head"]),
        (["--model", "transnetv3"], ["model: expected one of transnetv2"]),
        (["--model", "toy:nothing"], ["toy has no 'nothing'"]),
        (["--model", "no_such_module:make"], ["no module 'no_such_module'"]),
        (["--weights", "no/such/file.pt"], ["no/such/file.pt"]),
        (["--styles", "plaid"], ["plaid"]),
        (["--threshold", 3], ["threshold: expected"]),
        (["--kind", "spearman"], ["--kind", "spearman"]),
        (["--pairs", 0], ["--pairs: expected a positive integer, got 0"]),
        (["--pairs", "many"], ["--pairs: expected a positive integer, got many"]),
        (["--seed", 1.5], ["--seed: expected an integer from 0 on, got 1.5"]),
        (["--seed", 2**63], ["seed: expected an integer from 0 to 2**63 - 1, got 9223372036854775808"]),
        (["--workers", -1], ["--workers: expected an integer from 0 on, got -1"]),
        (["--device", "abacus"], ["--device: 'abacus' cannot be used"]),
        (["--device", "cuda:99"], ["--device: 'cuda:99' cannot be used"]),
        (["--device", "meta"], ["--device: 'meta' cannot be used"]),
        (["--channel-dim", 0], ["layer 'stem': channel_dim: expected a dimension other than 0", "got 0"]),
        (["--weights", "empty"], ["weights: empty cannot be read: Is a directory"]),
        (["--out", "toy.py"], ["--out: cannot write to toy.py"]),
        (["--out", "toy.py/deeper"], ["--out: cannot write to toy.py/deeper"]),
        (["--volume", 11], ["unrecognized arguments: --volume 11"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if str(value[0]).startswith("--") else "",
)
def test_bad_input_is_one_line_and_exit_code_2(toy, video_folder, capsys, options, parts):
    for folder in ("empty", "broken", "hollow", "cut"):
        (toy / folder).mkdir()
    (toy / "broken" / "broken.mp4").write_bytes(b"no video at all")
    (toy / "hollow" / "hollow.mp4").touch()
    sound = (video_folder / "b.mkv").read_bytes()
    (toy / "cut" / "cut.mkv").write_bytes(sound[: len(sound) // 2])
    code, out, err = run(capsys, *small(video_folder), *options)
    assert code == 2, err
    assert out == ""
    assert_one_line(err, *parts)
    assert not list(toy.glob("sdfast-report/report*"))


@pytest.mark.parametrize(
    "options", [["--layers", "haed"], ["--threshold", 3], ["--styles", "plaid"], ["--videos", "no/such/folder"]]
)
def test_bad_input_costs_no_earlier_state(toy, video_folder, capsys, options):
    (toy / "sdfast-report").mkdir()
    state = toy / "sdfast-report" / "state.0.sdfast"
    state.write_text("hours of work")
    code, _, _ = run(capsys, *small(video_folder), *options)
    assert code == 2 and state.read_text() == "hours of work"


def test_a_run_in_the_folder_of_another_is_refused_and_deletes_nothing(toy, video_folder, capsys):
    out = toy / "sdfast-report"
    with FolderLock(out):
        owner = json.loads((out / ".sdfast.lock").read_text())
    parent = os.getppid()
    owner |= {"pid": parent, "start": _start(parent)}
    (out / ".sdfast.lock").write_text(json.dumps(owner))
    (out / "state.0.sdfast").write_text("hours of work")
    code, _, err = run(capsys, *small(video_folder, "--overwrite"))
    assert code == 2 and (out / "state.0.sdfast").read_text() == "hours of work"
    assert_one_line(
        err, "--out: sdfast-report: another run writes to it: process", str(parent), "choose another folder"
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_among_sound_ones_is_skipped_with_one_warning(toy, video_folder, capfd, workers):
    (video_folder / "broken.mp4").write_bytes(b"no video at all")
    code, _, err = run(capfd, *small(video_folder, "--pairs", 40, "--workers", workers))
    assert code == 0, err
    assert err.count("sdfast: warning:") == 1 and "broken.mp4" in err


def test_a_backend_that_there_is_not_is_bad_input(command, video_folder):
    done = command(*small(video_folder), SDFAST_BACKEND="abacus")
    assert done.returncode == 2
    assert_one_line(done.stderr, "backend: expected one of cpu, triton, cuda, reference, got 'abacus'")


def test_one_pair_has_no_correlation_and_the_report_says_so(toy, video_folder, capsys):
    code, out, err = run(capsys, *small(video_folder, "--pairs", 1, "--json"))
    assert code == 0, err
    layer = json.loads(out)["layers"]["stem"]
    assert layer["count"] == {"dynamic": 1, "static": 0} and set(layer["channels"]["corr_dynamic"]) == {None}
    assert "6 of 6 channels undefined" in err


def test_no_command_is_a_usage_error(capsys):
    code, _, err = run(capsys)
    assert code == 2
    assert_one_line(err, "COMMAND", "(see sdfast --help)")


def test_help_and_version(capsys):
    for args in (["--help"], ["measure", "--help"], ["info", "--help"]):
        code, out, _ = run(capsys, *args)
        assert code == 0 and out.startswith("usage: sdfast")
    code, out, _ = run(capsys, "--version")
    assert code == 0 and out.startswith("sdfast ")


def test_a_model_that_breaks_is_a_failed_run(toy, video_folder, capsys, monkeypatch):
    monkeypatch.setenv("TOY_RAISE", "0:1")
    code, _, err = run(capsys, *small(video_folder))
    assert code == 1
    assert_one_line(err, "RuntimeError: the toy broke")
    monkeypatch.setenv("SDFAST_DEBUG", "1")
    code, _, err = run(capsys, *small(video_folder))
    assert code == 1
    assert "Traceback" in err and err.splitlines()[-1] == "sdfast: error: RuntimeError: the toy broke"


def test_interrupt(toy, video_folder, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_measure, "measure", interrupt)
    code, _, err = run(capsys, *small(video_folder))
    assert code == 130
    assert_one_line(err, "interrupted")


def test_a_disk_that_fills_up_later_fails_the_run_and_keeps_the_state(toy, video_folder, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "sdfast-report/report.json")

    monkeypatch.setattr(command_measure, "save_reports", full)
    code, _, err = run(capsys, *small(video_folder))
    assert code == 1
    assert_one_line(err, "No space left on device", "report.json")
    monkeypatch.undo()
    monkeypatch.chdir(toy)
    monkeypatch.syspath_prepend(str(toy))
    code, _, err = run(capsys, *small(video_folder, "--resume"))
    assert code == 0 and "6/6" in err


def test_a_full_disk_is_noticed_before_measuring(toy, video_folder, capsys, monkeypatch):
    """On a real disk of one megabyte where mounting one is permitted, else with the error it would give."""
    disk = toy / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:

        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
    try:
        monkeypatch.setenv("TOY_RAISE", "0:1")
        code, _, err = run(capsys, *small(video_folder, "--out", "disk/report"))
        left = list((disk / "report").iterdir())
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(disk)], check=True)
    assert code == 2
    assert_one_line(err, "--out: cannot write to disk/report: No space left on device")
    assert left == []


def test_an_unwritable_folder_is_noticed_before_measuring(toy, video_folder, capsys, monkeypatch):
    """Even root cannot make a folder in /proc."""
    monkeypatch.setenv("TOY_RAISE", "0:1")
    code, _, err = run(capsys, *small(video_folder, "--out", "/proc/sdfast-report"))
    assert code == 2
    assert_one_line(err, "--out: cannot write to /proc/sdfast-report")


def test_info(capsys, monkeypatch):
    code, out, _ = run(capsys, "info", "--json")
    found = json.loads(out)
    assert code == 0 and found["torch"] == torch.__version__ and found["backends"]["reference"] == "ready"
    assert found["instruction_sets"]["in_use"] in [*found["instruction_sets"]["available"], None]
    code, out, _ = run(capsys, "info")
    assert code == 0 and "threads" in out and "Traceback" not in out


def test_info_says_what_is_missing_and_how_to_get_it(capsys, monkeypatch):
    from sdfast.commands import info

    find_spec = info.importlib.util.find_spec
    monkeypatch.setattr(info.importlib.util, "find_spec", lambda name: None if name == "av" else find_spec(name))
    monkeypatch.setitem(sys.modules, "sdfast._C", None)
    monkeypatch.setattr(info, "load", inspect.unwrap(info.load))  # a cache would still know the extension
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert "av: reading videos: pip install 'sdfast[video]'" in out
    assert "backend cpu: the compiled extension sdfast._C is missing; reinstall sdfast" in out


MEMORY = """
import resource, sys
import torch
from torch import nn
import sdfast

class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return int(sys.argv[1])

    def __getitem__(self, index):
        clips = torch.randn(2, 3, 8, 16, 16, generator=torch.Generator().manual_seed(index))
        return clips[0], clips[1], index % 2

torch.manual_seed(0)
model = nn.Sequential(nn.Conv3d(3, 32, 1), nn.ReLU())
reports = sdfast.measure(model, Pairs(), ["*"], progress=False, resume=sys.argv[2])
assert int(reports["0"].count.sum()) == len(Pairs())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kilobytes(num_pairs, folder):
    source = str(ROOT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}
    args = [sys.executable, "-c", MEMORY, str(num_pairs), str(folder / str(num_pairs))]
    return int(subprocess.run(args, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout)


def test_memory_does_not_grow_with_the_number_of_pairs(tmp_path):
    """Twenty times the pairs; kept pooled features would be 2,000 x 64 floats, kept ones 4 GB."""
    few, many = peak_kilobytes(100, tmp_path), peak_kilobytes(2000, tmp_path)
    assert many <= 1.05 * few, f"{few} kB for 100 pairs, {many} kB for 2,000"


def test_a_probe_set_is_made_once_and_read_again(main, toy, video_folder):
    job = ("measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 6, "--workers", 0)
    assert main(*job, "--out", "plain")[0] == 0
    for out in ("made", "read"):
        code, _, err = main(*job, "--probe", "probe", "--out", out)
        assert code == 0 and ("probe set: 100%" in err) == (out == "made"), err
    plain, made, read = (json.loads((toy / out / "report.json").read_text()) for out in ("plain", "made", "read"))
    assert plain["layers"] == made["layers"] == read["layers"]
    code, _, err = main(*job, "--seed", 1, "--probe", "probe", "--out", "other")
    assert code == 2
    assert_one_line(err, "probe: holds a probe set of other pairs; choose another folder or delete it")
