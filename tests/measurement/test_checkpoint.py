"""State files: atomic, checked, and the run that goes on from one ends as if it had never stopped."""

import hashlib
import importlib
import json
import linecache
import os
import signal
import struct
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import sdfast
from sdfast.measurement import checkpoint, forget_states, journal
from sdfast.measurement.identity import weights_digest
from sdfast.measurement.numbers import Numbers
from sdfast.measurement.pieces import Piece

JOB = {"model": {"class": "Toy", "weights": "ab"}, "layers": ["a"], "seed": 0, "frame_size": (2, 3)}


class Tensors:
    """A state of tensors that say nothing."""

    def __init__(self, num_channels, device="cpu", tensors=None):
        self.num_channels, self.device, self.tensors = num_channels, torch.device(device), tensors

    def state_dict(self):
        return dict(self.tensors)

    def load_state_dict(self, state_dict):
        self.tensors = state_dict


def states():
    several = {
        "moments": torch.rand(6, 3, 2, 5, dtype=torch.float64).movedim(1, -1),
        "broken": torch.tensor([torch.nan, -0.0, torch.inf, 5e-324], dtype=torch.float64),
        "number": torch.tensor(2**62 + 1),
        "ranks": torch.arange(12).view(3, 4).T,
        "none": torch.empty(0, 5, dtype=torch.float64),
    }
    return {"a#0": Tensors(5, tensors=several), "b.c#1": Tensors(1, tensors={}), "d#0": Tensors(7, tensors=several)}


@pytest.fixture
def saved(tmp_path):
    path, content = tmp_path / "state.0.sdfast", states()
    checkpoint.save(path, JOB, 7, content)
    return path, content


def load(path, job=JOB):
    return checkpoint.load(path, job, Tensors)


def test_what_was_saved_is_loaded_bit_for_bit(saved):
    path, content = saved
    done, loaded = load(path)
    assert done == 7 and list(loaded) == list(content)
    for key, state in content.items():
        assert loaded[key].num_channels == state.num_channels and loaded[key].device.type == "cpu"
        assert list(loaded[key].tensors) == list(state.tensors)
        for name, x in state.tensors.items():
            found = loaded[key].tensors[name]
            assert found.dtype == x.dtype and found.shape == x.shape
            assert found.numpy().tobytes() == x.numpy().tobytes()
            found += 1  # it is the reader's own
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex128])
def test_tensors_that_would_not_come_back_as_they_are_stay_out(saved, dtype):
    path, _ = saved
    before = path.read_bytes()
    with pytest.raises(TypeError, match=f"state_dict: sums: expected float64 or int64, got {dtype}"):
        checkpoint.save(path, JOB, 8, {"a#0": Tensors(2, tensors={"sums": torch.zeros(2, dtype=dtype)})})
    assert path.read_bytes() == before


def test_every_flipped_byte_and_every_cut_is_noticed(saved):
    path, _ = saved
    sound = path.read_bytes()
    for at in [*range(0, 60), *range(60, len(sound), 37)]:
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises(checkpoint.CheckpointError, match=str(path)):
            load(path)
        path.write_bytes(sound[:at])
        with pytest.raises(checkpoint.CheckpointError, match=str(path)):
            load(path)


def test_other_files_and_versions_are_refused(saved):
    path, _ = saved
    sound = path.read_bytes()
    path.write_bytes(sound[:8] + struct.pack("<I", 99) + sound[12:])
    with pytest.raises(checkpoint.CheckpointError, match="expected version 3 of the state file, got 99"):
        load(path)
    path.write_text("something else entirely")
    with pytest.raises(checkpoint.CheckpointError, match="not a state file of sdfast"):
        load(path)


def test_another_job_is_refused_by_what_differs(saved):
    path, _ = saved
    other = {**JOB, "seed": 1, "model": {"class": "Toy", "weights": "cd"}, "new": None}
    with pytest.raises(
        checkpoint.CheckpointError, match=r'another job: model\.weights was "ab", now "cd"; seed was 0, now 1$'
    ):
        load(path, other)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_state(saved, monkeypatch, step):
    def full(*_):
        raise OSError(28, "No space left on device")

    path, content = saved
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, JOB, 8, content)
    assert load(path)[0] == 7
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_weights_digest_knows_every_weight():
    model = nn.Sequential(nn.Linear(3, 2, dtype=torch.bfloat16), nn.BatchNorm1d(2))
    before = weights_digest(model)
    assert before == weights_digest(model)
    model[1].num_batches_tracked += 1
    assert weights_digest(model) != before


