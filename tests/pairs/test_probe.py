"""Probe sets: the same items as the pairs they were made of, whole or refused, whatever happens while they are made."""

import json
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sdfast.pairs import FlowPairs, ProbeSet, StylisedFolderPairs, VideoError, VideoPairs
from tests.support.limits import bounded
from tests.support.videos import numbered_frames, write_video

SMALL = {"num_pairs": 7, "clip_frames": 4, "frame_size": (24, 32), "seed": 3}


def same(one, other) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(x, y) for a, b in zip(one, other, strict=True) for x, y in zip(a, b, strict=True)
    )


@pytest.fixture
def styled_folder(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for style in (1, 2):
        (tmp_path / "styled" / f"style_{style}" / "v").mkdir(parents=True)
        for i, frame in enumerate(numbered_frames(9, tint=9 * style)):
            cv2.imwrite(str(tmp_path / "styled" / f"style_{style}" / "v" / f"{i}.png"), frame)
    return tmp_path / "styled"


@pytest.mark.parametrize("kind", [VideoPairs, FlowPairs, StylisedFolderPairs])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_items_are_those_of_the_pairs(kind, num_workers, video_folder, styled_folder, tmp_path):
    pairs = kind(styled_folder if kind is StylisedFolderPairs else video_folder, **SMALL)
    probe = pairs.materialise(tmp_path / "probe", num_workers=num_workers, progress=False)
    assert same(list(pairs), list(probe)) and probe.fingerprint() == pairs.fingerprint()
    assert (probe.frame_size, probe.seed, probe.clip_frames) == ((24, 32), 3, 4)
    assert len(probe.sources) == len(pairs.sources) and len(probe.styles) == len(pairs.styles)
    probe.check()
    assert not (tmp_path / "probe" / ".progress").exists()


@pytest.fixture
def pairs(video_folder):
    return VideoPairs(video_folder, **SMALL)


def test_a_complete_one_is_read_and_not_made_again(pairs, tmp_path, monkeypatch):
    items = list(pairs)
    pairs.materialise(tmp_path / "probe", progress=False)
    monkeypatch.setattr(VideoPairs, "_make_pair", lambda *_: pytest.fail("decoded again"))
    pairs.transform = torch.from_numpy
    probe = pairs.materialise(tmp_path / "probe", progress=False)
    assert isinstance(probe[2][0], torch.Tensor) and same(items, list(probe))
    copy = pickle.loads(pickle.dumps(probe))
    assert len(pickle.dumps(probe)) < 10_000 and same(items, list(copy))
    loaded = list(DataLoader(ProbeSet(tmp_path / "probe"), batch_size=7, num_workers=1))
    assert torch.equal(loaded[0][0], torch.stack([torch.from_numpy(a) for a, *_ in items]))
    with pytest.raises(IndexError, match=r"index: expected a pair in \[0, 7\)"):
        probe[7]
    probe[0][0][:] = 0  # an item is its own
    assert same(items, list(probe))


def test_other_pairs_are_refused(pairs, video_folder, tmp_path):
    pairs.materialise(tmp_path / "probe", progress=False)
    with pytest.raises(ValueError, match="holds a probe set of other pairs"):
        VideoPairs(video_folder, **{**SMALL, "seed": 4}).materialise(tmp_path / "probe", progress=False)
    (tmp_path / "probe" / "probe.json").unlink()
    with pytest.raises(ValueError, match=r"holds a clips\.npy of something else"):
        pairs.materialise(tmp_path / "probe", progress=False)


def die_at(pairs, folder, at):
    pairs[0]
    made = VideoPairs._make_pair

    def make(self, index, source):
        if index == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return made(self, index, source)

    VideoPairs._make_pair = make
    pairs.materialise(folder, progress=False)


def process(function, *args):
    child = multiprocessing.get_context("fork").Process(target=function, args=args)
    child.start()
    return child


@pytest.mark.parametrize("at", [1, 4, 6])
def test_killed_it_goes_on_to_the_same_set(pairs, video_folder, tmp_path, at, monkeypatch):
    killed = process(die_at, pairs, tmp_path / "probe", at)
    killed.join(30)
    assert killed.exitcode == -signal.SIGKILL
    with pytest.raises(VideoError, match=r"holds no complete probe set: probe\.json is missing"):
        ProbeSet(tmp_path / "probe")
    with pytest.raises(ValueError, match="holds the beginning of other pairs"):
        VideoPairs(video_folder, **{**SMALL, "seed": 4}).materialise(tmp_path / "probe", progress=False)
    made, make = [], VideoPairs._make_pair
    monkeypatch.setattr(VideoPairs, "_make_pair", lambda self, i, source: made.append(i) or make(self, i, source))
    probe = pairs.materialise(tmp_path / "probe", progress=False)
    assert made == [0, *range(at - at % 2, 7)], "two at a time"
    assert same(list(pairs), list(probe))


def test_what_was_written_and_lost_is_made_again(pairs, tmp_path):
    """As after a power cut: the record is there, the clips are not."""
    process(die_at, pairs, tmp_path / "probe", 5).join(30)
    clips, progress = tmp_path / "probe" / "clips.npy", tmp_path / "probe" / ".progress"
    content, begun = bytearray(clips.read_bytes()), progress.read_bytes()
    content[200:210] = bytes(10)
    for rest in (len(content), 5000, 60, None):
        clips.unlink() if rest is None else clips.write_bytes(content[:rest])
        progress.write_bytes(begun)
        (tmp_path / "probe" / "probe.json").unlink(missing_ok=True)
        probe = pairs.materialise(tmp_path / "probe", progress=False)
        assert same(list(pairs), list(probe))
        probe.check()


def test_a_damaged_set_is_refused(pairs, tmp_path):
    clips, about = tmp_path / "probe" / "clips.npy", tmp_path / "probe" / "probe.json"
    probe = pairs.materialise(tmp_path / "probe", progress=False)
    whole, described = clips.read_bytes(), about.read_text()
    clips.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    with pytest.raises(VideoError, match="damaged: pair 0 has another checksum"):
        ProbeSet(tmp_path / "probe").check()
    for content in (whole[:-1], b"", b"junk" * 100):
        clips.write_bytes(content)
        with pytest.raises(VideoError, match=r"clips\.npy: missing or damaged"):
            ProbeSet(tmp_path / "probe")
    np.save(clips, np.zeros((2, 2)))
    with pytest.raises(VideoError, match=r"clips\.npy: expected uint8 \(7, 2, 4, 24, 32, 3\), got"):
        ProbeSet(tmp_path / "probe")
    clips.write_bytes(whole)
    for content in ("{", "[]", "{}", described.replace('"version": 1', '"version": 9')):
        about.write_text(content)
        with pytest.raises(VideoError, match=r"probe\.json is damaged|expected version 1 of a probe set, got 9"):
            ProbeSet(tmp_path / "probe")
    assert json.loads(described)["numbers"] == [item[3] for item in probe]


@pytest.mark.parametrize(
    "change",
    [
        {"num_pairs": 10**12},
        {"num_pairs": -7},
        {"num_pairs": "7"},
        {"clip_frames": None},
        {"seed": []},
        {"frame_size": [24]},
        {"frame_size": 3},
        {"shape": [4, 24, 32]},
        {"shape": None},
        {"shape": [2**31, 2**31, 4, 4]},
        {"numbers": [0, 1]},
        {"numbers": 3},
        {"crc": [0.5] * 7},
        {"sources": "videos"},
        {"fingerprint": 5},
        {"settings": []},
    ],
    ids=str,
)
def test_a_set_that_says_what_cannot_be_is_refused(pairs, tmp_path, change):
    pairs.materialise(tmp_path / "probe", progress=False)
    about = json.loads((tmp_path / "probe" / "probe.json").read_text())
    for name, value in change.items():
        (about["settings"] if name in about["settings"] else about)[name] = value
    (tmp_path / "probe" / "probe.json").write_text(json.dumps(about))
    with pytest.raises(VideoError, match=r"probe\.json is damaged|clips\.npy: expected") as caught:
        bounded(ProbeSet, tmp_path / "probe")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': '|u1'(",
        *(
            b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"\n" * 64
            for head in (
                f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode()
                for dtype, shape in (("|u1", (1 << 44,)), ("|O", (8,)), ("<f8", (1 << 32, 1 << 32)), ("|u1", (-1, -64)))
            )
        ),
    ],
    ids=range(7),
)
def test_clips_that_claim_more_than_they_hold_are_refused(pairs, tmp_path, content):
    pairs.materialise(tmp_path / "probe", progress=False)
    (tmp_path / "probe" / "clips.npy").write_bytes(content)
    with pytest.raises(VideoError, match=r"clips\.npy: missing or damaged: no array") as caught:
        bounded(ProbeSet, tmp_path / "probe")
    assert "\n" not in str(caught.value)


