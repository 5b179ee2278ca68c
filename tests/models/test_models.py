"""Model families: what each returns, that it runs, and what it says when it cannot."""

import json
import pickle
import random
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.models import ClipToTensor, VideoModel, load_model
from tests.support.model_table import MODELS

CLIP = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def run(model: VideoModel):
    """Feed two random clips, as a measurement would."""
    size = (model.clip_frames, *model.frame_size, 3)
    clips = np.random.default_rng(0).integers(0, 256, (2, *size), dtype=np.uint8)
    with torch.no_grad():
        return model.module(torch.stack([model.prepare(clip) for clip in clips]))


def same_state(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ---- preparing clips


def test_clip_to_tensor_orders_and_normalises():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 1.0)
    expected = (CLIP / 255 - np.array(mean)) / np.array(std)
    made = ClipToTensor(mean, std)(CLIP)
    assert made.shape == (3, 4, 32, 32) and made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), expected.transpose(3, 0, 1, 2), atol=1e-5)
    np.testing.assert_allclose(
        ClipToTensor(mean, std, time_first=True)(CLIP).numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5
    )


def test_clip_to_tensor_takes_read_only_and_reversed_clips():
    reverse = CLIP[::-1]
    reverse.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(ClipToTensor()(reverse), ClipToTensor()(CLIP).flip(1))


# ---- TransNet V2


def test_transnetv2_runs_and_its_default_layers_exist():
    model = load_model("transnetv2")
    one_hot, _ = run(model)
    assert one_hot.shape == (2, model.clip_frames, 1)
    names = {name for name, _ in model.module.named_modules()}
    assert len(model.layers) == 3 and names.issuperset(model.layers)
    assert not model.module.training
    pickle.dumps(model.prepare)  # DataLoader workers that are spawned get it by pickle


@pytest.mark.parametrize("deterministic", [False, True])
def test_transnetv2_leaves_the_process_as_it_was(deterministic, capsys):
    torch.use_deterministic_algorithms(deterministic)
    try:
        seen = []
        for load in (lambda: None, lambda: load_model("transnetv2")):
            torch.manual_seed(5), np.random.seed(5), random.seed(5)
            load()
            seen.append((torch.rand(1).item(), np.random.rand(), random.random()))
        assert seen[0] == seen[1]
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cudnn.deterministic
        assert capsys.readouterr().out == ""
    finally:
        torch.use_deterministic_algorithms(False)


def test_transnetv2_weights(tmp_path):
    trained = load_model("transnetv2").module
    drawn, again, other = (load_model("transnetv2", "random", seed=seed).module for seed in (1, 1, 2))
    weight = "SDDCNN.0.DDCNN.0.Conv3D_1.layers.0.weight"
    assert not torch.equal(trained.state_dict()[weight], drawn.state_dict()[weight])
    assert same_state(drawn, again) and not same_state(drawn, other)
    torch.save(drawn.state_dict(), tmp_path / "drawn.pt")
    assert same_state(load_model("transnetv2", str(tmp_path / "drawn.pt")).module, drawn)


# ---- torchvision, by a stand-in with its interface


class TinyVideoNet(nn.Module):
    """Stages as torchvision names them."""

    def __init__(self, stages):
        super().__init__()
        for name in stages:
            self.add_module(name, nn.Conv3d(3, 3, 1))

    def forward(self, x):
        for stage in self.children():
            x = stage(x)
        return x


