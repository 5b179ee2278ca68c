"""Clips of any kind through a measurement: the same numbers as of one tensor, and silent nonsense refused."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.measurement import CheckpointError
from sdfast.measurement.identity import code_digest
from sdfast.models import frames_as_batch
from tests import truth
from tests.support.measuring import NUM_PAIRS, make_pairs, measure

SHAPE = (3, 4, 6, 6)


class Sum(nn.Module):
    """A convolution of the sum of what it is given, in whatever way it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 5, 1)

    def forward(self, *args, **kwargs):
        inputs = [x for arg in args for x in (arg if isinstance(arg, list) else [arg])]
        return self.conv(sum([*inputs, *kwargs.values()]))


def as_pairs(make):
    """The pairs of tensors, each clip a + b made of two parts."""
    return [(make(a), make(b), factor) for a, b, factor in make_pairs()]


KINDS = {
    "tuple": lambda clip: (clip - 1, torch.ones(SHAPE)),
    "list": lambda clip: [clip - 1, torch.ones(SHAPE)],
    "dict": lambda clip: {"rgb": clip - 1, "flow": torch.ones(SHAPE)},
    "array": lambda clip: clip.numpy(),
    "list of arrays": lambda clip: [clip.numpy() - 1, np.ones(SHAPE, np.float32)],
}


@pytest.fixture(scope="module")
def wanted():
    return measure(Sum(), "conv")["conv"].moments


@pytest.mark.parametrize(("kind", "workers"), [*((kind, 0) for kind in KINDS), ("dict", 1), ("tuple", 1)])
def test_clips_of_any_kind_give_the_numbers_of_their_tensors(kind, workers, wanted):
    found = measure(Sum(), "conv", as_pairs(KINDS[kind]), num_workers=workers)["conv"].moments
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def whole_batches(make):
    pairs = make_pairs()
    for start in range(0, NUM_PAIRS, 4):
        a, b, factor = zip(*pairs[start : start + 4], strict=True)
        yield make(torch.stack(a)), make(torch.stack(b)), torch.tensor(factor)


def test_whole_batches_of_any_kind(wanted):
    batches = whole_batches(lambda x: {"rgb": (x - 1).numpy(), "flow": torch.ones_like(x)})
    torch.testing.assert_close(measure(Sum(), "conv", batches)["conv"].moments, wanted, rtol=1e-5, atol=1e-6)


def test_forward_runs_the_model(wanted):
    seen = []

    def forward(model, clips):
        seen.append(clips["note"])
        return model(clips["video"] - 1, torch.ones(SHAPE))

    pairs = as_pairs(lambda clip: {"video": clip, "note": "the same in all"})
    found = measure(Sum(), "conv", pairs, forward=forward)["conv"].moments
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert set(seen) == {"the same in all"}


