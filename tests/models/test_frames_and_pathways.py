"""Models of timm, which are given frames, and of PyTorchVideo with its pathways, by stand-ins with their interfaces."""

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from sdfast.models import load_model


@pytest.fixture
def timm(monkeypatch):
    """Install a stand-in for timm that has resnet_1 and vit_1."""

    def create_model(name, pretrained):
        net = nn.Sequential()
        net.stem, net.blocks = nn.Conv2d(3, 4, 1), nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(6)))
        if name.startswith("resnet"):
            net.feature_info = [{"module": name} for name in ("act1", "stem", "blocks.1", "blocks.5")]
        if pretrained:
            nn.init.ones_(next(net.parameters()))
        return net

    package = types.ModuleType("timm")
    package.list_models = lambda: ["resnet_1", "vit_1"]
    package.is_model = lambda name: name in package.list_models()
    package.create_model = create_model
    data = {"mean": (0.4,) * 3, "std": (0.2,) * 3, "input_size": (3, 12, 16)}
    package.data = types.SimpleNamespace(resolve_model_data_config=lambda model: data)
    monkeypatch.setitem(sys.modules, "timm", package)


def test_timm_models_are_given_the_frames_of_clips(timm):
    model = load_model("timm:resnet_1")
    assert model.layers == ("stem", "blocks.1", "blocks.5"), "what the model does not have is left out"
    assert (model.clip_frames, model.frame_size) == (8, (12, 16)) and (next(model.module.parameters()) == 1).all()
    assert model.prepare(np.full((1, 1, 1, 3), 255, np.uint8)).flatten().tolist() == pytest.approx([3.0] * 3)
    assert model.forward(model.module, model.random_clips(2)).shape == (16, 4, 12, 16)
    assert load_model("timm:vit_1", "random").layers == ("stem", "blocks")
    drawn, again, other = (load_model("timm:vit_1", "random", seed=seed).module.stem.weight for seed in (3, 3, 4))
    assert torch.equal(drawn, again) and not torch.equal(drawn, other)
    with pytest.raises(ValueError, match="model: timm has no model 'resnet_2'; near names: resnet_1"):
        load_model("timm:resnet_2")


def test_timm_and_pytorchvideo_say_how_to_get_them(monkeypatch):
    for package, spec in (("timm", "timm:resnet18"), ("pytorchvideo", "pytorchvideo:slowfast_r50")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=f"{package} is missing, .*pip install {package}"):
            load_model(spec)
    with pytest.raises(ValueError, match="no model 'slowfast_r5' of pytorchvideo is known; near names: slowfast_r50"):
        load_model("pytorchvideo:slowfast_r5")


def test_pytorchvideo_models_have_their_pathways(monkeypatch):
    made = {"pretrained": []}

    def slowfast_r50(pretrained):
        made["pretrained"].append(pretrained)
        return nn.Sequential(nn.Conv3d(3, 4, 1))

    hub = types.ModuleType("pytorchvideo.models.hub")
    hub.slowfast_r50 = hub.x3d_s = slowfast_r50
    for name in ("pytorchvideo", "pytorchvideo.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pytorchvideo.models.hub", hub)
    model = load_model("pytorchvideo:slowfast_r50", "random")
    assert [tuple(x.shape) for x in model.random_clips(1)] == [(1, 3, 8, 256, 256), (1, 3, 32, 256, 256)]
    assert model.layers[:3] == tuple(
        f"blocks.{x}" for x in ("1.multipathway_blocks.0", "1.multipathway_blocks.1", "2.multipathway_blocks.0")
    )
    model = load_model("pytorchvideo:x3d_s")
    assert model.random_clips(1).shape == (1, 3, 13, 182, 182) and model.layers[-1] == "blocks.4"
    assert made["pretrained"] == [False, True]