class TinySwin(nn.Module):
    """Names and dimensions as in torchvision's Video Swin: 4 frames of 2 x 2 patches, 5 channels and then 6."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Sequential()
        self.patch_embed.proj = nn.Conv3d(3, 5, (4, 4, 4), (4, 4, 4))
        self.features = nn.Sequential(nn.Sequential(nn.GELU()), nn.Sequential(nn.Linear(5, 6), nn.GELU()))
        self.norm = nn.LayerNorm(6)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(6, 7)

    def forward(self, x):
        x = self.norm(self.features(self.patch_embed(x).movedim(1, -1)))
        return self.head(self.avgpool(x.movedim(-1, 1)).flatten(1))


@pytest.fixture
def torchvision(monkeypatch):
    """Install a stand-in for torchvision that has r3d_18, s3d and swin3d_t."""

    def weights(crop, meta):
        preset = types.SimpleNamespace(mean=[0.4, 0.4, 0.4], std=[0.2, 0.2, 0.2], crop_size=[crop, crop])
        return types.SimpleNamespace(DEFAULT=types.SimpleNamespace(transforms=lambda: preset, meta=meta))

    table = {"r3d_18": weights(12, {}), "s3d": weights(8, {"min_temporal_size": 20}), "swin3d_t": weights(8, {})}
    stages = {"r3d_18": ("stem", "layer1", "layer2", "layer3", "layer4"), "s3d": ("features",)}

    def get_model(name, weights):
        if name == "swin3d_t":
            return TinySwin()
        module = TinyVideoNet(stages[name])
        if name == "s3d":
            module.features = nn.Sequential(nn.Conv3d(3, 3, 1), nn.ReLU())
        if weights is not None:
            assert weights is table[name].DEFAULT
            nn.init.ones_(next(module.parameters()))
        return module

    models = types.ModuleType("torchvision.models")
    models.video = object()
    models.list_models = lambda module: list(table) if module is models.video else []
    models.get_model_weights = table.__getitem__
    models.get_model = get_model
    package = types.ModuleType("torchvision")
    package.models = models
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


def test_torchvision_model_is_fed_as_its_weights_say(torchvision):
    model = load_model("torchvision:r3d_18")
    assert model.layers == ("layer1", "layer2", "layer3", "layer4")
    assert (model.clip_frames, model.frame_size) == (16, (12, 12))
    assert model.prepare(np.full((1, 1, 1, 3), 255, np.uint8)).flatten().tolist() == pytest.approx([3.0] * 3)
    assert run(model).shape == (2, 3, 16, 12, 12)
    assert (next(model.module.parameters()) == 1).all()


def test_torchvision_without_layer_names_and_random(torchvision):
    model = load_model("torchvision:s3d", "random")
    assert model.layers == ("features.0", "features.1") and model.clip_frames == 20
    assert not (next(model.module.parameters()) == 1).all()
    assert same_state(model.module, load_model("torchvision:s3d", "random").module)


def test_torchvision_swin_has_its_channels_last(torchvision):
    model = load_model("torchvision:swin3d_t", "random")
    assert model.layers == ("features.0", "features.1")
    clips = torch.rand(8, 2, 3, model.clip_frames, *model.frame_size)
    pairs = [(a, b, i % 2) for i, (a, b) in enumerate(clips)]
    for layers in (["**"], model.layers):
        reports = sdfast.measure(model.module, pairs, layers, progress=False, channel_dim=model.channel_dim)
        channels = {name: report.num_channels for name, report in reports.items()}
        assert (channels["features.0"], channels["features.1"]) == (5, 6)
        assert layers == model.layers or (channels["patch_embed.proj"], channels["avgpool"]) == (5, 6)


def test_torchvision_errors(torchvision, monkeypatch):
    with pytest.raises(ValueError, match=r"no video model 'r3d_81'; near names: r3d_18"):
        load_model("torchvision:r3d_81")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        load_model("torchvision:r3d_18")


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("r3d_18", ("layer1", 64), ("layer4", 512)),
        ("mvit_v1_b", ("blocks.0", 192), ("blocks.15", 768)),
        ("s3d", ("features.0", 64), ("features.15", 1024)),
        ("swin3d_t", ("features.0", 96), ("features.6", 768)),
    ],
)
def test_torchvision_itself_has_its_channels_where_they_are_looked_for(name, first, last):
    pytest.importorskip("torchvision")
    model = load_model(f"torchvision:{name}", "random")
    clip_a, clip_b = torch.rand(2, 3, model.clip_frames, *model.frame_size)
    pairs = [(clip_a, clip_b, 0)]
    reports = sdfast.measure(model.module, pairs, model.layers, progress=False, channel_dim=model.channel_dim)
    channels = [(layer, report.num_channels) for layer, report in reports.items()]
    assert (channels[0], channels[-1]) == (first, last)


# ---- Hugging Face, small random configurations

SMALL = dict(hidden_size=16, num_hidden_layers=6, num_attention_heads=2, intermediate_size=32)


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture
def folder(transformers, tmp_path, request):
    """Write a config.json of the architecture that the test names."""
    video = {} if request.param == "BertConfig" else {"image_size": 32, "patch_size": 16, "num_frames": 4}
    config = getattr(transformers, request.param)(**SMALL, **video)
    config.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "tokens"),
    [("VideoMAEConfig", 8), ("TimesformerConfig", 17), ("VivitConfig", 9)],
    indirect=["folder"],
)
def test_hugging_face_architectures(folder, tokens):
    model = load_model(f"hf:{folder}", "random")
    assert (model.clip_frames, model.frame_size) == (4, (32, 32))
    assert run(model)[0].shape == (2, tokens, 16)
    assert [name.rpartition(".")[2] for name in model.layers] == ["0", "2", "3", "5"]
    assert all(isinstance(model.module.get_submodule(name), nn.Module) for name in model.layers)
    assert same_state(model.module, load_model(f"hf:{folder}", "random").module)


@pytest.mark.parametrize("folder", ["VideoMAEConfig"], indirect=True)
def test_hugging_face_weights_and_normalisation_of_a_folder(folder):
    saved = load_model(f"hf:{folder}", "random", seed=3).module
    saved.save_pretrained(folder)
    stated = {"image_mean": [0.1] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5, "offset": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    model = load_model(f"hf:{folder}")
    assert same_state(model.module, saved)
    white = model.prepare(np.full((4, 32, 32, 3), 255, np.uint8))
    assert white.shape == (4, 3, 32, 32)
    torch.testing.assert_close(white, torch.full_like(white, (2 - 1 - 0.1) / 0.5))


@pytest.mark.parametrize("name", ["Qwen2_5_VL", "CLIP"])
def test_hugging_face_towers_have_their_part_of_the_weights(transformers, tmp_path, name):
    (case,) = (model for model in MODELS if model.spec == name)
    drawn = load_model(case.named(tmp_path), "random")
    torch.manual_seed(7)
    whole = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**case.settings))
    whole.save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}")
    assert type(model.module) is type(drawn.module) and model.layers == drawn.layers
    assert same_state(model.module, getattr(whole, "visual", None) or whole.vision_model)
    assert not same_state(model.module, drawn.module)


@pytest.mark.parametrize("folder", ["BertConfig"], indirect=True)
def test_hugging_face_model_that_is_no_video_model(folder):
    with pytest.raises(ValueError, match="bert model, whose configuration has no number of frames"):
        load_model(f"hf:{folder}", "random")


def test_hugging_face_errors_are_one_line(transformers, tmp_path, monkeypatch):
    with pytest.raises(OSError, match=r"^model: cannot load hf:") as error:
        load_model(f"hf:{tmp_path}")
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        load_model("hf:anything")


# ---- the user's own


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module with factories into the working directory, which is not on the Python path."""
    (tmp_path / "own_video_net.py").write_text(
        "import torch, sdfast\n"
        "net = lambda: torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1))\n"
        "full = lambda: sdfast.models.VideoModel('full', net(), sdfast.models.ClipToTensor(), 4, (8, 8), ('0',))\n"
        "number = lambda: 3\n"
        "value = 3\n"
    )
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    sys.modules.pop("own_video_net", None)