class Tower(nn.Module):
    """Takes the patches of all clips in one row, and a grid a clip, as the vision towers of Qwen-VL."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.block = nn.Linear(12, 7), nn.Sequential(nn.Linear(7, 7), nn.GELU())

    def forward(self, pixel_values_videos, video_grid_thw):
        assert len(pixel_values_videos) == int(video_grid_thw.prod(1).sum())
        return self.block(self.embed(pixel_values_videos))


def test_packed_patches_of_a_processor_are_told_apart_clip_by_clip():
    transformers = pytest.importorskip("transformers")

    def processed(patches):
        return transformers.BatchFeature({"pixel_values_videos": patches, "video_grid_thw": torch.tensor([[2, 2, 2]])})

    pairs = make_pairs(10, (8, 12))  # as many patches as clips in a batch
    model = Tower()
    reports = measure(model, ["embed", "block"], [(processed(a), processed(b), factor) for a, b, factor in pairs])
    with torch.no_grad():
        for name, run in (("embed", model.embed), ("block", lambda x: model.block(model.embed(x)))):
            a, b = (run(torch.stack([pair[i] for pair in pairs])).numpy() for i in (0, 1))
            moments = truth.comoments(a, b, [pair[2] for pair in pairs], channel_dim=-1)
            np.testing.assert_allclose(reports[name].moments.numpy(), moments, rtol=1e-5, atol=1e-5)


def test_frames_as_batch_are_positions_of_their_clips():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU())
    pairs = make_pairs(9, (4, 3, 6, 6))
    found = measure(model, "1", pairs, forward=frames_as_batch)["1"].moments
    with torch.no_grad():
        a, b = (model(torch.cat([pair[i] for pair in pairs])).unflatten(0, (9, 4)).numpy() for i in (0, 1))
    moments = truth.comoments(a, b, [pair[2] for pair in pairs], channel_dim=2)
    np.testing.assert_allclose(found.numpy(), moments, rtol=1e-5, atol=1e-5)


# Two and four patches, which would be taken for three and three.
PACKED = {"patches": torch.ones(6, 2), "grid_thw": torch.tensor([[1, 1, 2], [1, 1, 4]])}


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([((torch.ones(1),), (torch.ones(1), torch.ones(1)), 0)], ValueError, r"clips_b: expected a tuple of 2 in all"),
        (
            [({"x": torch.ones(2)}, {"x": torch.ones(3)}, 0)],
            ValueError,
            r"clips_b\['x'\]: expected shape \(1, 2\) like cl",
        ),
        (
            [({"x": torch.ones(2)}, {"x": torch.ones(2).double()}, 0)],
            TypeError,
            r"clips_b\['x'\]: expected dtype torch.flo",
        ),
        ([("a.mp4", "b.mp4", 0)], TypeError, "pairs: clip_a: expected a tensor or an array, or a tuple, .* got str"),
        (
            iter([({"x": torch.ones(6, 2)}, {"x": torch.ones(6, 2)}, torch.zeros(3).long())]),
            ValueError,
            r"factor: expected shape \(6,\), one label a pair, got \(3,\)",
        ),
        (
            iter([([torch.ones(3), torch.ones(4)], [torch.ones(3), torch.ones(4)], torch.zeros(3).long())]),
            ValueError,
            r"clips_a\[1\]: expected a multiple of 3 rows, as another tensor has, got 4",
        ),
        (
            iter([(PACKED, PACKED, torch.zeros(2).long())]),
            ValueError,
            r"clips_a\['grid_thw'\]: expected one grid for all clips of a batch, got \[\[1, 1, 2\], \[1, 1, 4\]\]",
        ),
    ],
)
def test_clips_that_do_not_fit_together(pairs, error, message):
    with pytest.raises(error, match=message):
        measure(Sum(), "conv", pairs)


# ---- time before channels


class TimeFirst(nn.Module):
    """Takes (N, T, C, H, W), as models of Hugging Face do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 5, 1)

    def forward(self, clips):
        return self.conv(clips.transpose(1, 2))


LAYERS = [nn.Conv3d(3, 5, 1), nn.BatchNorm3d(3), nn.LazyConv3d(5, 1), nn.LazyBatchNorm3d(), nn.AvgPool3d(2, 1)]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_time_before_channels_is_refused(layer):
    model = nn.Sequential(layer)
    message = (
        rf"expected clips \(N, C, T, H, W\), as layer '0' \({type(layer).__name__}\) takes them, got .*pass forward="
    )
    for pairs in (
        make_pairs(4, (4, 3, 6, 6)),
        [({"input": a}, {"input": b}, f) for a, b, f in make_pairs(4, (4, 3, 6, 6))],
    ):
        with pytest.raises(ValueError, match=message):
            measure(model, "0", pairs)
    assert not layer._forward_pre_hooks or type(layer).__name__.startswith("Lazy")


def test_time_before_channels_is_fine_where_the_model_takes_it_so():
    pairs = make_pairs(6, (4, 3, 6, 6))
    model = TimeFirst()
    first = measure(model, "conv", pairs)["conv"].moments
    turned = measure(nn.Sequential(model.conv), "0", pairs, forward=lambda net, x: net(x.transpose(1, 2)))["0"].moments
    torch.testing.assert_close(first, turned)
    measure(nn.Sequential(nn.AvgPool3d(1)), "0", make_pairs(4))  # three colours, four frames
    measure(nn.Sequential(nn.Conv3d(8, 3, 1)), "0", make_pairs(4, (8, 3, 6, 6)))  # eight channels, three frames


# ---- what a resumed run is told


def test_a_resumed_run_knows_how_the_model_was_run(tmp_path):
    pairs = make_pairs(8)

    def resumed(forward):
        return measure(Sum(), "conv", pairs, resume=tmp_path, forward=forward)

    resumed(lambda model, clips: model(clips * 2))
    resumed(lambda model, clips: model(clips * 2))  # another function, of the same code
    for other in (lambda model, clips: model(clips * 3), None):
        with pytest.raises(CheckpointError, match="model"):
            resumed(other)


def test_what_a_function_holds_is_part_of_it():
    def scaled(factor, more=0):
        return lambda model, clips, shift=more: model(clips * factor + shift)

    def run(model, clips, factor):
        return model(clips * factor)

    same = [code_digest(scaled(2)), code_digest(scaled(2))]
    others = [scaled(3), scaled(2, 1), scaled("2"), partial(run, factor=2), partial(run, factor=3), frames_as_batch]
    assert same[0] == same[1] and len({same[0], *map(code_digest, others)}) == 1 + len(others)
    assert code_digest(partial(run, factor=2)) == code_digest(partial(run, factor=2))
    recursive = lambda n: recursive(n - 1) if n else 0  # noqa: E731  # holds itself
    assert code_digest(recursive) == code_digest(recursive)


