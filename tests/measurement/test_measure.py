"""measure(): any module's layers, judged by the features themselves, and the model left as it was."""

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.measurement.layout import split_batch
from sdfast.models import known_channels
from sdfast.models.layers import match_layers
from tests import truth
from tests.support.measuring import NUM_PAIRS, Points, make_pairs, measure


def expected(run, pairs=None):
    """The moments by the NumPy formulas, of features that `run` returns as (N, C, positions)."""
    pairs = make_pairs() if pairs is None else pairs
    with torch.no_grad():
        a, b = (run(torch.stack([pair[i] for pair in pairs])).numpy() for i in (0, 1))
    return truth.comoments(a, b, np.array([pair[2] for pair in pairs]))


def assert_moments(report, wanted):
    np.testing.assert_allclose(report.moments.numpy(), wanted, rtol=1e-5, atol=1e-5)


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, feats):
        return self.function(feats)


def returning(function):
    model = Points()
    model.returns = Returns(function)
    return model


def test_a_convolution_matches_the_formulas_of_its_features():
    model = Points()
    reports = measure(model, ["conv"])
    assert list(reports) == ["conv"]
    assert reports["conv"].count.tolist() == [NUM_PAIRS // 2, NUM_PAIRS // 2]
    assert_moments(reports["conv"], expected(lambda x: model.conv(x).flatten(2)))


@pytest.mark.parametrize(
    "output",
    [
        lambda x: x,
        lambda x: (x, "attention"),
        lambda x: [None, x],
        lambda x: {"last_hidden_state": x, "logits": x.sum()},
        lambda x: ((x, x + 1),),
        lambda x: x.mean((2, 3, 4)),
        lambda x: x.flatten(2).transpose(1, 2),  # tokens, channels last
        lambda x: x.flatten(2).unsqueeze(2),
        lambda x: x.movedim(2, 1).flatten(0, 1),  # frames folded into the batch
        lambda x: x.movedim(2, 1).flatten(0, 1).mean((2, 3)),
        lambda x: x.movedim(2, 1).flatten(0, 1).flatten(2).transpose(1, 2),
    ],
    ids=[
        "tensor",
        "tuple",
        "list",
        "dict",
        "nested",
        "pooled",
        "tokens",
        "4d",
        "folded",
        "folded-pooled",
        "folded-tokens",
    ],
)
def test_every_kind_of_output_reads_the_same_channels(output):
    model = returning(output)
    assert_moments(measure(model, ["returns"])["returns"], expected(lambda x: model.conv(x).flatten(2)))


def test_model_output_of_transformers():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    model = returning(lambda x: outputs.BaseModelOutput(last_hidden_state=x.flatten(2).transpose(1, 2)))
    assert_moments(measure(model, ["returns"])["returns"], expected(lambda x: model.conv(x).flatten(2)))


@pytest.mark.parametrize("channel_dim", [-1, 4, {"ret*": -1}, {"returns": 4, "*": 1}, {"conv": 1, "*": -1}])
def test_channel_dim_overrides_the_default(channel_dim):
    model = returning(lambda x: x.movedim(1, -1))
    reports = measure(model, ["returns"], channel_dim=channel_dim)
    assert_moments(reports["returns"], expected(lambda x: model.conv(x).flatten(2)))


def test_channel_dim_counts_in_the_output_before_frames_are_unfolded():
    model = returning(lambda x: x.movedim(2, 1).flatten(0, 1).movedim(1, -1))
    for channel_dim in (3, -1):
        reports = measure(model, ["returns"], channel_dim=channel_dim)
        assert_moments(reports["returns"], expected(lambda x: model.conv(x).flatten(2)))


@pytest.mark.parametrize(
    ("layer", "shape", "channels"),
    [
        (nn.Linear(6, 5), (3, 4, 4, 6), 5),
        (nn.LayerNorm(6), (3, 4, 4, 6), 6),
        (nn.Conv1d(3, 5, 1), (3, 6), 5),
        (nn.BatchNorm1d(3), (3, 6), 3),
        (nn.GroupNorm(1, 3), (3, 6), 3),
        (nn.LayerNorm((3, 4, 4)), (3, 4, 4), 3),  # over all of it: says nothing of channels
        (nn.ReLU(), (3, 6), 6),
        (nn.ReLU(), (3, 4, 4, 6), 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value).replace(" ", ""),
)
def test_the_type_of_a_layer_says_where_its_channels_are(layer, shape, channels):
    model = nn.Sequential(layer)
    assert measure(model, ["0"], make_pairs(shape=shape))["0"].num_channels == channels
    assert measure(model, ["0"], make_pairs(shape=shape), channel_dim=2)["0"].num_channels == shape[1]


class Repeats(nn.Module):
    """Calls one layer three times, and holds it under two names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)
        self.alias = self.layer
        self.once = nn.Linear(4, 3)

    def forward(self, x):
        return self.once(self.layer(torch.tanh(self.alias(torch.tanh(self.layer(x))))))


def test_a_layer_called_several_times_is_reported_per_call():
    model, pairs = Repeats(), make_pairs(shape=(4,))
    reports = measure(model, ["layer", "alias", "once"], pairs)
    assert list(reports) == ["layer#1", "layer#2", "layer#3", "once"]
    assert_moments(reports["layer#1"], expected(model.layer, pairs))
    assert_moments(
        reports["layer#3"], expected(lambda x: model.layer(model.layer(model.layer(x).tanh()).tanh()), pairs)
    )
    assert list(measure(model, ["alias"], pairs)) == ["alias#1", "alias#2", "alias#3"]


def test_patterns():
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), nn.Sequential(nn.Conv3d(4, 2, 1)))
    assert list(measure(model, "**")) == ["0", "1", "2.0", "2"]  # in the order they ran
    assert list(measure(model, ["2.*", "0"])) == ["0", "2.0"]
    assert match_layers(model, ["?", "2.?"]) == {"?": ("0", "1", "2"), "2.?": ("2.0",)}


@pytest.mark.parametrize("pattern", ["covn", "conv_*"])
def test_a_pattern_that_matches_nothing_names_near_layers(pattern):
    with pytest.raises(ValueError, match=rf"layers: '{pattern.replace('*', '.*')}' matches no layer of Points; .*conv"):
        measure(Points(), [pattern])


def test_a_layer_that_never_runs_is_an_error():
    model = Points()
    model.unused = nn.ModuleList([nn.Conv3d(3, 4, 1)])
    with pytest.raises(ValueError, match=r"layers: 'unused\.\*' matches unused\.0, but the forward pass calls none"):
        measure(model, ["conv", "unused.*"])


class Switches(nn.Module):
    """Draws random numbers, and remembers in which mode it ran."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.BatchNorm1d(4)
        self.live = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.modes = []
        self.live.train()
        self.frozen.eval()

    def forward(self, x):
        torch.rand(3)
        self.modes.append((self.training, torch.is_grad_enabled()))
        if x.isnan().any():
            raise FloatingPointError("NaN in the clips")
        return self.live(self.frozen(x))


@pytest.mark.parametrize("failure", [None, FloatingPointError, KeyboardInterrupt])
def test_the_model_is_left_as_it_was(failure):
    model, pairs = Switches(), make_pairs(shape=(4,))
    state = {name: x.clone() for name, x in model.state_dict().items()}
    flags = {name: module.training for name, module in model.named_modules()}
    if failure is FloatingPointError:
        pairs[9][0].fill_(torch.nan)
    if failure is KeyboardInterrupt:
        pairs = interrupted(pairs)
    torch.manual_seed(3)
    draws = torch.rand(2)
    torch.manual_seed(3)
    if failure is None:
        measure(model, ["live.0"], pairs)
    else:
        with pytest.raises(failure):
            measure(model, ["live.0"], pairs)
    assert torch.equal(torch.rand(2), draws)
    assert model.modes and set(model.modes) == {(False, False)}
    assert {name: module.training for name, module in model.named_modules()} == flags
    assert flags["live.1"] and not flags["frozen"]
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    assert torch.is_grad_enabled()


def interrupted(pairs):
    yield tuple(torch.stack([torch.as_tensor(pair[i]) for pair in pairs[:4]]) for i in range(3))
    raise KeyboardInterrupt


def test_the_model_comes_back_to_its_device():
    model = Points().to("meta")
    with pytest.raises((NotImplementedError, RuntimeError)):  # weights cannot leave the meta device
        measure(model, ["conv"], device="cpu")
    assert {x.device.type for x in model.parameters()} == {"meta"}
    with pytest.raises(ValueError, match="device: the model lives on cpu, meta; expected None, got cpu"):
        measure(nn.ModuleList([Points(), model]), ["0.conv"], device="cpu")


def test_forward_hooks_of_the_user_stay_and_are_seen():
    model = Points()
    handle = model.conv.register_forward_hook(lambda module, args, output: output * 0 + 2)
    assert measure(model, ["conv"])["conv"].dead.all()
    assert list(model.conv._forward_hooks) == [handle.id]


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (lambda x: "text", TypeError, "expected a tensor, or a tuple, list or dict with one, got str"),
        (lambda x: (1, None), TypeError, "got tuple"),
        (lambda x: x.long(), TypeError, r"expected floating-point features, got torch\.int64"),
        (lambda x: x[:, 0, 0, 0, 0], ValueError, r"expected shape \(N, C\) or \(N, C, ...\), got \(8,\)"),
        (lambda x: x[:7], ValueError, r"expected a first dimension of 8 .* got shape \(7, 5, 4, 6, 6\)"),
        (lambda x: x[:, :0], ValueError, "expected a positive integer, got 0|no empty dimension"),
        (lambda x: x.to(torch.complex64), TypeError, "expected floating-point features, got torch.complex64"),
        (lambda x: x if len(x) == 8 else x[:, :3], ValueError, "expected 5 channels"),
    ],
    ids=["text", "nothing", "integer", "scalar", "batch", "empty", "complex", "changing"],
)
def test_outputs_that_are_no_features_name_the_layer(output, error, message):
    with pytest.raises(error, match=f"layer 'returns': .*{message}"):
        measure(returning(output), ["returns"])


