"""The evaluation sets: that each is what it says, and keeps nothing of what it should remove."""

import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from sdfast.commands.ood import SETS
from sdfast.pairs import ood
from sdfast.pairs.appearance_free import _carry
from tests.support.paths import ROOT

DTYPES = (torch.uint8, torch.float16, torch.float32, torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Scene(NamedTuple):
    """Squares (N, C, T, H, W) that move over textures (N, C, H, W), and masks (N, T, H, W): 1 off the square."""

    video: Tensor
    mask: Tensor
    texture: Tensor


def squares(number: int = 3, frames: int = 5, dtype: torch.dtype = torch.uint8, seed: int = 0) -> Scene:
    drawn = generator(seed)
    texture, fill = (torch.randint(256, (number, 3, *size), generator=drawn) for size in ((16, 20), (1, 1)))
    video, mask = texture.unsqueeze(2).repeat(1, 1, frames, 1, 1), torch.ones(number, frames, 16, 20)
    for n in range(number):
        for t in range(frames):
            rows, columns = slice(4 + n % 6, 10 + n % 6), slice(1 + 3 * t, 5 + 3 * t)
            video[n, :, t, rows, columns] = fill[n]
            mask[n, t, rows, columns] = 0
    scale = 1 if dtype == torch.uint8 else 255
    return Scene((video / scale).to(dtype), mask, (texture / scale).to(dtype))


def poison(video: Tensor, where: Tensor) -> Tensor:
    """Return a video with other values where a mask (N, T, H, W) says so."""
    other = torch.where(video > video.float().median(), torch.zeros_like(video), video + 1)
    return torch.where(where.bool().unsqueeze(1), other, video)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mask_dtype", [torch.float32, torch.bool, torch.uint8], ids=str)
def test_scuba_has_the_motion_and_nothing_of_its_background(dtype, mask_dtype):
    scene, new = squares(dtype=dtype), squares(dtype=dtype, seed=1).texture
    mask = scene.mask.to(mask_dtype)
    clips = ood.scuba(scene.video, mask, new)
    static = scene.mask.bool().unsqueeze(1).expand_as(clips)
    assert clips.dtype == dtype and clips.shape == scene.video.shape
    assert torch.equal(clips[static], new.unsqueeze(2).expand_as(clips)[static])
    assert torch.equal(clips[~static], scene.video[~static])
    assert torch.equal(clips, ood.scuba(poison(scene.video, scene.mask), mask, new))
    moving = squares(dtype=dtype, seed=2).video
    assert torch.equal(ood.scuba(scene.video, mask, moving)[static], moving[static])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64], ids=str)
def test_soft_masks_mix_as_the_formula_says(dtype):
    scene, new = squares(dtype=dtype), squares(dtype=dtype, seed=1).texture
    soft = torch.rand(scene.mask.shape, generator=generator())
    share = soft.numpy().astype(np.float64)[:, None]
    expected = scene.video.double().numpy() * (1 - share) + new.double().numpy()[:, :, None] * share
    found = ood.scuba(scene.video, soft, new).double().numpy()
    # half a level of rounding; float32 shares may fall on the other side of it
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.5001 if dtype == torch.uint8 else 1e-12)


def test_scufo_is_still():
    video = squares(number=40).video
    clips = ood.scufo(video, generator=generator())
    assert torch.equal(clips, clips[:, :, :1].expand_as(clips)) and clips.is_contiguous()
    drawn = [[torch.equal(clips[n, :, 0], video[n, :, t]) for t in range(5)] for n in range(40)]
    assert np.sum(drawn, axis=1).tolist() == [1] * 40 and np.sum(drawn, axis=0).min() >= 2
    assert torch.equal(clips, ood.scufo(video, generator=generator()))
    assert torch.equal(ood.scufo(video, 3)[:, :, 0], video[:, :, 3])