# ---- heads


def head_of(linear, part):
    """The layer that has the channels of one head only."""
    alone = nn.Linear(6, part.stop - part.start)
    alone.load_state_dict({name: x[part] for name, x in linear.state_dict().items()})
    return alone


def test_heads_have_reports_of_their_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
    pairs = make_pairs(30, (4, 6))
    plain = measure(model, "*", pairs)
    reports = measure(model, "*", pairs, heads={"0": 3})
    assert list(reports) == ["0", "0.head0", "0.head1", "0.head2", "1"]
    assert [reports[name].name for name in reports] == list(reports)
    for name in ("0", "1"):
        assert torch.equal(reports[name].moments, plain[name].moments)
    for head in range(3):
        part, own = slice(4 * head, 4 * head + 4), reports[f"0.head{head}"]
        torch.testing.assert_close(own.corr, plain["0"].corr[:, part], rtol=1e-12, atol=0)
        torch.testing.assert_close(own.interval(), plain["0"].interval()[..., part], rtol=1e-9, atol=0)
        alone = measure(nn.Sequential(head_of(model[0], part)), "0", pairs)["0"]
        assert own.labels == alone.labels and own.num_sources == 30
        torch.testing.assert_close(own.layer_score, alone.layer_score, rtol=1e-5, atol=0)
        torch.testing.assert_close(own.share_interval(), alone.share_interval(), rtol=1e-4, atol=1e-3)
    everywhere = measure(model, "*", pairs, heads=2, estimator="copula")
    assert list(everywhere) == ["0", "0.head0", "0.head1", "1", "1.head0", "1.head1"]
    assert torch.equal(everywhere["0.head1"].mi, everywhere["0"].mi[:, 6:])


def test_heads_that_do_not_fit():
    model = nn.Sequential(nn.Linear(6, 12))
    pairs = make_pairs(4, (4, 6))
    model[0].register_forward_hook(lambda *_: seen.append(1))
    seen = []
    message = r"layer '0': heads: expected a number that parts the 12 channels of '0' evenly, got 5"
    with pytest.raises(ValueError, match=message):
        measure(model, "0", pairs, heads=5, batch_size=1)
    assert len(seen) == 1, "not after the last pair"
    for wrong in (0, {"0": -1}):
        with pytest.raises(ValueError, match="heads: 0: expected a positive integer, got"):
            measure(model, "0", pairs, heads=wrong)
    with pytest.raises(ValueError, match="heads: '1' matches no layer of Sequential"):
        measure(model, "0", pairs, heads={"1": 2})
    with pytest.raises(TypeError, match="heads: expected an integer, or a dict of them by pattern, got '2'"):
        measure(model, "0", pairs, heads="2")


# ---- what is wrapped around models


@pytest.mark.parametrize(
    "wrap", [lambda x: torch.compile(x, backend="eager"), nn.DataParallel], ids=["compiled", "data parallel"]
)
def test_models_that_are_wrapped_are_measured_under_their_own_names(wrap, wanted):
    model = wrap(Sum())
    model(make_pairs(1)[0][0][None])  # has compiled, if it does
    reports = measure(model, "*")
    assert list(reports) == ["conv"]
    torch.testing.assert_close(reports["conv"].moments, wanted)
    inside = Sum()
    inside.conv = wrap(inside.conv)
    reports = measure(inside, "conv")
    assert list(reports) == ["conv"]
    torch.testing.assert_close(reports["conv"].moments, wanted)


# ---- factors as they come


@pytest.mark.parametrize(
    "as_label", [bool, np.bool_, np.int32, np.uint8, torch.tensor, lambda f: torch.tensor(bool(f))]
)
def test_factors_of_any_integer_kind(as_label, wanted):
    pairs = [(a, b, as_label(factor)) for a, b, factor in make_pairs()]
    torch.testing.assert_close(measure(Sum(), "conv", pairs)["conv"].moments, wanted)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.uint8])
def test_factors_of_whole_batches_of_any_integer_kind(dtype, wanted):
    batches = ((a.numpy(), b.numpy(), factor.to(dtype)) for a, b, factor in whole_batches(lambda x: x))
    torch.testing.assert_close(measure(Sum(), "conv", batches)["conv"].moments, wanted)


def test_the_arguments_reach_the_public_function():
    report = sdfast.measure(Sum(), make_pairs(), "conv", progress=False, forward=lambda m, x: m(x), heads=1)
    assert list(report) == ["conv", "conv.head0"]
