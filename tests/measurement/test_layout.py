"""The clips of an output: found by what follows their number, and judged by the features themselves."""

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from tests import truth
from tests.support.measuring import make_pairs, measure

TOKENS, WIDTH = 8, 6  # as many tokens as clips in a batch of 4 pairs, which only another number of clips tells apart


class Net(nn.Module):
    """Tokens (N, tokens, C) into a layer that may take them otherwise."""

    def __init__(self, layer, into=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.into, self.calls = layer, into, []

    def forward(self, x):
        self.calls.append(len(x))
        return self.layer(self.into(x))


class Attention(nn.Module):
    def __init__(self, batch_first=False):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=batch_first)

    def forward(self, x):
        return self.attention(x, x, x)


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def swap(x):
    return x.transpose(0, 1)


def encoder(batch_first):
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


def fold(x):
    """(N, tokens, C) with pairs of tokens folded into the batch, clip by clip."""
    return x.reshape(-1, 2, WIDTH)


def fold_inside(x):
    """The same, the first pairs of all clips before the second ones."""
    return x.reshape(len(x), -1, 2, WIDTH).transpose(0, 1).flatten(0, 1)


# (model, measured layer, how its output becomes (N, positions, C))
FOUND = {
    "attention": (Net(Attention(), swap), "layer", swap),
    "attention itself": (Net(Attention(), swap), "layer.attention", swap),
    "attention, clips first": (Net(Attention(True)), "layer", lambda x: x),
    "encoder": (Net(encoder(False), swap), "layer", swap),
    "encoder, clips first": (Net(encoder(True)), "layer", lambda x: x),
    "inside of an encoder": (Net(encoder(False), swap), "layer.layers.0.linear1", swap),
    "LSTM": (Net(nn.LSTM(WIDTH, 5), swap), "layer", swap),
    "linear": (Net(nn.Linear(WIDTH, 5), swap), "layer", swap),
    "function": (Net(Does(swap)), "layer", swap),
    "folded": (Net(nn.Linear(WIDTH, 5), fold), "layer", lambda x: x.reshape(-1, TOKENS, 5)),
    "folded the other way": (
        Net(nn.Linear(WIDTH, 5), fold_inside),
        "layer",
        lambda x: x.reshape(TOKENS // 2, -1, 2, 5).transpose(0, 1).flatten(1, 2),
    ),
    "frames first, convolution": (
        Net(nn.Conv1d(2, 5, 1), fold_inside),
        "layer",
        lambda x: x.reshape(TOKENS // 2, -1, 5, WIDTH).permute(1, 0, 3, 2).flatten(1, 2),
    ),
    "tokens first, frames folded behind": (
        Net(Attention(), lambda x: fold(x).transpose(0, 1)),
        "layer",
        lambda x: x.transpose(0, 1).reshape(-1, TOKENS, WIDTH),
    ),
}


def outputs(model, layer, clips):
    """What the layer returns of some clips."""
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _, args, out: seen.append(out))
    with torch.no_grad():
        model(clips)
    handle.remove()
    return seen[0] if isinstance(seen[0], torch.Tensor) else seen[0][0]


def pairs_of_tokens(tokens=TOKENS):
    return make_pairs(10, (tokens, WIDTH))  # a last batch of 2


@pytest.mark.parametrize("case", FOUND)
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_clips_are_found(case, batch_size):
    model, layer, as_tokens = FOUND[case]
    pairs = pairs_of_tokens()
    model.eval()
    a, b = (as_tokens(outputs(model, layer, torch.stack([pair[i] for pair in pairs]))) for i in (0, 1))
    assert len(a) == len(b) == len(pairs)
    wanted = truth.comoments(a.numpy(), b.numpy(), np.array([pair[2] for pair in pairs]), channel_dim=-1)
    report = measure(model, layer, pairs, batch_size=batch_size)[layer]
    np.testing.assert_allclose(report.moments.numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_only_what_is_not_clear_costs_a_pass_and_nothing_is_changed():
    pairs = pairs_of_tokens()
    for model, calls in ((Net(Attention(True)), [8, 2, 8, 8, 4]), (Net(nn.Conv1d(TOKENS, 8, 1)), [8, 8, 4])):
        state, before = torch.get_rng_state(), {name: x.clone() for name, x in model.state_dict().items()}
        measure(model, "layer", pairs)
        assert model.calls == calls and model.training
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    model = Net(Attention(True))
    measure(model, "layer", pairs_of_tokens(9))
    assert model.calls == [8, 8, 4]


def test_clear_layers_beside_unclear_ones_are_counted_once():
    model = nn.Sequential(nn.Linear(WIDTH, 5), Does(swap))
    reports = measure(model, ["0", "1"], pairs_of_tokens(5))
    assert reports["0"].count.tolist() == reports["1"].count.tolist() == [5, 5]
    np.testing.assert_allclose(reports["0"].moments, reports["1"].moments, rtol=1e-12)


def test_a_resumed_run_finds_the_clips_again(tmp_path):
    class Stops(list):
        def __getitem__(self, index):
            if index == 9:
                raise InterruptedError
            return super().__getitem__(index)

    model, layer, _ = FOUND["encoder"]
    with pytest.raises(InterruptedError):
        measure(model, layer, Stops(pairs_of_tokens()), resume=tmp_path)
    pairs = type("Stops", (list,), {"__qualname__": Stops.__qualname__})(pairs_of_tokens())
    resumed = measure(model, layer, pairs, resume=tmp_path)[layer]
    assert torch.equal(resumed.moments, measure(model, layer, pairs)[layer].moments)


@pytest.mark.parametrize("batch_dim", [1, -2, {"lay*": 1}])
def test_batch_dim_is_taken_as_given(batch_dim):
    model = Net(Attention(), swap)
    pairs = pairs_of_tokens()
    found = measure(model, "layer", pairs)["layer"]
    model.calls.clear()
    given = measure(model, "layer", pairs, batch_dim=batch_dim)["layer"]
    assert model.calls == [8, 8, 4] and torch.equal(found.moments, given.moments)
    both = measure(Net(Does(lambda x: x.permute(2, 0, 1))), "layer", pairs, batch_dim=1, channel_dim=0)["layer"]
    assert both.num_channels == WIDTH


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (lambda x: x.flatten(1) @ x.flatten(1).T, {"channel_dim": -1}, None),
        (lambda x: x[:, 1:].mean(0), {}, r"got shape \(7, 6\), and \(7, 6\) of 2 clips; pass batch_dim=\.\.\."),
        (
            lambda x: torch.einsum("nlc,mld->nmc", x, x),
            {},
            r"got shape \(8, 8, 6\), and \(2, 2, 6\) of 2 clips; pass ba",
        ),
        (lambda x: fold(x) * torch.rand(len(x) * 4, 1, 1), {}, r"cannot tell the order of 4 .* pass batch_dim=0 if"),
        (swap, {"batch_dim": 3}, r"batch_dim: expected a dimension of the output \(8, 8, 6\), got 3"),
        (swap, {"batch_dim": 1, "channel_dim": 1}, r"channel_dim: expected a dimension other than 1 of the output"),
        (lambda x: x, {"batch_dim": 2}, r"expected a dimension 2 of 8 .* got shape \(8, 8, 6\)"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_layer_and_what_to_pass(function, settings, message):
    model = Net(Does(function))
    if message is None:
        assert measure(model, "layer", pairs_of_tokens(), batch_size=10, **settings)["layer"].num_channels == 20
        return
    with pytest.raises(ValueError, match=rf"layer 'layer': .*{message}"):
        measure(model, "layer", pairs_of_tokens(), **settings)
    assert not model.layer._forward_hooks


def test_batch_dim_by_a_pattern_that_matches_nothing():
    with pytest.raises(ValueError, match="batch_dim: 'lair' matches no layer of Net; near names: layer"):
        measure(Net(nn.ReLU()), "layer", pairs_of_tokens(), batch_dim={"lair": 1})
    with pytest.raises(TypeError, match="batch_dim: expected an integer, or a dict of them by pattern, got 'first'"):
        sdfast.measure(Net(nn.ReLU()), pairs_of_tokens(), "layer", batch_dim="first")