def test_own_module_gets_the_documented_default(own):
    model = load_model("own_video_net:net")
    assert model.layers == () and run(model).shape == (2, 4, 16, 112, 112)
    assert same_state(model.module, load_model("own_video_net:net").module)


def test_own_video_model_and_weights(own):
    model = load_model("own_video_net:full", seed=1)
    assert model.name == "full" and run(model).shape == (2, 4, 4, 8, 8)
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.module.state_dict().items()}}, own / "weights.pt")
    assert same_state(load_model("own_video_net:full", "weights.pt", seed=2).module, model.module)


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("no_such_module:net", ImportError, "no module 'no_such_module'"),
        ("own_video_net:nets", ValueError, "own_video_net has no 'nets'"),
        ("own_video_net:value", ValueError, "should be callable, got int"),
        ("own_video_net:number", ValueError, "should return a sdfast.VideoModel or a torch.nn.Module, got int"),
        ("needs_more:net", ImportError, "a_package_that_is_not_there"),
    ],
)
def test_own_errors(own, spec, kind, message):
    with pytest.raises(kind, match=message):
        load_model(spec)


# ---- weights and specs that cannot be read


def test_bad_weights_say_so_in_one_line(own):
    torch.save({"0.weight": torch.zeros(4, 3, 1, 1, 2), "extra": torch.zeros(1)}, "other.pt")
    torch.save([1, 2], "list.pt")
    (own / "noise.pt").write_bytes(b"no archive at all")
    (own / "empty.pt").write_bytes(b"")
    for name, message in {
        "other.pt": r"1 missing \(0.bias\); 1 unexpected \(extra\); 1 of another shape \(0.weight \(4, 3, 1, 1, 2\)",
        "list.pt": "expected a state_dict of tensors",
        "noise.pt": "is no state_dict",
        "empty.pt": "is no state_dict",
    }.items():
        with pytest.raises(ValueError, match=message) as error:
            load_model("own_video_net:net", name)
        assert "\n" not in str(error.value) and str(error.value).startswith("weights: ")
    with pytest.raises(FileNotFoundError, match=r"expected \"random\" or the path of a state_dict, got 'absent.pt'"):
        load_model("own_video_net:net", "absent.pt")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("transnet", "did you mean transnetv2"),
        ("torchvison", "did you mean torchvision:NAME"),
        ("hf", "did you mean hf:NAME_OR_PATH"),
        ("transnetv2:", "did you mean transnetv2"),
        ("", "package.module:factory"),
        ("a b:c", "package.module:factory"),
    ],
)
def test_unknown_family_lists_the_known_ones(spec, hint):
    with pytest.raises(ValueError, match="expected one of transnetv2, torchvision:NAME") as error:
        load_model(spec)
    assert hint in str(error.value)
