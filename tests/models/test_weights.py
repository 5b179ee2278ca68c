"""Weights from files that anybody may have made: they fit, or one line says what is wrong; nothing in them is run."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from sdfast.models.weights import load_state
from tests.support.limits import bounded


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20))


def refused(path, message="", megabytes=128) -> None:
    """Check that weights are refused in one line by a process that has little memory."""
    with pytest.raises(ValueError, match=message) as caught:
        bounded(load_state, net(), path, megabytes=megabytes)
    assert str(caught.value).startswith(f"weights: {path} ") and "\n" not in str(caught.value)


def test_safetensors_hold_weights(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    theirs, ours = net(), net()
    with torch.no_grad():
        theirs[0].weight.add_(1)
    path = tmp_path / "weights.safetensors"
    safetensors.save_file(theirs.state_dict(), path)
    for where in (path, str(path)):
        load_state(ours, where)
        assert all(torch.equal(x, ours.state_dict()[name]) for name, x in theirs.state_dict().items())
        ours = net()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 90 << 20) + b"{",
        b"{" * 100,
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        *(
            struct.pack("<Q", len(head)) + head + bytes(8)
            for head in (
                json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
                for shape, offsets in (([1 << 40], [0, 1 << 42]), ([1 << 40], [0, 8]), ([2], [8, 0]), ([-1], [0, 8]))
            )
        ),
    ],
    ids=range(9),
)
def test_safetensors_that_claim_more_than_they_hold(tmp_path, content):
    pytest.importorskip("safetensors")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    refused(path, "is no state_dict")


class Code:
    """What runs a command when it is unpickled by `pickle`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", ["torch", "old torch", "pickle"])
def test_code_is_not_run(tmp_path, write):
    path, made = tmp_path / "weights.pt", tmp_path / "made"
    content = {**net().state_dict(), "extra": Code(made)}
    if write == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "torch")
    refused(path, "is no state_dict")
    assert not made.exists()
    torch.load(path, weights_only=False) if write != "pickle" else pickle.loads(path.read_bytes())
    assert made.exists(), "others do run it"


@pytest.mark.parametrize("old", [False, True])
def test_damaged_files_of_torch_are_refused_or_hold_the_same(tmp_path, old):
    path, sound = tmp_path / "weights.pt", net()
    torch.save(sound.state_dict(), path, _use_new_zipfile_serialization=not old)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    pickled = [at for at in range(len(content)) if not 700 < at < 3000]

    def load_all():
        held = 0
        for number in range(400):
            damaged = np.frombuffer(content, np.uint8).copy()
            at = rng.choice(pickled if old else len(content), 1 + number % 3)
            damaged[at] ^= rng.integers(1, 256, len(at)).astype(np.uint8)
            path.write_bytes(damaged.tobytes()[: rng.integers(len(content)) if number % 10 == 0 else None])
            loaded = net()
            try:
                load_state(loaded, path)
            except ValueError as error:
                assert str(error).startswith("weights: ") and "\n" not in str(error)
            else:
                held += 1
                if not old:  # which have checksums
                    assert all(torch.equal(x, loaded.state_dict()[name]) for name, x in sound.state_dict().items())
        return held

    assert 0 < bounded(load_all) < 200


def test_parts_that_unpack_to_more_than_the_file_are_refused(tmp_path):
    sound, bomb = tmp_path / "sound.pt", tmp_path / "bomb.pt"
    torch.save({"0.weight": torch.zeros(50_000_000, dtype=torch.uint8)}, sound)
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert bomb.stat().st_size < 100_000
    refused(bomb, "its parts are larger than the file", megabytes=40)


def claiming(path, number: int, old: bool) -> None:
    """Write weights whose pickle says that a tensor of 1000 numbers has so many."""
    torch.save({"0.weight": torch.zeros(1000)}, path, _use_new_zipfile_serialization=not old)
    said, says = b"M" + struct.pack("<H", 1000), b"\x8a\x08" + struct.pack("<q", number)
    if old:
        path.write_bytes(path.read_bytes().replace(said, says))
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(said, says) if name.endswith(".pkl") else content)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("number", [1001, 1 << 28, 1 << 40, 1 << 61])
def test_tensors_that_claim_more_than_the_file_are_refused(tmp_path, number, old):
    claiming(tmp_path / "weights.pt", number, old)
    refused(tmp_path / "weights.pt", "is no state_dict")


def test_memory_that_a_number_fills_is_refused(tmp_path):
    torch.save({"0.weight": torch.zeros(1000)}, tmp_path / "weights.pt")
    with zipfile.ZipFile(tmp_path / "weights.pt") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    fills = b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\nbytearray\n\x8a\x04\xff\xff\xff\x0f\x85Rs."
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, fills if name.endswith("data.pkl") else content)
    refused(tmp_path / "weights.pt", "there is a bytearray in it")


@pytest.mark.parametrize("kind", ["sparse", "meta", "number", "names"])
def test_tensors_of_other_kinds_are_refused(tmp_path, kind):
    state = net().state_dict()
    torch.save(
        {
            "sparse": {**state, "0.bias": torch.zeros(20).to_sparse()},
            "meta": {**state, "0.bias": torch.zeros(20, device="meta")},
            "number": {**state, "0.bias": 3},
            "names": {**state, 3: state["0.bias"]},
        }[kind],
        tmp_path / "weights.pt",
    )
    with pytest.raises(ValueError, match="weights: expected a state_dict of tensors") as caught:
        load_state(net(), tmp_path / "weights.pt")
    assert "\n" not in str(caught.value)
