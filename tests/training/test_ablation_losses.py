"""What is lost without the channels of a class, against a loop in NumPy over clips, draws and videos."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.models import frames_as_batch
from sdfast.statistics import student_quantile
from sdfast.training import ablate, ablation_losses

NUMBER, CHANNELS = 48, 6


def world(number=240):
    """Return pairs and clips: channels 0 and 1 are shared by static pairs, 2 by dynamic ones, 5 never varies."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, number, CHANNELS, 2, 2, 2, generator=generator)
    a[:, 5] = b[:, 5] = 1.0
    factor = torch.arange(number) % 2
    for shared, channels in ((1, [0, 1]), (0, [2])):
        which = (factor == shared).nonzero()
        b[which, channels] = a[which, channels] + 0.1 * b[which, channels]
    pairs = [(x, y, int(f), i // 4) for i, (x, y, f) in enumerate(zip(a, b, factor, strict=True))]
    clips = torch.randn(NUMBER, CHANNELS, 2, 2, 2, generator=generator)
    return pairs, [(clip, i // 4) for i, clip in enumerate(clips)]


class Reader(nn.Module):
    """Decides by channel 0 alone."""

    def __init__(self):
        super().__init__()
        self.feats = nn.Identity()

    def forward(self, clips):
        pooled = self.feats(clips).mean((2, 3, 4))
        return torch.stack([-pooled[:, 0], pooled[:, 0]], 1)


def decided(clips, off=()):
    values = np.stack([clip.numpy() for clip, _ in clips]).astype(np.float64)
    values[:, list(off)] = 0
    pooled = values.mean((2, 3, 4))[:, 0]
    return np.stack([-pooled, pooled], 1)


def by_hand(rows, sources):
    """Return the mean of (N,) and its interval by leaving out a video at a time."""
    without = np.array([rows[sources != source].mean() for source in np.unique(sources)])
    deviations, number = without - without.mean(), len(without)
    error = np.sqrt((number - 1) / number * (deviations**2).sum())
    return rows.mean(), error


@pytest.fixture(scope="module")
def measured():
    pairs, clips = world()
    return clips, sdfast.measure(Reader(), pairs, "feats", progress=False)


def test_accuracy_is_lost_without_what_decides(measured):
    clips, reports = measured
    assert reports["feats"].labels[:3] == ["static", "static", "dynamic"]
    labels = torch.arange(12) % 2
    found = ablation_losses(Reader(), clips, reports, labels=labels, draws=8, batch_size=5, progress=False)
    sources = np.array([source for _, source in clips])
    right = decided(clips).argmax(1) == labels.numpy()[sources]
    without = decided(clips, [0, 1]).argmax(1) == labels.numpy()[sources]
    loss = found.losses["feats"]["static"]
    mean, error = by_hand(right * 1.0 - without, sources)
    assert (loss.channels, loss.of, found.clips, found.sources) == (2, CHANNELS, NUMBER, 12)
    assert loss.lost.value == pytest.approx(mean) and found.whole.value == pytest.approx(right.mean())
    widest = student_quantile(0.975, 11) * error
    assert widest - 1e-9 <= (loss.lost.high - loss.lost.low) / 2 <= student_quantile(0.975, 2) * error + 1e-9
    assert loss.more.value == pytest.approx(loss.lost.value - loss.random.value)
    assert loss.random.value == pytest.approx(np.mean(loss.draws)) and len(loss.draws) == 8
    dynamic = found.losses["feats"]["dynamic"]
    assert dynamic.lost == (0, 0, 0) and dynamic.chance == 1 and dynamic.channels == 1


def test_the_output_moves_as_a_loop_says(measured):
    clips, reports = measured
    found = ablation_losses(Reader(), clips, reports, classes=["static"], draws=6, seed=3, progress=False)
    assert found.what == "output" and found.whole is None
    loss, whole = found.losses["feats"]["static"], decided(clips)
    # All of the output is channel 0: without it the output has moved by its own size.
    assert loss.lost.value == pytest.approx(1) and np.linalg.norm(whole - decided(clips, [0]), axis=1).min() > 0
    assert set(np.round(loss.draws, 6)) <= {0.0, 1.0}, "a draw has channel 0 or has it not"
    assert 1 / 7 <= loss.chance == (1 + sum(draw >= loss.lost.value for draw in loss.draws)) / 7
    again = ablation_losses(Reader(), clips, reports, classes=["static"], draws=6, seed=3, progress=False)
    assert again == found
    other = ablation_losses(Reader(), clips, reports, classes=["static"], draws=6, seed=4, progress=False)
    assert other.losses["feats"]["static"].draws != loss.draws


def test_draws_are_of_channels_that_vary(measured, monkeypatch):
    clips, reports = measured
    seen = []

    def spy(model, layer, off, *settings, **more):
        seen.append(off.tolist())
        return ablate(model, layer, off, *settings, **more)

    monkeypatch.setattr(sys.modules["sdfast.training.ablation_losses"], "ablate", spy)
    ablation_losses(Reader(), clips[:4], reports, classes=["static"], draws=40, progress=False)
    assert seen[0] == [0, 1] and len(seen) == 41
    drawn = np.array(seen[1:])
    assert set(drawn.ravel()) == {0, 1, 2, 3, 4} and all(len(set(row)) == 2 for row in drawn.tolist())


def test_the_model_is_left_as_it_was(measured):
    clips, reports = measured
    model = nn.Sequential(Reader(), nn.Dropout(0.5)).train()
    state = torch.get_rng_state()
    named = {"0.feats": reports["feats"]}
    ablation_losses(model, clips, named, draws=2, progress=False)
    assert model.training and model[1].training and torch.equal(state, torch.get_rng_state())
    assert not any(module._forward_hooks for module in model.modules())


def test_table_and_plain_values(measured):
    clips, reports = measured
    found = ablation_losses(Reader(), clips, reports, labels=torch.arange(12) % 2, draws=5, how="mean", progress=False)
    text = found.summary()
    assert "lost: accuracy, points, of 48 clips of 12 videos; the whole model:" in text and "their means" in text
    assert [line.split()[:4] for line in text.splitlines()[2:4]] == [
        ["feats", "static", "2", "6"],
        ["feats", "dynamic", "1", "6"],
    ]
    plain = found.to_dict()
    assert plain["losses"]["feats"]["static"]["lost"]["value"] == found.losses["feats"]["static"].lost.value
    empty = ablation_losses(Reader(), clips, reports, classes=["joint"], draws=1, progress=False)
    assert empty.losses == {} and empty.summary().startswith("no channel is of these classes")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"clips": []}, ValueError, "clips: expected at least one, got none"),
        ({"classes": ["still"]}, ValueError, "classes: expected some of joint, .* got 'still'"),
        ({"draws": 0}, ValueError, "draws: expected a positive integer, got 0"),
        ({"how": "noise"}, ValueError, "how: expected one of zero, mean, got 'noise'"),
        ({"model": nn.Identity(), "labels": torch.zeros(12)}, ValueError, "output: expected logits"),
    ],
)
def test_what_does_not_fit_is_said(measured, settings, error, message):
    clips, reports = measured
    arguments = {"model": Reader(), "clips": clips, "reports": reports, "progress": False, **settings}
    with pytest.raises(error, match=message):
        ablation_losses(**arguments)


def test_frames_of_a_clip_are_lost_together():
    torch.manual_seed(0)
    net, clips = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh()), torch.rand(12, 2, 5, 3, 6, 6)
    pairs = [(a, a + 0.1 * b, i % 2, i) for i, (a, b) in enumerate(clips)]
    reports = sdfast.measure(net, pairs, "1", forward=frames_as_batch, batch_dim=0, progress=False)
    label = reports["1"].labels[0]
    settings = {"classes": [label], "draws": 1, "progress": False, "batch_size": 5}
    found = ablation_losses(
        net, list(zip(clips[:, 0], range(12), strict=True)), reports, forward=frames_as_batch, **settings
    )
    off = [i for i, other in enumerate(reports["1"].labels) if other == label]
    whole = net(clips[:, 0].flatten(0, 1)).detach().view(12, -1, 4, 36)
    expected = (whole[:, :, off].flatten(1).norm(dim=1) / whole.flatten(1).norm(dim=1)).mean()
    assert found.losses["1"][label].lost.value == pytest.approx(expected.item(), rel=1e-6)
