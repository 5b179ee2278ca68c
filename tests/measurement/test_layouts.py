"""Layouts in files: back as they were, as the command prints them, and told to a measurement that finds the same."""

import json

import pytest
import torch
from torch import nn

import sdfast
from sdfast.commands import main
from sdfast.measurement import LayerOutput, dims_of, list_layers, load_layouts, save_layouts
from tests.support.command import assert_one_line
from tests.support.measuring import make_pairs


class Net(nn.Module):
    """Clips first, clips second, clips folded with frames either way, called twice, and never called."""

    def __init__(self):
        super().__init__()
        self.stem, self.twice, self.never = nn.Linear(6, 8), nn.ReLU(), nn.ReLU()
        self.second, self.outside, self.inside = (nn.Identity() for _ in range(3))
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):  # (N, 4, 6)
        x = self.twice(self.stem(x))
        self.twice(x.transpose(1, 2))
        self.second(x.transpose(0, 1))
        self.outside(x.flatten(0, 1))
        self.inside(x.transpose(0, 1).flatten(0, 1))
        return self.attention(*[x.transpose(0, 1)] * 3)


LAYERS = "stem", "twice", "second", "outside", "inside", "attention"


@pytest.fixture
def found():
    torch.manual_seed(0)
    return list_layers(Net(), torch.rand(1, 4, 6), torch.rand(1, 4, 6), channel_dim={"twice": 2})


def test_they_come_back_as_they_were(found, tmp_path):
    path = tmp_path / "layouts.json"
    save_layouts(found, path)
    assert load_layouts(path) == found
    rows = {layer.name: layer for layer in found}
    assert (rows["inside"].clips_inside, rows["outside"].clips_inside, rows["second"].batch_dim) == (True, False, 1)
    assert rows["never"].refused and rows["outside"].positions == 4


def test_a_measurement_that_is_told_finds_the_same(found):
    dims = dims_of(found)
    assert dims["batch_dim"] == {"stem": 0, "twice": 0, "second": 1, "outside": 0, "attention": 1}
    assert dims["channel_dim"] == {"stem": 2, "twice": 2, "second": 2, "outside": 1, "inside": 1, "attention": 2}
    torch.manual_seed(0)
    model, pairs = Net(), make_pairs(12, (4, 6))
    plain = sdfast.measure(model, pairs, LAYERS, channel_dim={"twice": 2}, progress=False)
    told = sdfast.measure(model, pairs, LAYERS, progress=False, **dims)
    assert told.keys() == plain.keys()
    for name in plain:
        assert torch.equal(told[name].moments, plain[name].moments), name


def test_calls_that_differ_are_not_told():
    twice = [LayerOutput("a#1", "Linear", (2, 3, 4), 0, 1, 2, 4), LayerOutput("a#2", "Linear", (3, 2, 4), 1, 1, 2, 4)]
    assert dims_of(twice) == {"channel_dim": {"a": 2}, "batch_dim": {}}
    refused = [twice[0], LayerOutput("a#2", "Linear", (3, 2, 4), refused="why")]
    assert dims_of(refused) == {"channel_dim": {}, "batch_dim": {}}


def test_what_the_command_prints_is_a_file_of_layouts(command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(command.folder)
    monkeypatch.syspath_prepend(str(command.folder))
    assert main(["layers", "toy:make", "--json"]) == 0
    (tmp_path / "printed.json").write_text(capsys.readouterr().out)
    found = load_layouts(tmp_path / "printed.json")
    assert [(layer.name, layer.channel_dim) for layer in found] == [("stem", 1), ("head", 2)]
    save_layouts([layer._replace(channel_dim=layer.channel_dim % 2 + 1) for layer in found], "mended.json")
    job = ["layers", "toy:make", "--layouts", "mended.json"]
    assert main([*job, "--json"]) == 0
    mended = json.loads(capsys.readouterr().out)
    assert [(row["channel_dim"], row["channels"]) for row in mended] == [(2, 4), (1, 4 * 24 * 32)]
    assert main([*job, "--channel-dim", "2"]) == 2
    assert_one_line(capsys.readouterr().err, "--channel-dim: expected none beside --layouts, got 2")
    assert main(["layers", "toy:make", "--layouts", "toy.py"]) == 2
    assert_one_line(capsys.readouterr().err, "toy.py: expected layers as save_layouts writes them")


def test_of_another_model_they_are_refused(found):
    with pytest.raises(ValueError, match="channel_dim: 'stem' matches no layer of Sequential"):
        sdfast.measure(nn.Sequential(nn.Linear(6, 2)), make_pairs(4, (4, 6)), "0", progress=False, **dims_of(found))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("type") and row,
        lambda row: row | {"more": 1},
        lambda row: row | {"channel_dim": "1"},
        lambda row: row | {"shape": 3},
        lambda row: [row],
    ],
)
def test_other_files_are_refused(found, change, tmp_path):
    path = tmp_path / "layouts.json"
    with pytest.raises(FileNotFoundError):
        load_layouts(path)
    path.write_text(json.dumps([change(found[0]._asdict())]))
    with pytest.raises(ValueError, match=r"layouts\.json: expected layers as save_layouts writes them"):
        load_layouts(path)
    for content in (b"", b"{", b"\xff", b"[" * 100_000, b"7"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"layouts\.json: expected layers as save_layouts writes them"):
            load_layouts(path)
