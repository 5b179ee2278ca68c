"""known_channels: where layers keep their channels, each case checked against what its own code says of the shape."""

import pytest
import torch
from torch import nn

from sdfast.models import first_tensor, known_channels, layers_before, tokens_first

CLIPS = 2


class Permuted(nn.Module):
    """A layer inside of a wrapper that permutes what it returns."""

    def __init__(self, layer, *order):
        super().__init__()
        self.layer, self.order = layer, order

    def forward(self, x):
        return self.layer(x).permute(self.order)


class NormOfImages(nn.LayerNorm):
    """Channels first and a layer norm, as in ConvNeXt."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Patches(nn.Module):
    """Tokens (N, tokens, C) from a convolution, as vision transformers embed them."""

    def __init__(self, channels):
        super().__init__()
        self.projection = nn.Conv3d(3, channels, 2, stride=2)

    def forward(self, x):
        return self.projection(x).flatten(2).transpose(1, 2)


class Window(nn.Module):
    """A block of Swin: (N, H, W, C) all through."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Next(nn.Module):
    """A block of ConvNeXt: (N, C, H, W) outside, channels last inside."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.inside = Window(channels)

    def forward(self, x):
        return self.inside(self.depthwise(x).movedim(1, -1)).movedim(-1, 1)


class Joined(nn.Module):
    """Twice as many channels as any layer inside has, as in DenseNet."""

    def __init__(self, channels):
        super().__init__()
        self.one, self.two = nn.Conv3d(channels, channels, 1), nn.Conv3d(channels, channels, 1)

    def forward(self, x):
        return torch.cat([self.one(x), self.two(x)], 1)


class RootMeanSquare(nn.Module):
    """A norm of one's own."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return self.weight * x * x.square().mean(-1, keepdim=True).rsqrt()


LAST = (0, 2, 3, 4, 1)
# (layer, what it takes less the clips, the dimension of its channels, how many)
FOUND = {
    "Conv3d": (nn.Conv3d(3, 7, 1), (3, 4, 5, 6), 1, 7),
    "Conv3d, as many frames and pixels as channels": (nn.Conv3d(3, 6, 1), (3, 6, 6, 6), 1, 6),
    "Conv1d": (nn.Conv1d(3, 7, 1), (3, 6), 1, 7),
    "ConvTranspose2d": (nn.ConvTranspose2d(3, 7, 1), (3, 5, 6), 1, 7),
    "BatchNorm1d": (nn.BatchNorm1d(3), (3, 6), 1, 3),
    "GroupNorm": (nn.GroupNorm(1, 3), (3, 6), 1, 3),
    "Linear of images": (nn.Linear(7, 5), (4, 6, 7), 3, 5),
    "Linear of tokens": (nn.Linear(7, 5), (4, 7), 2, 5),
    "Linear of tokens, as many as channels": (nn.Linear(7, 5), (5, 7), 2, 5),
    "Linear of clips": (nn.Linear(7, 5), (7,), 1, 5),
    "LayerNorm of videos": (nn.LayerNorm(7), (4, 5, 6, 7), 4, 7),
    "RMSNorm": (nn.RMSNorm(7), (5, 5, 7), 3, 7),
    "Embedding": (nn.Embedding(9, 7), None, 2, 7),
    "LSTM, both ways": (nn.LSTM(7, 5, bidirectional=True, batch_first=True), (4, 7), 2, 10),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (16, 8), 2, 8),
    "permuted Conv3d": (Permuted(nn.Conv3d(3, 7, 1), *LAST), (3, 4, 5, 6), 4, 7),
    "permuted Linear": (Permuted(nn.Linear(7, 5), 0, 3, 1, 2), (4, 6, 7), 1, 5),
    "patches": (Patches(7), (3, 4, 6, 6), 2, 7),
    "norm of images": (NormOfImages(7), (7, 5, 6), 1, 7),
    "norm of one's own": (RootMeanSquare(7), (4, 5, 6, 7), 4, 7),
    "Swin": (Window(7), (5, 6, 7), 3, 7),
    "Swin, a window as high as wide as its channels": (Window(6), (6, 6, 6), 3, 6),
    "ConvNeXt": (Next(7), (7, 5, 6), 1, 7),
    "joined": (Joined(7), (7, 4, 5, 6), 1, 14),
    "convolution, norm, activation": (
        nn.Sequential(nn.Conv3d(3, 7, 1), nn.BatchNorm3d(7), nn.ReLU()),
        (3, 7, 7, 7),
        1,
        7,
    ),
    "Conv1d in a Sequential": (nn.Sequential(nn.Conv1d(3, 7, 1), nn.ReLU()), (3, 6), 1, 7),
    "LayerNorm over all": (nn.LayerNorm((3, 4, 5)), (3, 4, 5), 1, 3),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(1), (7, 5), 1, 7),
    "ReLU": (nn.ReLU(), (3, 4, 5, 6), 1, 3),
    "ReLU of tokens": (nn.ReLU(), (4, 6), 2, 6),
}