def test_clips_in_an_archive_are_refused(pairs, tmp_path):
    pairs.materialise(tmp_path / "probe", progress=False)
    with open(tmp_path / "probe" / "clips.npy", "wb") as file:
        np.savez(file, clips=np.zeros(3, np.uint8))
    with pytest.raises(VideoError, match=r"clips\.npy: missing or damaged: no array"):
        ProbeSet(tmp_path / "probe")


def test_two_writers_make_one_set(pairs, tmp_path):
    writers = [process(materialise_slowly, pairs, tmp_path / "probe", tmp_path / f"made{i}") for i in range(2)]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    made = sorted(len((tmp_path / f"made{i}").read_text()) for i in range(2))
    assert made == [0, 8], "one decodes all pairs, and the first twice; the other waits"
    assert same(list(pairs), list(ProbeSet(tmp_path / "probe")))


def materialise_slowly(pairs, folder, log):
    made = VideoPairs._make_pair

    def make(self, index, source):
        time.sleep(0.03)
        with open(log, "a") as file:
            file.write("x")
        return made(self, index, source)

    log.touch()
    VideoPairs._make_pair = make
    pairs.materialise(folder, progress=False)


def test_no_room_and_no_usable_video(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 1000}))
    with pytest.raises(OSError, match=r"0\.000129 GB needed for the pairs, 1e-06 GB are free"):
        pairs.materialise(tmp_path / "full", progress=False)
    write_video(tmp_path / "short.mp4", numbered_frames(3))
    with pytest.warns(UserWarning), pytest.raises(VideoError, match="none of 1 can be used"):
        VideoPairs(tmp_path / "short.mp4", **SMALL).materialise(tmp_path / "none", progress=False)


@pytest.mark.parametrize("name", ["clips.npy", ".lock", ".progress"])
def test_links_are_not_followed(pairs, tmp_path, name):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / name).symlink_to(target)
    with pytest.raises((OSError, ValueError)):
        pairs.materialise(tmp_path / "probe", progress=False)
    assert target.read_bytes() == b"precious"
