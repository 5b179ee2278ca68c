"""The clips of the experiment: what is in them, and what a camera that moves does to them."""

import math
from dataclasses import replace

import pytest
import torch

from experiments.debias import data


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_clips_are_those_of_their_seed():
    first, same, other = (data.train_clips(6, generator(seed)) for seed in (1, 1, 2))
    assert first.video.shape == (6, 1, data.FRAMES, data.SIZE, data.SIZE) and first.video.dtype == torch.float32
    assert torch.equal(first.video, same.video) and not torch.equal(first.video, other.video)


def test_texture_predicts_the_motion_in_training_only():
    train_ones, shifted = data.train_clips(4000, generator()), data.shifted_clips(4000, generator())
    agree = (train_ones.texture == train_ones.label).double().mean().item()
    assert abs(agree - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)
    assert not (shifted.texture == shifted.label).any()
    for clips in (train_ones, shifted):
        assert (clips.label.bincount(minlength=4) > 800).all()
    assert (shifted.texture.bincount(minlength=4) > 800).all()


def test_a_camera_that_moves_takes_texture_and_shape_with_it(monkeypatch):
    """With whole pixels a frame, each frame is the one before, moved, off the edges and the shape's own way."""
    monkeypatch.setattr(data, "NOISE", 0.0)
    labels, looks = torch.arange(4), data._draw_appearance(torch.arange(4), generator())
    motion = replace(data._draw_motion(labels, generator()), speed=torch.zeros(4), pan=torch.tensor([[2.0, -1.0]] * 4))
    clips = data._render(motion, looks, generator())
    moved = clips.video[:, :, :-1].roll((-2, 1), dims=(3, 4))
    torch.testing.assert_close(moved[..., 2:-2, 2:-2], clips.video[:, :, 1:, 2:-2, 2:-2])
    pans = data._draw_motion(torch.zeros(1000, dtype=torch.int64), generator(), "moving").pan.norm(dim=1)
    assert 0 <= pans.min() < 0.01 and 0.49 < pans.max() <= data.PAN


def test_a_still_camera_sees_what_it_saw():
    still = data.shifted_clips(8, generator())
    assert torch.equal(still.video, data.shifted_clips(8, generator(), "still").video)
    assert not torch.equal(still.video, data.shifted_clips(8, generator(), "moving").video)
    with pytest.raises(ValueError, match="camera: expected one of still, moving, got 'panning'"):
        data.train_clips(8, generator(), "panning")


@pytest.mark.parametrize("label", range(4))
def test_shapes_move_as_their_label_says(label, monkeypatch):
    monkeypatch.setattr(data, "SPEED", (2.0, 2.0))
    clips = data._draw(torch.full((8,), label), torch.zeros(8, dtype=torch.int64), generator())
    rows, columns = {"right": (0, 2), "down": (2, 0), "left": (0, -2), "up": (-2, 0)}[data.MOTIONS[label]]
    moved = clips.shape[:, :-1].roll((rows, columns), dims=(2, 3))
    differing = (moved != clips.shape[:, 1:]).double().mean().item()
    still = (clips.shape[:, :-1] != clips.shape[:, 1:]).double().mean().item()
    assert differing < 0.01 < still  # rounding may move a pixel of the outline


def test_all_that_changes_lies_off_the_mask(monkeypatch):
    monkeypatch.setattr(data, "NOISE", 0.0)
    clips = data.train_clips(16, generator())
    mask = clips.mask
    assert mask.shape == clips.shape.shape and set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0.5 < mask.mean() < 0.95
    video, still = clips.video[:, 0], mask.bool()
    background = torch.where(still, video, torch.nan).nanmedian(dim=1, keepdim=True).values
    assert torch.allclose(video[still], background.expand_as(video)[still], atol=1e-6)
    assert ((video - background).abs() > 0.05)[~still].double().mean() > 0.8


def test_pairs_share_one_factor(monkeypatch):
    monkeypatch.setattr(data, "NOISE", 0.0)
    clips_a, clips_b, factor = data.draw_pairs(20, generator())
    assert factor.tolist() == [0, 1] * 10
    for a, b in zip(clips_a[1::2, 0], clips_b[1::2, 0], strict=True):
        frames = [[torch.equal(x, y) for y in b] for x in a]
        assert all(any(row) for row in frames)  # a permutation
    assert any(not torch.equal(a, b) for a, b in zip(clips_a[1::2], clips_b[1::2], strict=True))
    # A change from frame to frame is where the shape moves, whatever it and its background look like.
    where = [(clips[0::2].diff(dim=2).abs() > 1e-3) for clips in (clips_a, clips_b)]
    agree = (where[0] & where[1]).sum() / (where[0] | where[1]).sum()
    assert agree > 0.9 and not torch.allclose(clips_a[0::2], clips_b[0::2])
