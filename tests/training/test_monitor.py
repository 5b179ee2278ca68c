"""The monitor: what it keeps is what measure says, training does not notice it, and it is resumed and guides."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.models import frames_as_batch
from sdfast.training import BiasCurve, BiasMonitor
from tests.support.measuring import make_pairs
from tests.support.processes import on_two


class Careless(nn.Module):
    """A layer that draws, counts and writes to its buffers also in eval mode, as models in the wild do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))

    def forward(self, clips):
        random.random(), np.random.rand(), torch.rand(1)
        with torch.no_grad():
            self.seen += 1
        self.last = clips.detach().flatten()[:2].clone()
        return clips


def make_model():
    torch.manual_seed(0)
    parts = nn.Conv3d(3, 5, 1), nn.BatchNorm3d(5), nn.ReLU(), nn.Dropout(0.3), Careless()
    return nn.Sequential(*parts, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(5, 2))


def train(monitored, steps=7, model=None, **settings):
    """Train a little with random inputs, and return all that could differ: weights, buffers, losses and draws."""
    model = model or make_model()
    model[2].eval()  # frozen, as parts of models are
    monitor = BiasMonitor(model, make_pairs(), ["0", "2"], every=3, **settings) if monitored else None
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    losses = []
    for _ in range(steps):
        clips = torch.randn(4, 3, 2, 4, 4) + random.random() + np.random.rand()
        loss = nn.functional.cross_entropy(model(clips), torch.tensor([0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if monitor is not None:
            monitor.step()
    state = {**model.state_dict(), **{f"{name}.grad": p.grad for name, p in model.named_parameters()}}
    flags = [module.training for module in model.modules()]
    return monitor, state, (losses, flags, random.random(), np.random.rand(), torch.rand(2).tolist())


def test_training_ends_with_the_same_bits():
    _, plain, others = train(False)
    monitor, watched, theirs = train(True)
    assert monitor.curve.steps == [3, 6] and others == theirs
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_a_graph_survives_a_measurement():
    model = make_model()
    monitor = BiasMonitor(model, make_pairs(), "0")
    clips = torch.randn(4, 3, 2, 4, 4)
    torch.manual_seed(0)
    model(clips).square().sum().backward()
    expected = model[0].weight.grad.clone()
    model = make_model()
    monitor = BiasMonitor(model, make_pairs(), "0")
    torch.manual_seed(0)
    loss = model(clips).square().sum()
    monitor.measure()
    loss.backward()
    assert torch.equal(model[0].weight.grad, expected)
    assert not any(module._forward_hooks for module in model.modules())


def test_model_and_states_are_restored_when_a_measurement_fails():
    model, pairs = make_model(), make_pairs()
    monitor = BiasMonitor(model, [*pairs[:5], "no pair"], "0", batch_size=2)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    drawn = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(TypeError, match="pairs: expected items"):
        monitor.measure()
    assert model.training and len(monitor.curve) == 0
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert torch.equal(drawn[0], torch.get_rng_state()) and drawn[1] == random.getstate()
    assert drawn[2] == np.random.get_state()[1].tolist()


def test_the_curve_is_what_measure_says():
    model, settings = make_model(), {"kind": "intraclass", "threshold": 0.4, "batch_size": 5}
    monitor = BiasMonitor(model, make_pairs(), ["0", "2"], every=2, **settings)
    expected = []
    for _ in range(4):
        with torch.no_grad():
            model[0].weight += 0.3 * torch.randn_like(model[0].weight)
        if reports := monitor.step():
            expected.append(sdfast.measure(model, make_pairs(), ["0", "2"], progress=False, **settings))
            assert reports["0"].threshold == 0.4
    assert monitor.curve.steps == [2, 4] and monitor.curve.layers == ["0", "2"] and len(expected) == 2
    for i, reports in enumerate(expected):
        for layer, report in reports.items():
            for found, value in (
                (monitor.curve.scores(layer), report.layer_score),
                (monitor.curve.score_intervals(layer), report.layer_interval()),
                (monitor.curve.shares(layer), report.percent),
                (monitor.curve.share_intervals(layer), report.share_interval()),
            ):
                assert torch.equal(found[i], value) and value.isfinite().all()
    assert monitor.scalars("bias/") == {
        f"bias/{key}": value for report in expected[-1].values() for key, value in report.scalars().items()
    }
    with pytest.raises(ValueError, match=r"layer: expected one of \['0', '2'\], got '1'"):
        monitor.curve.scores("1")


def test_steps_may_be_counted_outside_repeat_and_skip():
    monitor = BiasMonitor(make_model(), make_pairs(), "0", every=10)
    assert monitor.scalars() == {} and monitor.measure()
    measured = [step for step in (0, 4, 9, 12, 12, 13, 20, 20, 39) if monitor(step)]
    assert measured == [12, 20, 39] and monitor.curve.steps == [0, 12, 20, 39]
    monitor(15)  # a training that went back
    assert monitor(21) and monitor.curve.steps == [0, 12, 20, 21]


def test_saved_and_resumed(tmp_path):
    monitor, _, _ = train(True)
    torch.save(monitor.state_dict(), tmp_path / "monitor.pt")
    model = make_model()
    resumed = BiasMonitor(model, make_pairs(), ["0", "2"], every=3)
    resumed.load_state_dict(torch.load(tmp_path / "monitor.pt", weights_only=True))
    assert resumed.steps == 7 and resumed.scalars() == monitor.scalars()
    assert not resumed.step() and resumed.step()
    assert resumed.curve.steps == [3, 6, 9]
    assert torch.equal(resumed.curve.scores("2")[:2], monitor.curve.scores("2"))
    other = BiasMonitor(model, make_pairs(), "0", kind="intraclass")
    with pytest.raises(ValueError, match="state: expected a curve of kind 'intraclass' like this monitor's"):
        other.load_state_dict(monitor.state_dict())


class Counted(torch.utils.data.Dataset):
    """Pairs that count in shared memory how often each is loaded."""

    def __init__(self):
        self.pairs, self.loaded = make_pairs(), torch.zeros(len(make_pairs()), dtype=torch.int64).share_memory_()

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        self.loaded[index] += 1
        return self.pairs[index]

    def fingerprint(self):
        return "counted"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_kept_pairs_are_loaded_once(num_workers):
    pairs = Counted()
    kept = BiasMonitor(make_model(), pairs, "2", keep=True, num_workers=num_workers)
    again = BiasMonitor(make_model(), pairs, "2")
    first = kept.measure()["2"]
    assert torch.equal(kept.measure()["2"].moments, first.moments)
    assert pairs.loaded.tolist() == [1] * len(pairs)
    assert torch.equal(again.measure()["2"].moments, first.moments)
    again.load_state_dict(kept.state_dict())
    with pytest.raises(TypeError, match="pairs: expected a dataset with a length to keep=True, got DataLoader"):
        BiasMonitor(make_model(), torch.utils.data.DataLoader(pairs), "2", keep=True)


def test_kept_pairs_that_cannot_be_loaded_are_said_as_ever():
    monitor = BiasMonitor(make_model(), [*make_pairs(), "no pair"], "2", keep=True, num_workers=2)
    with pytest.raises(TypeError, match="pairs: expected items"):
        monitor.measure()


def keep_on_two(rank):
    pairs = Counted()
    monitor = BiasMonitor(make_model(), pairs, "2", keep=True, batch_size=4, num_workers=rank)
    return [monitor.measure()["2"].moments.tolist() for _ in range(2)], pairs.loaded.tolist()


def test_each_process_keeps_its_own_pairs():
    (first, mine), (second, theirs) = on_two(keep_on_two)
    assert first == second and first[0] == first[1]
    assert [a + b for a, b in zip(mine, theirs, strict=True)] == [1] * len(make_pairs())


def test_it_guides_the_dropout_after_its_layers():
    model = make_model()
    handle = sdfast.insert_static_dropout(model, ["0", "2"], p=0.5)
    monitor = BiasMonitor(model, make_pairs(), ["0", "2"], every=1, guide=True)
    reports = monitor.step()
    for name, layer in handle.layers.items():
        assert torch.equal(layer.channel_weight, reports[name].static_weight())
        assert layer.training and layer.channel_weight.unique().numel() > 1


def test_unguided_layers_stay():
    model = make_model()
    handle = sdfast.insert_static_dropout(model, "0")
    BiasMonitor(model, make_pairs(), "0", every=1).step()
    assert handle.layers["0"].channel_weight is None


def train_with_ddp(rank, monitored):
    """Train on one of two processes; return the weights and the curve."""
    model = nn.parallel.DistributedDataParallel(make_model())
    monitor = BiasMonitor(model, make_pairs(), "2", every=2)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    torch.manual_seed(rank)
    for _ in range(4):
        loss = model(torch.randn(4, 3, 2, 4, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if monitored:
            monitor.step()
    curve = monitor.curve.scores("2").tolist() if monitored else None
    return [p.tolist() for p in model.parameters()], curve, monitor.curve.steps, torch.rand(1).item()


def test_processes_that_train_together_share_the_pairs_and_keep_one_curve():
    plain, other = on_two(train_with_ddp, False)
    first, second = on_two(train_with_ddp, True)
    assert plain[0] == other[0] == first[0] == second[0]
    assert (first[3], second[3]) == (plain[3], other[3]), "random states are as before"
    assert first[1] == second[1] and first[2] == second[2] == [2, 4]


@pytest.mark.parametrize("in_place", [False, True])
def test_wrapped_and_compiled_models_have_plain_names(in_place):
    plain = BiasMonitor(make_model(), make_pairs(), "0").measure()["0"]
    compilations = []
    torch.compiler.reset()  # which keeps by code what the other case compiled

    def backend(graph, _):
        compilations.append(graph)
        return graph.forward

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.then = list(make_model())[:2]

        def forward(self, clips):
            return self.then(self.first(clips))

    model = Own()
    if in_place:
        model.compile(backend=backend, fullgraph=True)
    else:
        model = torch.compile(model, backend=backend, fullgraph=True)
    clips = torch.randn(4, 3, 2, 4, 4)
    model(clips).sum().backward()
    monitor = BiasMonitor(nn.DataParallel(model), make_pairs(), "first")
    assert torch.equal(monitor.measure()["first"].moments, plain.moments)
    model(clips).sum().backward()
    assert len(compilations) == 1, "what was compiled for training stays so"


def test_the_picture_has_a_panel_a_layer(tmp_path):
    pytest.importorskip("matplotlib")
    monitor, _, _ = train(True)
    figure = monitor.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    assert [axes.get_title() for axes in figure.axes] == ["0", "2"]
    for axes in figure.axes:
        lines = {tuple(line.get_xdata()): None for line in axes.lines}
        assert lines == {(3, 6): None} and len(axes.collections) == 3
        shown = np.stack([line.get_ydata() for line in axes.lines], 1)
        np.testing.assert_array_equal(shown, monitor.curve.shares(axes.get_title()))
    with pytest.raises(ValueError, match="curve: expected at least one measurement"):
        BiasMonitor(make_model(), make_pairs(), "0").plot()


def scores_of(values, half_width):
    """Return a curve of one layer whose static scores are these, with intervals this wide around them."""
    curve, point = BiasCurve(), torch.zeros(len(values), 2, 3, 3, dtype=torch.float64)
    scores = torch.tensor(values, dtype=torch.float64)
    point[:, 0, :, 1] = torch.stack([scores, scores - half_width, scores + half_width], 1)
    curve.load_state_dict({"steps": [10 * i for i in range(len(values))], "layers": {"x": point}})
    return curve


@pytest.mark.parametrize(
    ("values", "half_width", "expected"),
    [
        ((1.0, 0.5, 0.9, 0.52, 0.5), 0.01, (30, 30, 30)),
        ((0.5, 0.5, 0.5), 0.0, (0, 0, 0)),
        ((0.1, 0.2, 0.5), 0.01, (20, 20, 20)),
        ((1.0, 0.9, 0.7, 0.56, 0.52, 0.5), 0.02, (40, 30, 40)),
        ((0.9, 0.6, 0.5), 0.1, (20, 10, None)),
        ((0.9, 0.5, float("nan"), 0.5), 0.01, (30, 30, 30)),
        ((0.9, 0.5, 0.5), float("nan"), (10, 10, None)),
    ],
)
def test_settled_is_where_the_score_stays_where_it_ends(values, half_width, expected):
    assert scores_of(values, half_width).settled("x") == expected


def test_what_cannot_settle_is_said():
    with pytest.raises(ValueError, match="'x' has NaN"):
        scores_of((0.5, float("nan")), 0.1).settled("x")
    with pytest.raises(ValueError, match="share: expected one of dynamic, static, got 'residual'"):
        scores_of((0.5,), 0.1).settled("x", "residual")
    with pytest.raises(ValueError, match="within: expected a difference from 0 on, got -1"):
        scores_of((0.5,), 0.1).settled("x", within=-1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": iter(make_pairs())}, "pairs: expected a dataset, a list or a loader"),
        ({"every": 0}, "every: expected a positive integer, got 0"),
        ({"layers": "none"}, "layers: 'none' matches no layer"),
        ({"kind": "spearman"}, "kind: "),
        ({"guide": True}, "guide: expected a StaticDropout after '0', got none; insert it"),
    ],
)
def test_what_does_not_fit_is_said_before_training(settings, message):
    with pytest.raises(ValueError, match=message):
        BiasMonitor(make_model(), **{"pairs": make_pairs(), "layers": "0", **settings})


def test_models_of_frames_are_watched_as_they_are_measured():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    pairs = [(a, b, i % 2, i) for i, (a, b) in enumerate(torch.rand(8, 2, 4, 3, 6, 6))]
    settings = {"forward": frames_as_batch, "batch_dim": 0, "heads": 2}
    monitor = BiasMonitor(net, pairs, "1", **settings)
    reports = sdfast.measure(net, pairs, "1", progress=False, **settings)
    assert list(reports) == ["1", "1.head0", "1.head1"]
    assert monitor.measure().keys() == reports.keys()
    assert torch.equal(monitor.reports["1"].corr, reports["1"].corr)