def test_weights_digest_knows_names_dtypes_and_shapes_of_the_same_bytes():
    def digest(name, value):
        model = nn.Module()
        model.register_buffer(name, value)
        return weights_digest(model)

    zeros = torch.zeros(4)
    same = [("a", zeros), ("b", zeros), ("a", zeros.int()), ("a", zeros.view(2, 2))]
    assert len({digest(*each) for each in same}) == len(same)


class Pairs(torch.utils.data.Dataset):
    """Random pairs that count how often they are loaded, and fail at one of them."""

    def __init__(self, fails_at=None, length=22):
        self.loaded, self.fails_at, self.length = [], fails_at, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.fails_at:
            raise InterruptedError(f"pair {index}")
        self.loaded.append(index)
        clips = torch.randn(2, 4, generator=torch.Generator().manual_seed(index))
        return clips[0], clips[0] + clips[1], index % 2


def resumable(model, pairs, folder, **settings):
    return sdfast.measure(model, pairs, ["*"], batch_size=4, progress=False, resume=folder, **settings)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU())


def test_a_resumed_run_is_bit_identical_and_loads_no_measured_clip(tmp_path):
    whole = resumable(linear(), Pairs(), tmp_path / "whole")
    with pytest.raises(InterruptedError):
        resumable(linear(), Pairs(fails_at=13), tmp_path / "cut")
    pairs = Pairs()
    resumed = resumable(linear(), pairs, tmp_path / "cut")
    assert pairs.loaded == list(range(12, 22))
    assert list(resumed) == list(whole)
    for name in whole:
        assert torch.equal(resumed[name].moments, whole[name].moments)
    pairs = Pairs()
    again = resumable(linear(), pairs, tmp_path / "cut", kind="intraclass")  # the kind is no part of the state
    assert pairs.loaded == [] and torch.equal(again["0"].moments, whole["0"].moments)


def test_an_iterable_resumes_too(tmp_path):
    def batches(stop):
        for start in range(0, stop, 4):
            yield tuple(
                torch.stack([torch.as_tensor(Pairs()[i][j]) for i in range(start, start + 4)]) for j in range(3)
            )
        if stop < 20:
            raise InterruptedError

    whole = sdfast.measure(linear(), batches(20), ["*"], progress=False)
    with pytest.raises(InterruptedError):
        resumable(linear(), batches(12), tmp_path)
    assert torch.equal(resumable(linear(), batches(20), tmp_path)["1"].moments, whole["1"].moments)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model": nn.Sequential(nn.Linear(4, 5), nn.ReLU())}, "model.weights was"),
        ({"pairs": Pairs(length=24)}, "num_pairs was 22, now 24"),
        ({"layers": ["0"]}, r"layers was \[\"0\", \"1\"\], now \[\"0\"\]"),
        ({"batch_size": 2}, "batch_size was 4, now 2"),
        ({"channel_dim": -1}, "channel_dim.0 was null, now -1"),
    ],
)
def test_the_state_of_another_job_is_refused(tmp_path, change, what):
    job = {"model": linear(), "pairs": Pairs(), "layers": ["*"], "batch_size": 4, "progress": False}
    sdfast.measure(**job, resume=tmp_path)
    with pytest.raises(ValueError, match=what):
        sdfast.measure(**{**job, **change}, resume=tmp_path)


