"""The clips of the experiment: what is in them, and what a camera that moves does to them."""

import math
from dataclasses import replace

import pytest
import torch

from experiments.debias import data
from experiments.debias.world import make_world


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_clips_are_those_of_their_seed():
    first, same, other = (data.Shapes().train_clips(6, generator(seed)) for seed in (1, 1, 2))
    assert first.video.shape == (6, 1, data.FRAMES, data.SIZE, data.SIZE) and first.video.dtype == torch.float32
    assert torch.equal(first.video, same.video) and not torch.equal(first.video, other.video)


def test_texture_predicts_the_motion_in_training_only():
    train_ones, shifted = data.Shapes().train_clips(4000, generator()), data.Shapes().shifted_clips(4000, generator())
    agree = (train_ones.shortcut == train_ones.label).double().mean().item()
    assert abs(agree - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)
    assert not (shifted.shortcut == shifted.label).any()
    for clips in (train_ones, shifted):
        assert (clips.label.bincount(minlength=4) > 800).all()
    assert (shifted.shortcut.bincount(minlength=4) > 800).all()


def test_a_camera_that_moves_takes_texture_and_shape_with_it(monkeypatch):
    """With whole pixels a frame, each frame is the one before, moved, off the edges and the shape's own way."""
    monkeypatch.setattr(data, "NOISE", 0.0)
    labels, looks = torch.arange(4), data._draw_appearance(torch.arange(4), generator())
    motion = replace(data.draw_motion(labels, generator()), speed=torch.zeros(4), pan=torch.tensor([[2.0, -1.0]] * 4))
    clips = data._render(motion, looks, generator())
    moved = clips.video[:, :, :-1].roll((-2, 1), dims=(3, 4))
    torch.testing.assert_close(moved[..., 2:-2, 2:-2], clips.video[:, :, 1:, 2:-2, 2:-2])
    pans = data.draw_motion(torch.zeros(1000, dtype=torch.int64), generator(), "moving").pan.norm(dim=1)
    assert 0 <= pans.min() < 0.01 and 0.49 < pans.max() <= data.PAN


def test_a_still_camera_sees_what_it_saw():
    still = data.Shapes().shifted_clips(8, generator())
    assert torch.equal(still.video, data.Shapes("still").shifted_clips(8, generator()).video)
    assert not torch.equal(still.video, data.Shapes("moving").shifted_clips(8, generator()).video)
    with pytest.raises(ValueError, match="camera: expected one of still, moving, got 'panning'"):
        make_world("shapes", "panning")


@pytest.mark.parametrize("label", range(4))
def test_shapes_move_as_their_label_says(label, monkeypatch):
    monkeypatch.setattr(data, "SPEED", (2.0, 2.0))
    clips = data.Shapes()._draw(torch.full((8,), label), torch.zeros(8, dtype=torch.int64), generator())
    rows, columns = {"right": (0, 2), "down": (2, 0), "left": (0, -2), "up": (-2, 0)}[data.MOTIONS[label]]
    moved = clips.shape[:, :-1].roll((rows, columns), dims=(2, 3))
    differing = (moved != clips.shape[:, 1:]).double().mean().item()
    still = (clips.shape[:, :-1] != clips.shape[:, 1:]).double().mean().item()
    assert differing < 0.01 < still  # rounding may move a pixel of the outline


def test_all_that_changes_lies_off_the_mask(monkeypatch):
    monkeypatch.setattr(data, "NOISE", 0.0)
    clips = data.Shapes().train_clips(16, generator())
    mask = clips.mask
    assert mask.shape == clips.shape.shape and set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0.5 < mask.mean() < 0.95
    video, still = clips.video[:, 0], mask.bool()
    background = torch.where(still, video, torch.nan).nanmedian(dim=1, keepdim=True).values
    assert torch.allclose(video[still], background.expand_as(video)[still], atol=1e-6)
    assert ((video - background).abs() > 0.05)[~still].double().mean() > 0.8


def test_pairs_share_one_factor(monkeypatch):
    monkeypatch.setattr(data, "NOISE", 0.0)
    clips_a, clips_b, factor, _ = data.Shapes().draw_pairs(20, generator())
    assert factor.tolist() == [0, 1] * 10
    for a, b in zip(clips_a[1::2, 0], clips_b[1::2, 0], strict=True):
        frames = [[torch.equal(x, y) for y in b] for x in a]
        assert all(any(row) for row in frames)  # a permutation
    assert any(not torch.equal(a, b) for a, b in zip(clips_a[1::2], clips_b[1::2], strict=True))
    # A change from frame to frame is where the shape moves, whatever it and its background look like.
    where = [(clips[0::2].diff(dim=2).abs() > 1e-3) for clips in (clips_a, clips_b)]
    agree = (where[0] & where[1]).sum() / (where[0] | where[1]).sum()
    assert agree > 0.9 and not torch.allclose(clips_a[0::2], clips_b[0::2])


def test_plain_clips_have_any_texture():
    clips = data.Shapes().plain_clips(4000, generator())
    table = (4 * clips.label + clips.shortcut).bincount(minlength=16) / 4000
    assert ((table - 1 / 16).abs() < 5 * math.sqrt(1 / 16 / 4000)).all()


def test_backgrounds_lie_between_the_orientations_of_textures():
    """By the direction of their gradients, doubled so that both sides of a stripe agree."""
    pictures = data.Shapes().backgrounds(64, generator())
    assert pictures.shape == (64, 1, data.SIZE, data.SIZE)
    rows, columns = (pictures[:, 0].diff(dim=dim) for dim in (1, 2))
    rows, columns = rows[:, :, :-1], columns[:, :-1]
    doubled = torch.complex(columns, rows).square().flatten(1).sum(1)
    steps = (doubled.angle() / 2).remainder(math.pi) / (math.pi / data.TEXTURES)  # 0, 1, 2, 3 are textures
    assert ((steps - 0.5).remainder(1.0) - 0.5).abs().min() > 0.3
    assert set(steps.floor().int().tolist()) == {0, 1, 2, 3}


def test_pairs_of_a_moving_camera_share_its_pan(monkeypatch):
    monkeypatch.setattr(data, "NOISE", 0.0)
    pairs = data.Shapes("moving").draw_pairs(20, generator())
    still = data.Shapes("still").draw_pairs(20, generator())
    assert pairs.factor.tolist() == still.factor.tolist() == [0, 1] * 10 and pairs.label.shape == (20,)
    where = [(video[0::2].diff(dim=2).abs() > 1e-3).double().mean() for video in (pairs.video_a, still.video_a)]
    assert where[0] > 2 * where[1]  # all of the picture changes
