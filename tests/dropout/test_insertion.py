"""insert_static_dropout: into models that know nothing of it, and out again without a trace."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import nn

import sdfast

X = torch.ones(2, 4, 3, 6, 6)
LEFT = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(2, 1, 1, 2)


class Pair(NamedTuple):
    feats: torch.Tensor
    other: torch.Tensor


class Returns(nn.Module):
    """Wraps its input, kept as it is, in some kind of output."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        return {
            "tensor": lambda: x * 1,
            "tuple": lambda: (None, x * 1, x),
            "list": lambda: [x * 1, x],
            "named": lambda: Pair(x * 1, x),
            "dict": lambda: {"n": 3, "feats": x * 1, "other": x},
            "nested": lambda: ((x * 1, x), x),
            "nothing": lambda: (1, "two"),
        }[self.kind]()


def network():
    return nn.Sequential(
        nn.Conv3d(4, 8, 1), nn.Sequential(nn.BatchNorm3d(8), nn.ReLU()), nn.Conv3d(8, 8, 1, bias=False)
    )


def fingerprint(model):
    """Return what a model is: modules, parameters, hooks, attributes, dict orders."""
    return [
        (name, type(m), list(m.__dict__), list(m._modules), list(m._buffers), len(m._forward_hooks), m.training)
        for name, m in model.named_modules()
    ], list(model.state_dict())


@pytest.mark.parametrize("layers", ["0", "1", "1.1", ["0", "2"], "*"])
def test_removal_restores_the_model(layers):
    model = network().eval()
    before, output, kept = fingerprint(model), model(X), model.state_dict()
    handle = sdfast.insert_static_dropout(model, layers, p=0.9, channel_weight=torch.ones(8))
    assert fingerprint(model) != before and not handle.layers[next(iter(handle.layers))].training
    model.train()
    handle.remove()
    handle.remove()
    assert fingerprint(model.eval()) == before and torch.equal(model(X), output)
    model.load_state_dict(kept)


@pytest.mark.parametrize("layer", ["0", "1", "1.1"])
def test_outputs_are_dropped_once_in_training_only(layer):
    model = network()
    with sdfast.insert_static_dropout(model, layer, p=1.0) as inserted:
        drop = inserted.layers[layer]
        assert drop in list(model.modules()) and drop.training
        calls, seen = [], []
        drop.register_forward_hook(lambda _, args, out: calls.append(out))
        follower = {"0": model[1], "1": model[2], "1.1": model[2]}[layer]
        follower.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        with sdfast.static_mask(LEFT):
            model(X)
        assert len(calls) == 1, "in a Sequential too"
        assert (seen[0][..., :3] == 0).all() and not (seen[0][..., 3:] == 0).all()
        model.eval()
        with sdfast.static_mask(LEFT):
            torch.testing.assert_close(model(X), network_output(model, layer))
    assert drop not in list(model.modules())


def network_output(model, layer):
    bare = copy.deepcopy(model)
    delattr(bare.get_submodule(layer), "static_dropout")
    bare.get_submodule(layer)._forward_hooks.clear()
    return bare(X)


@pytest.mark.parametrize("kind", ["tensor", "tuple", "list", "named", "dict", "nested"])
def test_the_first_tensor_of_an_output_is_dropped(kind):
    model = nn.ModuleDict({"layer": Returns(kind)})
    plain = model["layer"](X)
    with sdfast.insert_static_dropout(model, "layer", p=1.0):
        found = model["layer"](X)
    assert type(found) is type(plain)
    flat, plain = (list(_flatten(value)) for value in (found, plain))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    assert len(flat) == len(plain)
    assert (tensors[0] == 0).all() and all((t == 1).all() for t in tensors[1:])


def test_an_output_without_a_tensor_is_an_error_not_left_as_it_is():
    model = nn.ModuleDict({"layer": Returns("nothing")})
    with (
        sdfast.insert_static_dropout(model, "layer"),
        pytest.raises(TypeError, match=r"static_dropout after Returns: expected a tensor, .* got tuple"),
    ):
        model["layer"](X)
    assert model["layer"](X) == (1, "two")