def test_the_state_of_an_edited_model_or_transform_is_refused(tmp_path, monkeypatch):
    """The same names and weights, but another `forward`, another setting, or another transform of the clips."""
    source = (
        "from torch import nn\nclass Net(nn.Linear):\n    def forward(self, x):\n        return super().forward(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pairs = Pairs()
    pairs.transform = nn.Softplus(beta=1)

    def run(source, scale=1):
        linecache.clearcache()
        (tmp_path / "net.py").write_text(source)
        sys.modules.pop("net", None)
        importlib.invalidate_caches()
        net = importlib.import_module("net").Net(4, 5)
        with torch.no_grad():
            net.weight.fill_(1), net.bias.fill_(0)
        return resumable(nn.Sequential(net, nn.LeakyReLU(0.1 * scale)), pairs, tmp_path / "state")

    run(source)
    run(source)  # goes on from its own
    with pytest.raises(ValueError, match=r"of another job: model\.code was"):
        run(source.replace("forward(x)\n", "forward(2 * x)\n"))
    with pytest.raises(ValueError, match=r"of another job: model\.code was"):
        run(source, scale=2)
    pairs.transform = nn.Softplus(beta=2)
    with pytest.raises(ValueError, match=r"of another job: pairs\.transform was"):
        run(source)


def test_forgotten_are_the_states_of_all_processes_and_nothing_else(tmp_path):
    for name in ("state.0.sdfast", "state.12.sdfast", "report.json"):
        (tmp_path / name).touch()
    forget_states(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    forget_states(tmp_path / "missing")


def test_kill_9_then_resume_ends_in_the_identical_report(command, video_folder):
    job = ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 18, "--batch-size", 4, "--workers", 0]
    whole = command(*job, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    killed = command(*job, "--out", "cut", TOY_KILL="4")
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (command.folder / "cut").iterdir()) == [".sdfast.lock", "state.0.sdfast"]
    # Would die again at its fourth batch, were there more than two left.
    resumed = command(*job, "--out", "cut", "--resume", TOY_KILL="4")
    assert resumed.returncode == 0, resumed.stderr
    assert "12/18" in resumed.stderr  # where the bar begins
    assert command.report("cut") == command.report("whole")
    digests = [
        hashlib.sha256((command.folder / out / "channels.csv").read_bytes()).digest() for out in ("cut", "whole")
    ]
    assert digests[0] == digests[1]
    assert not [path.name for path in (command.folder / "cut").iterdir() if path.name.startswith(("state", "."))]


def test_resume_refuses_a_damaged_or_foreign_state_in_one_line(command, video_folder):
    job = ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 8, "--batch-size", 4, "--workers", 0]
    assert command(*job, TOY_KILL="2").returncode == -signal.SIGKILL
    foreign = command(*job, "--resume", "--seed", 1)
    assert foreign.returncode == 2
    assert foreign.stderr.count("sdfast: error:") == 1 and "Traceback" not in foreign.stderr
    assert "state.0.sdfast: of another job: " in foreign.stderr and "pairs.seed was 0, now 1" in foreign.stderr
    state = command.folder / "sdfast-report" / "state.0.sdfast"
    state.write_bytes(state.read_bytes()[:-1])
    damaged = command(*job, "--resume")
    assert damaged.returncode == 2
    assert "state.0.sdfast: damaged" in damaged.stderr.splitlines()[-1]
    assert command(*job, "--overwrite").returncode == 0  # it starts over
    assert json.loads((command.folder / "sdfast-report" / "report.json").read_text())["layers"].keys() == {
        "stem",
        "head",
    }


def test_a_large_state_is_written_so_often_that_it_takes_two_percent_of_the_time(tmp_path, monkeypatch):
    clock, written = SimpleNamespace(now=0.0), []

    def save(path, job, done, states):
        clock.now += 0.3
        written.append(done[0][0][1])  # how many batches
        return size

    monkeypatch.setattr(journal, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(journal.checkpoint, "save", save)
    for size in (1000, 100 << 20):
        clock.now = 0.0
        written.clear()
        state_file, piece = journal.Journal(tmp_path, {}, None), Piece(Numbers(), {})
        for number in range(100):
            clock.now += 1
            piece.add(number)
            state_file.write(piece)
        state_file.write(piece, last=True)
        assert written[0] == 1 and written[-1] == 100
        if size == 1000:
            assert written == list(range(1, 101))
        else:  # the first is for free, as it is not known before how long it takes, and the last has to be
            assert len(written[1:-1]) >= 4 and 0.3 * len(written[1:-1]) <= 0.02 * clock.now
