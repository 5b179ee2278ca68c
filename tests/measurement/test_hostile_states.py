"""State files that are damaged, or made to harm with a digest that fits: refused in one line, in little memory."""

import hashlib
import json
import struct

import pytest
import torch

from sdfast.measurement import checkpoint
from sdfast.statistics import GroupedCoMoments
from tests.support.limits import bounded

JOB = {"model": "toy"}


def make_state(num_channels: int, device: torch.device) -> GroupedCoMoments:
    return GroupedCoMoments(num_channels, groups=4, device=device)


def load(path):
    done, states = checkpoint.load(path, JOB, make_state)
    return done, {key: [x.numpy().tobytes() for x in state.state_dict().values()] for key, state in states.items()}


@pytest.fixture
def path(tmp_path):
    state = GroupedCoMoments(3, groups=4)
    state.update(torch.rand(8, 3), torch.rand(8, 3), torch.arange(8) % 2)
    checkpoint.save(tmp_path / "state", JOB, 7, {"a#0": state})
    return tmp_path / "state"


def header_of(content: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack_from("<I", content, 44)
    return json.loads(content[48 : 48 + length]), content[48 + length :]


def sealed(header: dict | bytes, rest: bytes, length: int | None = None) -> bytes:
    """Return a state file whose digest fits."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = struct.pack("<I", len(encoded) if length is None else length) + encoded + rest
    return checkpoint.MAGIC + struct.pack("<I", checkpoint.VERSION) + hashlib.sha256(body).digest() + body


def test_every_flipped_byte_is_refused(path):
    sound = path.read_bytes()
    for at in range(len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << at % 8]) + sound[at + 1 :])
        with pytest.raises(checkpoint.CheckpointError):
            load(path)


def test_a_sealed_file_is_read(path):
    before = load(path)
    path.write_bytes(sealed(*header_of(path.read_bytes())))
    assert load(path) == before


@pytest.mark.parametrize(
    "change",
    [
        {"num_channels": 1 << 40},
        {"num_channels": 1 << 20},
        {"num_channels": -3},
        {"num_channels": 3.0},
        {"num_channels": True},
        {"tensors": {"moments": ["<f8", [1 << 40]]}},
        {"tensors": {"moments": ["<f8", [-1]]}},
        {"tensors": {"moments": ["|O", [4]]}},
        {"tensors": {"moments": ["<f8", [1 << 32, 1 << 32]]}},
        {"tensors": {"moments": ["<f4", [4]]}},
        {"tensors": {"moments": 5}},
        {"tensors": [["<f8", [4]]]},
        {"tensors": {}},
    ],
    ids=str,
)
def test_tensors_and_channels_that_a_file_does_not_hold_are_refused(path, change):
    header, rest = header_of(path.read_bytes())
    header["states"]["a#0"] |= change
    path.write_bytes(sealed(header, rest))
    with pytest.raises(checkpoint.CheckpointError, match="state: damaged, its ") as caught:
        bounded(load, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [b"", b"[" * 100_000, b"null", b"[]", b"{}", b"\xff", b'{"job": {}, "done": 1}', b'{"job":1,"done":1,"states":3}'],
)
def test_headers_that_are_none_are_refused(path, header):
    for content in (sealed(header, b""), sealed(header, b"", length=2**32 - 1)):
        path.write_bytes(content)
        with pytest.raises(checkpoint.CheckpointError, match="state: damaged, its ") as caught:
            bounded(load, path)
        assert "\n" not in str(caught.value)