def _flatten(value):
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def test_a_model_output_stays_one():
    transformers = pytest.importorskip("transformers")
    settings = dict(image_size=16, patch_size=8, num_frames=2, hidden_size=16, num_attention_heads=2)
    config = transformers.VideoMAEConfig(**settings, num_hidden_layers=1, intermediate_size=16)
    model, video = transformers.VideoMAEModel(config), torch.randn(2, 2, 3, 16, 16)
    with sdfast.insert_static_dropout(model, "encoder", p=1.0, channel_dim=-1):
        seen = []
        model.encoder.register_forward_hook(lambda _, args, out: seen.append(out))
        with sdfast.static_mask(sdfast.masks.to_tokens(torch.ones(2, 1, 16, 16), (1, 2, 2))):
            model(video)
    assert type(seen[0]).__name__ == "BaseModelOutput"
    assert (seen[0].last_hidden_state == 0).all() and seen[0][0] is seen[0].last_hidden_state


def test_layers_follow_the_model_and_its_state_dict():
    model = network()
    inserted = sdfast.insert_static_dropout(model, ["0", "1.1"], channel_weight=torch.linspace(0, 1, 8))
    model.eval()
    assert not any(layer.training for layer in inserted.layers.values())
    state = model.state_dict()
    assert {"0.static_dropout.channel_weight", "1.1.static_dropout.channel_weight"} <= state.keys()
    other = network()
    sdfast.insert_static_dropout(other, ["0", "1.1"])
    other.load_state_dict(state)
    assert torch.equal(other[0].static_dropout.channel_weight, torch.linspace(0, 1, 8))
    model.to("meta")
    assert all(layer.channel_weight.device.type == "meta" for layer in inserted.layers.values())


def test_checkpoints_of_guided_and_unguided_models_load_into_each_other():
    """With strict=True, as by default: other keys that are missing are an error as ever."""
    bare, guided, unguided = network(), network(), network()
    sdfast.insert_static_dropout(unguided, "0")
    inserted = sdfast.insert_static_dropout(guided, "0", channel_weight=torch.linspace(0, 1, 8))
    for state in (bare.state_dict(), unguided.state_dict()):
        with pytest.warns(UserWarning, match=r"no '0\.static_dropout\.channel_weight'") as warned:
            guided.load_state_dict(state)
        assert len(warned) == 1 and torch.equal(inserted.layers["0"].channel_weight, torch.linspace(0, 1, 8))
    unguided.load_state_dict(bare.state_dict())
    bare.load_state_dict(unguided.state_dict())
    unguided.load_state_dict(guided.state_dict())
    short = {key: x for key, x in bare.state_dict().items() if key != next(iter(bare.state_dict()))}
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="Missing key"):
        guided.load_state_dict(short)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*static_dropout"):
        bare.load_state_dict(guided.state_dict())
    with sdfast.insert_static_dropout(bare, "0"):
        bare.load_state_dict(guided.state_dict())
    assert bare.state_dict().keys() == network().state_dict().keys()
    inserted.remove()
    bare.load_state_dict(guided.state_dict())


def test_layers_are_not_shared_but_a_shared_module_has_one():
    model = network()
    model.again = model[0]
    inserted = sdfast.insert_static_dropout(model, ["0", "again", "1.*"])
    assert list(inserted.layers) == ["0", "1.0", "1.1"]
    assert len(set(map(id, inserted.layers.values()))) == 3


def test_a_deep_copy_runs_its_own_layers():
    model = network()
    handle = sdfast.insert_static_dropout(model, "0", p=0.0)
    twin = copy.deepcopy(model)
    twin[0].static_dropout.p = 1.0
    assert (twin(X) == 0).float().mean() == 1 or not torch.equal(twin(X), model(X))
    handle.remove()
    assert hasattr(twin[0], "static_dropout")


def test_an_exception_in_the_block_removes_the_layers():
    model = network()
    before = fingerprint(model)
    with pytest.raises(KeyError), sdfast.insert_static_dropout(model, "0"):
        raise KeyError
    assert fingerprint(model) == before


def test_compiles_without_graph_breaks():
    model = network().eval()
    sdfast.insert_static_dropout(model, ["0", "1"], p=1.0)
    for layer in (model[0].static_dropout, model[1].static_dropout):
        layer.train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for mask in (LEFT, 1 - LEFT):
        with sdfast.static_mask(mask):
            torch.testing.assert_close(compiled(X), model(X))


