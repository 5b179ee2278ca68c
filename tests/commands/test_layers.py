"""`sdfast layers`: what it prints is what a measurement finds, and what it refuses it says why."""

import json

import pytest
import torch
from torch import nn

import sdfast
from sdfast.measurement import LayerOutput, list_layers
from tests.support.command import assert_one_line


class Odd(nn.Module):
    """Layers of every fate: found, folded, called twice, never called, refused, and without a tensor."""

    def __init__(self):
        super().__init__()
        self.conv, self.twice, self.unused = nn.Conv3d(3, 5, 1), nn.ReLU(), nn.Linear(2, 2)
        self.frames, self.mixed, self.nothing = nn.Conv2d(5, 4, 1), Mixed(), Nothing()

    def forward(self, clips):
        found = self.twice(self.conv(clips))
        self.twice(self.frames(found.transpose(1, 2).flatten(0, 1)))
        self.mixed(found)
        return self.nothing(found)


class Mixed(nn.Module):
    """Forgets how many clips there were."""

    def forward(self, x):
        return x.mean(0)


class Nothing(nn.Module):
    def forward(self, x):
        return None


def test_every_fate_of_a_layer_is_listed():
    clips = torch.rand(2, 1, 3, 4, 6, 6)
    model = Odd().train()
    listed = {layer.name: layer for layer in list_layers(model, *clips)}
    assert list(listed) == ["conv", "twice#1", "twice#2", "unused", "frames", "mixed", "nothing"]
    assert listed["conv"] == LayerOutput("conv", "Conv3d", (2, 5, 4, 6, 6), 0, 1, 1, 5)
    assert listed["frames"] == LayerOutput("frames", "Conv2d", (8, 4, 6, 6), 0, 4, 1, 4)
    assert listed["twice#1"][2:7] == ((2, 5, 4, 6, 6), 0, 1, 1, 5)
    assert listed["twice#2"][2:7] == ((8, 4, 6, 6), 0, 4, 1, 4)
    assert listed["unused"].refused == "not called" and listed["unused"].shape is None
    assert listed["mixed"].shape == (5, 4, 6, 6) and "pass batch_dim=" in listed["mixed"].refused
    assert listed["nothing"].shape is None and "got NoneType" in listed["nothing"].refused
    assert model.training and not any(module._forward_hooks for module in model.modules())
    (layer,) = list_layers(model, *clips, "conv", channel_dim=-1)
    assert (layer.channel_dim, layer.channels) == (4, 6)


def test_what_is_listed_is_what_is_measured():
    clips = torch.rand(2, 1, 3, 4, 6, 6)
    listed = list_layers(Odd(), *clips)
    names = [layer.name.partition("#")[0] for layer in listed if not layer.refused]
    reports = sdfast.measure(Odd(), iter([(*clips, torch.zeros(1).long())]), names, progress=False)
    assert {layer.name: layer.channels for layer in listed if not layer.refused} == {
        name: report.num_channels for name, report in reports.items()
    }


def test_the_command_prints_a_line_a_layer(toy, main):
    code, out, err = main("layers", "toy:make")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["layer", "type", "output", "clips", "channels", "in", "dimension"]
    assert lines[2].split() == ["stem", "Conv3d", "(2,", "6,", "4,", "24,", "32)", "0", "6", "1"]
    assert lines[3].split() == ["head", "Linear", "(2,", "3072,", "4)", "0", "4", "2"]
    assert out.endswith("measured unless --layers says otherwise: stem, head\n")


def test_the_command_as_json_and_with_settings(toy, main):
    code, out, _ = main("layers", "toy:make", "--layers", "st*", "--clip-frames", 2, "--channel-dim", 2, "--json")
    (layer,) = json.loads(out)
    assert code == 0 and layer["shape"] == [2, 6, 2, 24, 32]
    assert (layer["channel_dim"], layer["channels"], layer["batch_dim"], layer["refused"]) == (2, 2, 0, "")


def test_a_layer_that_is_refused_has_its_reason_below(toy, main):
    (toy / "odd.py").write_text(
        "import sdfast, tests.commands.test_layers as here\n"
        "def make(): return sdfast.VideoModel('odd', here.Odd(), sdfast.models.ClipToTensor(), 4, (6, 6))\n"
    )
    code, out, err = main("layers", "odd:make")
    assert code == 0, err
    assert "refused, see below" in out and "not called" in out
    assert out.splitlines()[-1].startswith("mixed: output: expected a first dimension of 2")


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (["toy:make", "--layers", "steam"], "layers: 'steam' matches no layer of Toy; near names: stem"),
        (["toy:nothing"], "toy has no 'nothing'"),
        (["toy:make", "--batch-dim", 7], None),
    ],
)
def test_what_is_wrong_is_said_in_one_line(toy, main, job, message):
    code, out, err = main("layers", *job)
    if message is None:  # of the layers, not of the command
        assert code == 0 and "batch_dim: expected a dimension of the output" in out
        return
    assert code == 2
    assert_one_line(err, message)