def test_conflicting_clips_have_a_still_foreground_behind_the_one_that_moves():
    scene, other, new = squares(), squares(frames=4, seed=1), squares(seed=2).texture
    other = other._replace(video=other.video.roll(4, 3), mask=other.mask.roll(4, 2))
    arguments = scene.mask, new, other.video, other.mask
    clips = ood.conflicting(scene.video, *arguments, frame=2)
    moves, misleads = ~scene.mask.bool(), ~other.mask[:, 2:3].bool().expand_as(scene.mask)
    for where, expected in (
        (moves, scene.video),
        (misleads & ~moves, other.video[:, :, 2:3].expand_as(clips)),
        (~misleads & ~moves, new.unsqueeze(2).expand_as(clips)),
    ):
        where = where.unsqueeze(1).expand_as(clips)
        assert where.any() and torch.equal(clips[where], expected[where])
    cleaned = poison(other.video, other.mask)
    again = ood.conflicting(poison(scene.video, scene.mask), scene.mask, new, cleaned, other.mask, frame=2)
    assert torch.equal(clips, again)
    drawn = [ood.conflicting(scene.video, *arguments, generator=generator(7)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert any(torch.equal(drawn[0][0], ood.conflicting(scene.video, *arguments, frame=t)[0]) for t in range(4))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_background_only_shows_what_was_hidden(dtype):
    scene = squares(frames=8, dtype=dtype)
    clips = ood.background_only(scene.video, scene.mask)
    assert clips.dtype == dtype and torch.equal(clips, scene.texture.unsqueeze(2).expand_as(clips))


def test_hidden_positions_are_as_in_the_nearest_frame_that_shows_them():
    video = torch.rand(2, 3, 7, 4, 5, generator=generator(), dtype=torch.float64)
    mask = (torch.rand(2, 7, 4, 5, generator=generator(1)) < 0.4).float()
    mask[:, 3] = torch.maximum(mask[:, 3], 1 - mask.amax(dim=1))  # each position is seen at least once
    expected = video.clone()
    for n, t, i, j in np.argwhere(mask.numpy() == 0):
        seen = np.flatnonzero(mask[n, :, i, j].numpy())
        expected[n, :, t, i, j] = video[n, :, seen[np.abs(seen - t).argmin()], i, j]
    assert torch.equal(ood.background_only(video, mask), expected)


def test_what_no_frame_shows_is_as_its_surroundings():
    scene = squares(number=2)
    flat = scene._replace(video=torch.where(scene.mask.bool().unsqueeze(1), 70, scene.video))
    hidden = flat.mask.amin(dim=1, keepdim=True).expand_as(flat.mask)  # a mask that covers the whole way of the square
    assert (ood.background_only(flat.video, hidden) == 70).all()
    ramp = torch.arange(20.0).expand(1, 1, 1, 16, 20)
    mask = torch.ones(1, 1, 16, 20)
    mask[..., 5:11, 7:13] = 0
    filled = ood.background_only(ramp, mask)
    assert (filled - ramp).abs().max() < 3 and 6 <= filled[0, 0, 0, 5:11, 7:13].min() <= filled[..., 7:13].max() <= 13
    assert torch.equal(filled, ood.background_only(poison(ramp, 1 - mask), mask))
    nothing = ood.background_only(ramp, torch.zeros_like(mask))
    torch.testing.assert_close(nothing, torch.full_like(ramp, ramp.mean().item()))


def test_foreground_only_has_one_colour_behind_what_moves():
    scene = squares()
    static = scene.mask.bool().unsqueeze(1).expand_as(scene.video)
    fill = torch.tensor([10.0, 20.0, 30.0])
    clips = ood.foreground_only(scene.video, scene.mask, fill)
    assert torch.equal(clips[~static], scene.video[~static])
    assert torch.equal(clips[static], fill.byte().view(1, 3, 1, 1, 1).expand_as(clips)[static])
    assert torch.equal(clips, ood.foreground_only(poison(scene.video, scene.mask), scene.mask, fill))
    mean = scene.video.double().mean(dim=(0, 2, 3, 4)).round()
    assert ood.foreground_only(scene.video, scene.mask)[0, :, 0, 0, 0].tolist() == mean.tolist()


def test_action_swap_takes_the_background_of_the_same_relative_time():
    scene = squares(frames=5)
    other = squares(frames=9, seed=1)
    panned = torch.stack([other.video[:, :, t] // 2 + 10 * t for t in range(9)], dim=2)
    clips = ood.action_swap(scene.video, scene.mask, panned, other.mask)
    moves = ~scene.mask.bool()
    theirs = ood.background_only(panned, other.mask)
    for t in range(5):
        where = moves[:, t].unsqueeze(1).expand(-1, 3, -1, -1)
        assert torch.equal(clips[:, :, t][where], scene.video[:, :, t][where])
        assert torch.equal(clips[:, :, t][~where], theirs[:, :, 2 * t][~where])
    others_moved = poison(panned, 1 - other.mask)
    again = ood.action_swap(poison(scene.video, scene.mask), scene.mask, others_moved, other.mask)
    assert torch.equal(clips, again)


def moving_squares(way: Tensor) -> tuple[Tensor, Tensor]:
    """Return clips (N, 1, 4, 16, 16) of a square that moves 2 columns a frame, right or left, and their flow.

    A square that moves to the right is bright, and one that moves to the left dark, over noise.
    """
    video = torch.rand(len(way), 1, 4, 16, 16, generator=generator(3))
    flow = torch.zeros(len(way), 2, 3, 16, 16)
    for n, step in enumerate(way.tolist()):
        for t in range(4):
            columns = slice(5 + step * (2 * t - 3), 11 + step * (2 * t - 3))
            video[n, :, t, 4:12, columns] = 0.5 + 0.4 * step
            if t < 3:
                flow[n, 1, t, 4:12, columns] = 2.0 * step
    return video, flow


def accuracy_of_frames(frames: Tensor, way: Tensor) -> float:
    """Return how often a linear classifier of single frames (N, H, W) is right on the second half.

    It sees each row's products of values some columns apart: things that are there twice, besides all that is bright.
    """
    centred = frames - 0.5
    products = [(centred[..., gap:] * centred[..., : frames.shape[-1] - gap]) for gap in (2, 4, 6)]
    seen = torch.cat([frames.flatten(1), *(part.sum(dim=1) for part in products)], dim=1)
    seen = torch.cat([seen, torch.ones(len(seen), 1)], dim=1).double()
    train, test = seen.chunk(2)
    ridge = train.T @ train + 10 * torch.eye(train.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(ridge, train.T @ way[: len(train)].double())
    return ((test @ weights).sign() == way[len(train) :]).double().mean().item()


def test_no_frame_of_appearance_free_clips_tells_the_motion():
    way = torch.randint(2, (4000,), generator=generator()) * 2 - 1
    video, flow = moving_squares(way)
    clips = ood.appearance_free(video, flow, generator=generator(1))
    assert accuracy_of_frames(video[:, 0, 2], way) > 0.99
    chance = 4 * 0.5 / 2000**0.5  # four standard deviations
    for t in range(4):
        assert abs(accuracy_of_frames(clips[:, 0, t], way) - 0.5) < chance
    # The same classifier tells it where holes are filled with what has moved on: that noise is there twice.
    once = torch.rand(4000, 1, 16, 16, generator=generator(1))
    assert accuracy_of_frames(_carry(flow, lambda: once)[:, 0, 2], way) > 0.5 + 2 * chance
    # Two frames do tell it: what was in the middle is 2 columns further.
    centred = clips[:, 0, :, 4:12] - 0.5
    right, left = (
        (centred[:, 1, :, a] * centred[:, 2, :, b]).sum((1, 2))
        for a, b in ((slice(6, 8), slice(8, 10)), (slice(8, 10), slice(6, 8)))
    )
    assert ((right > left) == (way > 0)).double().mean() > 0.95


def test_each_value_goes_with_the_flow_and_is_in_one_place():
    """Of those that meet, the fastest stays; where none comes, the noise is new."""
    flow = torch.randint(-3, 4, (2, 2, 1, 9, 11), generator=generator())
    first, second = ood.appearance_free(torch.zeros(2, 1, 2, 9, 11), flow.double(), generator=generator())[:, 0].unbind(
        1
    )
    arrived = {}
    for n, i, j in np.ndindex(2, 9, 11):
        down, right = flow[n, :, 0, i, j].tolist()
        arrived.setdefault((n, i + down, j + right), []).append((down**2 + right**2, first[n, i, j].item()))
    for n, i, j in np.ndindex(2, 9, 11):
        speeds = [speed for speed, _ in arrived.get((n, i, j), [])]
        fastest = [value for speed, value in arrived.get((n, i, j), []) if speed == max(speeds)]
        assert (second[n, i, j].item() in fastest) if fastest else (second[n, i, j] not in first)
    assert all(len(clip.unique()) == 9 * 11 for clip in second)
    assert max(map(len, arrived.values())) > 2


def test_noise_stays_noise_in_any_flow_and_steps_of_less_than_a_pixel_add_up():
    smooth = torch.nn.functional.avg_pool2d(4 * torch.randn(4, 2, 37, 45, generator=generator()), 6, stride=1)
    flow = 6 * smooth.unsqueeze(2).expand(-1, -1, 5, -1, -1)
    clips = ood.appearance_free(torch.zeros(4, 1, 6, 32, 40, dtype=torch.float64), flow, generator=generator())
    assert flow.abs().max() > 3 and clips.dtype == torch.float64
    for frame in clips.transpose(1, 2).flatten(0, 1):
        assert len(frame.unique()) == frame.numel()
        assert abs(frame.mean() - 0.5) < 0.05 and abs(frame.std() - 12**-0.5) < 0.03
    whole = torch.zeros(1, 2, 4, 10, 12)
    whole[:, 0], whole[:, 1] = 0.5, -1.25  # rests add up: after four frames 2 rows and 5 columns
    clip = ood.appearance_free(torch.zeros(1, 3, 5, 10, 12), whole, generator=generator())
    assert torch.equal(clip[0, :, 4, 2:, :7], clip[0, :, 0, :-2, 5:])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_flow_is_found_again_in_the_noise(dtype):
    """Also where it was not given, but estimated from the video."""
    pytest.importorskip("cv2")
    texture = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 70, 130, generator=generator()), 3, stride=1)
    texture = ((texture - texture.min()) / (texture.max() - texture.min())).squeeze(0)  # (3, 68, 128)
    frames = []
    for t in range(5):
        frame = texture[:, :64, :64].clone()
        frame[:, 16 + t : 48 + t, 8 + 2 * t : 40 + 2 * t] = texture[:, 30:62, 80:112]
        frames.append(frame)
    video = torch.stack(frames, dim=1)[None]  # (1, 3, 5, 64, 64)
    video = (255 * video).round().byte() if dtype == torch.uint8 else video
    noise = ood.appearance_free(video, generator=generator())
    assert noise.dtype == dtype
    for t in range(4):
        of_video, of_noise = (ood.estimate_flow(clip)[0, :, t] for clip in (video, noise))
        inside = slice(22 + t, 42 + t), slice(14 + 2 * t, 34 + 2 * t)
        for flow, tolerance in ((of_video, 0.2), (of_noise, 0.3)):
            there = flow[:, inside[0], inside[1]].flatten(1).median(dim=1).values
            torch.testing.assert_close(there, torch.tensor([1.0, 2.0]), rtol=0, atol=tolerance)
            assert flow[:, :8].abs().median() < 0.1


def test_stripes_have_two_colours_and_no_two_pictures_are_alike():
    pictures = ood.stripes(20, (24, 40), generator=generator())
    assert pictures.shape == (20, 3, 24, 40) and pictures.dtype == torch.uint8
    for picture in pictures.int():
        colours, counts = picture.flatten(1).unique(dim=1, return_counts=True)
        assert colours.shape == (3, 2) and ((colours.sum(dim=1) - 255).abs() <= 1).all()
        assert 0.25 < counts[0] / counts.sum() < 0.8
        assert (picture.diff(dim=1) != 0).any() or (picture.diff(dim=2) != 0).any()
    assert len(pictures.flatten(1).unique(dim=0)) == 20
    assert torch.equal(pictures, ood.stripes(20, (24, 40), generator=generator()))
    floats = ood.stripes(5, (16, 16), channels=1, dtype=torch.float64, span=(-1.0, 1.0), generator=generator())
    assert (
        floats.shape == (5, 1, 16, 16) and floats.dtype == torch.float64 and -1 <= floats.min() < 0 < floats.max() <= 1
    )


def test_contrasted_accuracy_counts_what_is_right_and_no_longer_right():
    right, still = torch.rand(2, 1000, generator=generator()) < torch.tensor([[0.7], [0.4]])
    expected = np.mean([a and not b for a, b in zip(right.tolist(), still.tolist(), strict=True)])
    assert ood.contrasted_accuracy(right, still) == pytest.approx(expected, abs=1e-12)
    assert ood.contrasted_accuracy(right, right) == 0


def test_the_example_of_the_docs_runs(capsys):
    pytest.importorskip("cv2")
    text = (ROOT / "docs" / "ood.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, "ood.md", "exec"), names)
    assert 0 <= float(capsys.readouterr().out) <= 1
    assert all(f"| `{name}` |" in text for name in SETS)
    assert {names[name].shape for name in ("scuba", "scufo", "conflicting", "swapped", "noise")} == {
        names["clips"].shape
    }


VIDEO, MASK, BACKGROUND = torch.zeros(2, 3, 4, 6, 8), torch.ones(2, 4, 6, 8), torch.zeros(2, 3, 6, 8)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ood.scuba(VIDEO[0], MASK, BACKGROUND), ValueError, r"video: expected shape \(N, C, T, H, W\), got"),
        (lambda: ood.scuba(VIDEO.int(), MASK, BACKGROUND), TypeError, "video: expected uint8 or floating-point values"),
        (lambda: ood.scuba(VIDEO[:0], MASK[:0], BACKGROUND[:0]), ValueError, "video: expected no empty dimension"),
        (lambda: ood.scuba(VIDEO, MASK[0], BACKGROUND), ValueError, r"mask: expected shape \(N, T, H, W\), got"),
        (
            lambda: ood.scuba(VIDEO, MASK[:, :3], BACKGROUND),
            ValueError,
            r"mask: expected \(2, 4, 6, 8\) on cpu like vi",
        ),
        (lambda: ood.scuba(VIDEO, 2 * MASK, BACKGROUND), ValueError, "mask: expected values from 0 to 1, got 2.0"),
        (lambda: ood.scuba(VIDEO, MASK, BACKGROUND[0]), ValueError, r"background: expected shape \(N, C, H, W\) or"),
        (lambda: ood.scuba(VIDEO, MASK, BACKGROUND[:, :1]), ValueError, "background: expected clips like video"),
        (
            lambda: ood.scuba(VIDEO, MASK, VIDEO[:, :, :2]),
            ValueError,
            "background: expected 4 frames like video, got 2",
        ),
        (lambda: ood.scuba(VIDEO, MASK, BACKGROUND.byte()), TypeError, "background: expected dtype torch.float32 like"),
        (lambda: ood.scufo(VIDEO, 4), ValueError, "frame: expected an integer from 0 to 3, got 4"),
        (lambda: ood.scufo(VIDEO.int()), TypeError, "video: expected uint8 or floating-point values, got torch.int32"),
        (lambda: ood.action_swap(VIDEO, MASK, VIDEO[..., :7], MASK[..., :7]), ValueError, "other: expected clips like"),
        (lambda: ood.action_swap(VIDEO, MASK, VIDEO, MASK[:1]), ValueError, r"other_mask: expected \(2, 4, 6, 8\) on"),
        (lambda: ood.conflicting(VIDEO, MASK, BACKGROUND, VIDEO, MASK, 9), ValueError, "frame: expected an integer"),
        (lambda: ood.foreground_only(VIDEO, MASK, torch.zeros(2)), ValueError, r"fill: expected shape \(3,\), one val"),
        (lambda: ood.appearance_free(VIDEO, VIDEO[:, :2]), ValueError, r"flow: expected \(2, 2, 3, 6, 8\) on cpu, got"),
        (
            lambda: ood.appearance_free(VIDEO, torch.zeros(2, 2, 3, 6, 8).int()),
            TypeError,
            "flow: expected floating-poin",
        ),
        (
            lambda: ood.appearance_free(VIDEO, torch.full((2, 2, 3, 6, 8), torch.nan)),
            ValueError,
            "flow: expected finite",
        ),
        (
            lambda: ood.appearance_free(VIDEO, span=(1.0, 1.0)),
            ValueError,
            r"span: expected a least and a greater value",
        ),
        (
            lambda: ood.appearance_free(VIDEO[:, :, :1]),
            ValueError,
            "video: expected at least 2 frames for optical flow",
        ),
        (lambda: ood.appearance_free(VIDEO / 0), ValueError, "video: expected finite values, got NaN or Inf"),
        (lambda: ood.stripes(0, (4, 4)), ValueError, "number: expected a positive integer, got 0"),
        (lambda: ood.stripes(1, (4,)), ValueError, r"size: expected \(height, width\), got \(4,\)"),
        (
            lambda: ood.contrasted_accuracy(MASK[0, 0, 0], MASK[0, 0, 0]),
            TypeError,
            "right_on_scuba: expected dtype torc",
        ),
        (
            lambda: ood.contrasted_accuracy(*torch.ones(2, 0).bool()),
            ValueError,
            "expected the same clips, at least one",
        ),
    ],
)
def test_errors_name_the_argument(make, error, message):
    with pytest.raises(error, match=message):
        make()
