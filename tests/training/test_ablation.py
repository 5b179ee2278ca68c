"""Channels switched off: which, to what, in what layers return, and that nothing stays of it."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.models import first_tensor
from sdfast.training import ablate
from tests.support.measuring import make_pairs

Output = namedtuple("Output", "number feats other")


class Tokens(nn.Module):
    """A block that returns (N, tokens, C) inside a tuple."""

    def forward(self, clips):
        feats = clips.flatten(2).transpose(1, 2)
        return Output(3, feats, feats)


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 4))


def clear_pairs(number=400, groups=40):
    """Return features as clips: channel 0 is shared by static pairs, channel 1 by dynamic ones, the others by none."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, number, 5, 2, 2, 2, generator=generator) + 3.0
    factor = torch.arange(number) % 2
    for shared, channel in ((1, 0), (0, 1)):
        b[factor == shared, channel] = a[factor == shared, channel] + 0.1 * b[factor == shared, channel]
    return [(x, y, int(f), i // (number // groups)) for i, (x, y, f) in enumerate(zip(a, b, factor, strict=True))]


def test_equals_what_numpy_says():
    model, clips = make_model(), torch.randn(4, 3, 2, 4, 4)
    whole = model[0](clips).detach().numpy()
    with ablate(model, "0", [4, 1]) as off:
        assert off["0"].tolist() == [1, 4]
        switched = model[0](clips).detach().numpy()
        logits = model(clips).detach().numpy()
    expected = whole.copy()
    expected[:, [1, 4]] = 0
    np.testing.assert_array_equal(switched, expected)
    pooled = np.maximum(expected, 0).mean((2, 3, 4)) @ model[4].weight.detach().numpy().T
    np.testing.assert_allclose(logits, pooled + model[4].bias.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "labels", [[0, 3], torch.tensor([3, 0]), np.array([True, False, False, True, False, False]), {"4": [0, 3]}], ids=str
)
def test_indices_masks_and_dicts(labels):
    if isinstance(labels, np.ndarray):
        labels = labels[:4]
    model, feats = make_model(), torch.randn(2, 6)
    with ablate(model, "4", labels):
        assert (model[4](feats) == 0).tolist() == [[True, False, False, True]] * 2


def test_classes_of_reports_and_their_means():
    model, pairs = nn.Sequential(nn.Identity()), clear_pairs()
    reports = sdfast.measure(model, pairs, "0", progress=False)
    assert reports["0"].labels[:2] == ["static", "dynamic"]
    clips = torch.randn(3, 5, 2, 2, 2)
    firsts = np.stack([pair[0].numpy().astype(np.float64) for pair in pairs])
    with ablate(model, "0", "dynamic", "mean", reports) as off:
        switched = model(clips)
    assert off["0"].tolist() == [1]
    np.testing.assert_allclose(switched[:, 1], np.full((3, 2, 2, 2), firsts[:, 1].mean()), rtol=1e-6)
    assert torch.equal(switched[:, [0, 2, 3, 4]], clips[:, [0, 2, 3, 4]])
    with ablate(model, "0", reports=reports):
        assert (model(clips)[:, 0] == 0).all() and (model(clips)[:, 1:] != 0).all()


def test_static_channels_are_all_that_static_pairs_share():
    """The causal check in small: without them nothing is static any more, and what is dynamic stays."""
    model, pairs = nn.Sequential(nn.Identity(), nn.Identity()), clear_pairs()
    reports = sdfast.measure(model, pairs, "0", progress=False)
    with ablate(model, "0", "static", reports=reports):
        after = sdfast.measure(model, pairs, "1", progress=False)["1"]
    assert after.dead.tolist() == [True, False, False, False, False]
    assert torch.equal(after.moments[..., 1:], reports["0"].moments[..., 1:])


def test_tokens_in_tuples_and_other_dimensions():
    model, clips = nn.Sequential(Tokens()), torch.randn(2, 3, 2, 2, 2)
    whole = model(clips)
    with ablate(model, "0", [2]):
        found = model(clips)
    assert type(found) is Output and torch.equal(found.other, whole.other)
    assert (found.feats[..., 2] == 0).all() and torch.equal(found.feats[..., :2], whole.feats[..., :2])
    with ablate(model, "0", [2], channel_dim=1):
        assert (model(clips).feats[:, 2] == 0).all()


class Frames(nn.Module):
    """Takes clips for (N, tokens, C) and gives them to a layer of torch that has tokens first."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, clips):
        tokens = clips.flatten(2).permute(2, 0, 1)
        return (
            self.layer(tokens, tokens, tokens) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(tokens)
        )


@pytest.mark.parametrize("number", [2, 8], ids=["as they are", "as many clips as channels"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.MultiheadAttention(8, 2),
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0),
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0), 2, enable_nested_tensor=False),
        lambda: nn.GRU(8, 8),
    ],
    ids=["attention", "encoder layer", "encoder", "GRU"],
)
def test_layers_of_torch_with_tokens_first(make, number):
    model, clips = Frames(make().eval()), torch.randn(number, 8, 2, 2, 2)
    whole = first_tensor(model(clips))
    with ablate(model, "layer", [1, 5]):
        found = first_tensor(model(clips))
    assert found.shape == (8, number, 8) and (found[..., [1, 5]] == 0).all()
    kept = [0, 2, 3, 4, 6, 7]
    assert torch.equal(found[..., kept], whole[..., kept])


def test_blocks_of_a_video_transformer():
    transformers = pytest.importorskip("transformers")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16}
    config = transformers.VideoMAEConfig(image_size=16, patch_size=8, num_frames=4, tubelet_size=2, **sizes)
    model, clips = transformers.VideoMAEModel(config).eval(), torch.randn(2, 4, 3, 16, 16)
    seen = []
    for name in ("encoder.layer.0", "encoder.layer.1.attention"):
        hook = model.get_submodule(name).register_forward_hook(lambda *call: seen.append(first_tensor(call[2])))
        whole = model(clips).last_hidden_state
        with ablate(model, name, [0, 7]):
            switched = model(clips).last_hidden_state
        hook.remove()
        assert seen[0].shape == seen[1].shape == (2, 8, 16) and not torch.equal(switched, whole)
        with ablate(model, name, [0, 7]):
            last = model.get_submodule(name).register_forward_hook(lambda *call: seen.append(first_tensor(call[2])))
            model(clips)
            last.remove()
        assert (seen[2][..., [0, 7]] == 0).all() and (seen[2][..., 1:7] != 0).all()
        seen.clear()


def test_gradients_flow_through_the_others_only():
    model, clips = make_model(), torch.randn(4, 3, 2, 4, 4)
    with ablate(model, "0", [1, 2], "zero"):
        model(clips).square().sum().backward()
    assert (model[0].weight.grad[[1, 2]] == 0).all() and (model[0].weight.grad[[0, 3]] != 0).any()


def test_nan_is_switched_off_and_half_stays_half():
    model = nn.Sequential(nn.Identity())
    feats = torch.full((2, 3), torch.nan, dtype=torch.bfloat16)
    with ablate(model, "0", [0, 1, 2]):
        assert torch.equal(model(feats), torch.zeros(2, 3, dtype=torch.bfloat16))


def test_nothing_stays_also_after_errors():
    model, clips = make_model(), torch.randn(4, 3, 2, 4, 4)
    whole = model(clips)
    with pytest.raises(ZeroDivisionError), ablate(model, ["0", "1"], [0]):
        raise ZeroDivisionError
    with pytest.raises(ValueError), ablate(model, ["0", "4"], {"0": [0]}):
        pass
    assert torch.equal(model(clips), whole)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"how": "noise"}, ValueError, "how: expected one of zero, mean, got 'noise'"),
        ({"layers": "none"}, ValueError, "layers: 'none' matches no layer"),
        ({"labels": "still"}, ValueError, "labels: expected one of joint, .* got 'still'"),
        ({"reports": None}, ValueError, "reports: expected one of '0', as sdfast.measure returns it, got none"),
        ({"labels": [0], "how": "mean", "reports": {}}, ValueError, "reports: expected one of '0'"),
        ({"labels": [0, -1]}, ValueError, "labels: expected indices from 0 on for '0', got -1"),
        ({"labels": [6], "how": "mean"}, ValueError, "labels: expected indices from 0 to 5 for '0', got 6"),
        ({"labels": [0.5]}, TypeError, "labels: expected a class, indices or a bool mask"),
        ({"labels": [True] * 5, "how": "mean"}, ValueError, "labels: expected a mask of 6 channels for '0', got 5"),
        ({"labels": {"1": [0]}}, ValueError, "labels: expected channels of '0', got them of 1"),
        ({"labels": []}, ValueError, "labels: expected channels to switch off"),
    ],
)
def test_what_does_not_fit_is_said(settings, error, message):
    model = make_model()
    reports = sdfast.measure(model, make_pairs(), "0", progress=False)
    settings = {"layers": "0", "reports": reports, **settings}
    with pytest.raises(error, match=message), ablate(model, **settings):
        pass
    assert not model[0]._forward_hooks


def test_other_outputs_than_expected_are_said_with_the_layer():
    model, clips = make_model(), torch.randn(4, 3, 2, 4, 4)
    with ablate(model, "0", [6]), pytest.raises(ValueError, match="layer '0': expected more than 6 channels along"):
        model(clips)
    with ablate(model, "4", [True] * 3), pytest.raises(ValueError, match="layer '4': expected 3 channels along"):
        model(clips)
    with pytest.raises(ValueError, match="layers: '0' is a ModuleList, which is never called"):
        ablate(nn.ModuleDict({"0": nn.ModuleList([nn.ReLU()])}), "0", [0]).__enter__()