def output(layer, shape):
    torch.manual_seed(0)
    taken = torch.zeros(CLIPS, 4, dtype=torch.int64) if shape is None else torch.randn(CLIPS, *shape)
    with torch.no_grad():
        found = layer.eval()(taken)
    return found if isinstance(found, torch.Tensor) else found[0]


@pytest.mark.parametrize("case", FOUND)
def test_channels_are_found(case):
    layer, shape, dim, number = FOUND[case]
    feats = output(layer, shape)
    found = known_channels(layer).find(feats.shape)
    assert (found % feats.ndim, feats.shape[found]) == (dim, number)


UNCLEAR = {
    "a size that the layer does not have": (Permuted(nn.Conv3d(3, 7, 1), 0, 2, 3, 4, 1), (2, 3, 4, 5, 6), "has 7 "),
    "frames before convolutions of images": (nn.Sequential(nn.Conv2d(3, 7, 1)), (2, 4, 7, 5, 6), "dimension 1 has 4"),
    "as many tokens as channels": (Patches(7), (2, 7, 7), "dimensions 2 and 1 both fit"),
    "as high as channels, first or last": (Next(7), (2, 7, 5, 7), "dimensions 1 and 3 both fit"),
    "a norm that may have permuted": (NormOfImages(7), (2, 7, 5, 7), "dimensions 3 and 1 both fit"),
    "layers of both kinds and of other sizes": (Next(7), (2, 9, 5, 6), "dimension 1 has 9"),
    "many sizes, and one that fits by chance": (
        nn.Sequential(nn.Conv2d(3, 9, 1), nn.Conv2d(9, 4, 1)),
        (2, 5, 6, 9),
        "",
    ),
    "an attention of another size": (nn.MultiheadAttention(8, 2), (2, 4, 6), "dimension 2 has 6, and Mul.* has 8 "),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_not_clear_is_refused(case):
    layer, shape, message = UNCLEAR[case]
    if case.startswith("a size"):
        layer = layer.layer
    with pytest.raises(ValueError, match=r"channel_dim: cannot tell .*" + message) as error:
        known_channels(layer).find(shape)
    assert str(shape) in str(error.value) and "pass channel_dim=..." in str(error.value)


def test_what_has_no_sizes_is_as_the_layer_before_it():
    model = nn.ModuleDict({"block": Window(7), "first": nn.Conv3d(3, 6, 1), "relu": nn.ReLU(), "own": Permuted(None)})
    model["flat"] = nn.Flatten(2)
    before = layers_before(model)
    assert before[model["block"].mlp[1]] is model["block"].mlp[0] and model["block"] not in before

    def find(name, shape):
        module = model.get_submodule(name)
        return known_channels(module, before[module]).find(shape)

    assert find("block.mlp.1", (2, 5, 6, 28)) == -1
    assert find("relu", (2, 6, 6, 6, 6)) == 1
    assert find("relu", (2, 9, 6, 6, 6)) == 1, "it may follow another layer than that"
    assert find("own", (2, 6, 4, 5, 7)) == 1
    assert find("flat", (2, 9, 6)) == -1, "tokens, behind something else"
    for layer, shape in (("own", (2, 4, 5, 7, 6)), ("block.mlp.1", (2, 28, 6, 28)), ("flat", (2, 6, 320))):
        with pytest.raises(ValueError, match=r"the (Conv3d|Linear) before it has (6|28) channels; pass channel_dim="):
            find(layer, shape)


SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
STAGES = {"hidden_sizes": [12, 20], "depths": [1, 1]}
SWIN = {"embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 2}
SEGFORMER = {"num_encoder_blocks": 2, "num_attention_heads": [1, 2], "sr_ratios": [2, 1], "patch_sizes": [3, 3]}
JEPA = {f"pred_{name}": number for name, number in SIZES.items()} | {"crop_size": 32, "frames_per_clip": 4}
VIDEO, IMAGE = (4, 3, 32, 32), (3, 32, 32)
# Model, settings, input, and dimension and number of the channels of layers, as their code returns them
TRANSFORMERS = [
    ("VideoMAE", SIZES, VIDEO, {"embeddings": (-1, 24), "encoder.layer.0": (-1, 24), "encoder": (-1, 24)}),
    ("Timesformer", SIZES, VIDEO, {"embeddings.patch_embeddings": (-1, 24), "encoder.layer.0": (-1, 24)}),
    ("Vivit", SIZES | {"tubelet_size": [2, 8, 8]}, VIDEO, {"embeddings": (-1, 24), "layers.0": (-1, 24)}),
    ("VJEPA2", SIZES | JEPA, VIDEO, {"encoder.embeddings": (-1, 24), "encoder.layer.0": (-1, 24)}),
    ("Dinov2", SIZES, IMAGE, {"embeddings": (-1, 24), "encoder.layer.0": (-1, 24)}),
    ("CLIPVision", SIZES, IMAGE, {"embeddings": (-1, 24), "encoder.layers.0": (-1, 24)}),
    ("Swin", SWIN, IMAGE, {"encoder.layers.0.blocks.0": (-1, 12), "encoder.layers.0": (-1, 24), "pooler": (1, 24)}),
    ("Swinv2", SWIN, IMAGE, {"encoder.layers.0.blocks.0": (-1, 12), "encoder.layers.1": (-1, 24)}),
    ("ConvNext", STAGES | {"num_stages": 2}, IMAGE, {"embeddings": (1, 12), "encoder.stages.1": (1, 20)}),
    ("ConvNextV2", STAGES | {"num_stages": 2}, IMAGE, {"embeddings": (1, 12), "encoder.stages.1": (1, 20)}),
    ("ResNet", STAGES | {"embedding_size": 8}, IMAGE, {"embedder": (1, 8), "encoder.stages.0": (1, 12)}),
    ("Segformer", STAGES | SEGFORMER | {"strides": [2, 2], "mlp_ratios": [2, 2]}, IMAGE, {"stages.0": (1, 12)}),
]


@pytest.mark.parametrize(
    ("name", "settings", "shape", "layers"), TRANSFORMERS, ids=lambda x: x if type(x) is str else ""
)
def test_models_of_transformers(name, settings, shape, layers):
    """All outputs of all their modules are clear, too, but those that have no clips."""
    transformers = pytest.importorskip("transformers")
    kinds = {"image_size": 32, "patch_size": 8, "num_frames": 4} if "hidden_size" in settings else {"image_size": 32}
    config = getattr(transformers, f"{name}Config")(**kinds | settings)
    model = getattr(transformers, f"{name}Model")(config).eval()
    before, found, sizes = layers_before(model), {}, {}

    def look(module, _, feats):
        feats = first_tensor(feats)
        if feats is not None and feats.is_floating_point() and feats.ndim > 1:
            found[module] = known_channels(module, before.get(module)).find(feats.shape)
            sizes[module] = feats.shape[found[module]]

    for module in model.modules():
        module.register_forward_hook(look)
    with torch.no_grad():
        model(torch.zeros(CLIPS, *shape))
    modules = dict(model.named_modules())
    assert {layer: (found[modules[layer]], sizes[modules[layer]]) for layer in layers} == layers


def test_layers_that_have_not_run_know_nothing():
    layer = nn.LazyBatchNorm3d()
    assert known_channels(layer).find((2, 7, 4, 4, 4)) == 1


def test_tokens_first():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    model = nn.ModuleDict(
        {
            "encoder": nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
            "other": nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            "chain": nn.Sequential(nn.Linear(4, 8), nn.MultiheadAttention(8, 2)),
            "rnn": nn.GRU(4, 4),
            "linear": nn.Linear(4, 4),
        }
    )
    names = {name for name, module in model.named_modules() if module in tokens_first(model)}
    assert {"encoder", "encoder.layers.0", "encoder.layers.0.linear2", "chain", "chain.1", "rnn"} <= names
    assert not {"other", "other.self_attn", "other.linear1", "chain.0", "linear", ""} & names