@pytest.mark.parametrize("layer", ["1", "1.1"])
def test_a_model_that_is_compiled_already_takes_layers_and_loses_them(layer):
    model = network().eval()
    compiled = torch.compile(model, backend="aot_eager")
    plain = compiled(X)
    with sdfast.insert_static_dropout(model, layer, p=1.0):
        model.train()
        model[1][0].eval()
        assert (compiled(X) == 0).all()
    assert torch.equal(compiled(X), plain)


class Threads(nn.Sequential):
    """A Sequential with a forward of its own."""

    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize(
    ("model", "layers", "message"),
    [
        (network(), "9", "layers: '9' matches no layer"),
        (network(), [], "layers: expected at least one name"),
        (nn.ModuleDict({"list": nn.ModuleList([nn.ReLU()])}), "list", "'list' is a ModuleList, which is never called"),
        (nn.ModuleDict({"own": Threads(nn.ReLU())}), "own", "'own' is a Sequential with a forward method of its own"),
    ],
)
def test_bad_layers_are_named(model, layers, message):
    before = fingerprint(model)
    with pytest.raises(ValueError, match=message):
        sdfast.insert_static_dropout(model, layers)
    assert fingerprint(model) == before


def test_a_second_insertion_is_an_error_and_changes_nothing():
    model = network()
    sdfast.insert_static_dropout(model, "1")
    before = fingerprint(model)
    with pytest.raises(ValueError, match="layers: '1' has a static_dropout already"):
        sdfast.insert_static_dropout(model, ["0", "1"])
    with pytest.raises(ValueError, match="p: expected a probability"):
        sdfast.insert_static_dropout(model, "0", p=2)
    assert fingerprint(model) == before


def test_channels_are_where_the_layer_has_them():
    """Tokens (N, tokens, C) after a linear layer; a mask of them drops whole tokens."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Identity(), nn.Conv3d(3, 3, 1))
    with sdfast.insert_static_dropout(model, ["0", "1", "2"], p=1.0) as inserted:
        assert [layer.channel_dim for layer in inserted.layers.values()] == [-1, 1, 1]
        first = torch.zeros(2, 5)
        first[:, 0] = 1
        with sdfast.static_mask(first):
            tokens = model[0](torch.ones(2, 5, 4))
        assert (tokens[:, 0] == 0).all() and (tokens[:, 1:] != 0).all()
    with sdfast.insert_static_dropout(model, "0", channel_dim=1) as inserted:
        assert inserted.layers["0"].channel_dim == 1


def test_channels_are_found_by_the_sizes_of_what_a_block_holds():
    """A block of Swin, (N, H, W, C): the mask of the picture drops positions, and no channels."""
    block = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    model = nn.ModuleDict({"block": block})
    with sdfast.insert_static_dropout(model, ["block", "block.2"], p=1.0) as inserted:
        left = torch.zeros(2, 4, 6)
        left[:, :, :3] = 1
        with sdfast.static_mask(left):
            found = model["block"](torch.randn(2, 4, 6, 8))
        assert [layer.channel_dim for layer in inserted.layers.values()] == [-1, -1]
    assert (found[:, :, :3] == 0).all() and not (found[:, :, 3:] == 0).any()


def test_channels_that_are_not_clear_are_an_error():
    model = nn.ModuleDict({"block": nn.Sequential(nn.Conv2d(4, 8, 1), nn.Flatten(2))})
    with sdfast.insert_static_dropout(model, "block"), pytest.raises(ValueError, match=r"pass channel_dim=\.\.\."):
        model["block"](torch.randn(2, 4, 2, 4))
    with sdfast.insert_static_dropout(model, "block", channel_dim=1):
        model["block"](torch.randn(2, 4, 2, 4))


@pytest.mark.parametrize("layer", ["encoder", "encoder.layers.0", "encoder.layers.0.linear1", "attention"])
def test_tokens_before_clips_are_refused(layer):
    made = nn.TransformerEncoderLayer(8, 2, 16)
    encoder = nn.TransformerEncoder(made, 1, enable_nested_tensor=False)
    model = nn.ModuleDict({"encoder": encoder, "attention": nn.MultiheadAttention(8, 2)})
    before = fingerprint(model)
    with pytest.raises(ValueError, match=rf"layers: '{layer}' returns \(tokens, N, C\).* batch_first=True"):
        sdfast.insert_static_dropout(model, layer)
    assert fingerprint(model) == before