def test_a_nan_channel_is_nan_and_no_other():
    def poison(x):
        x[len(x) // 2, 1, 0, 0, 0] = torch.nan
        return x

    model = returning(poison)
    report = measure(model, ["returns"])["returns"]
    assert report.corr.isnan().any(0).tolist() == [False, True, False, False, False]


def test_one_pair_is_nan_with_count_one():
    report = measure(Points(), ["conv"], make_pairs(1))["conv"]
    assert report.count.tolist() == [1, 0]
    assert report.corr.isnan().all() and set(report.labels) == {"residual"}


def test_a_channel_dim_that_is_no_number():
    with pytest.raises(TypeError, match="channel_dim: expected an integer, or a dict of them by pattern, got 'last'"):
        measure(Points(), ["conv"], channel_dim="last")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "spearman"}, "kind: expected one of pearson, intraclass, got 'spearman'"),
        ({"threshold": 2}, "threshold: expected"),
        ({"batch_size": 0}, "batch_size: expected a positive integer, got 0"),
        ({"num_workers": -1}, "num_workers: expected an integer from 0 on, got -1"),
        ({"layers": []}, "layers: expected at least one name or pattern, got none"),
        ({"channel_dim": 0}, r"layer 'conv': channel_dim: expected a dimension other than 0 .* got 0"),
        ({"channel_dim": {"covn": 1}}, "channel_dim: 'covn' matches no layer of Points; near names: conv"),
        ({"threshold": "0.5"}, "threshold: expected a correlation from -1 to 1, got '0.5'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        measure(Points(), **{"layers": ["conv"], **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": sdfast.VideoModel("points", Points(), torch.as_tensor, 4, (6, 6))}, "Module, got VideoModel"),
        ({"layers": None}, "layers: expected names or glob patterns, got NoneType"),
        ({"layers": [nn.ReLU()]}, "layers: expected names or glob patterns, got ReLU"),
        ({"channel_dim": {"conv": "last"}}, "channel_dim: expected an integer, or a dict of them by pattern, got {'c"),
    ],
)
def test_arguments_of_another_type(settings, message):
    with pytest.raises(TypeError, match=message):
        measure(**{"model": Points(), "layers": ["conv"], **settings})


def test_sizes_may_be_integers_of_numpy(tmp_path):
    """They come from arrays and configurations, and go into the state file."""
    reports = measure(Points(), ["conv"], batch_size=np.int64(3), num_workers=np.int32(0), resume=tmp_path)
    assert reports["conv"].num_channels == sdfast.CoMoments(np.int64(5)).moments.shape[2]


def test_unfolding_is_a_view():
    feats = torch.randn(12, 5, 3, 3).to(memory_format=torch.channels_last)
    split, channel_dim = split_batch(feats, 4, known_channels(nn.Identity()))
    assert split.shape == (4, 3, 5, 3, 3) and channel_dim == 2
    assert split.data_ptr() == feats.data_ptr()


def test_progress_is_on_stderr_and_silent_when_off(capsys):
    measure(Points(), ["conv"], progress=True)
    out, err = capsys.readouterr()
    assert out == "" and f"{NUM_PAIRS}/{NUM_PAIRS}" in err and "pairs/s" in err
    measure(Points(), ["conv"])
    assert capsys.readouterr() == ("", "")
