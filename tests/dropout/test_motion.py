"""Masks from motion: against the definition in plain NumPy, on known shapes, in still clips, and as a camera pans."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from experiments.debias import data
from sdfast import masks
from sdfast.dropout.camera import find_pans


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def expected_mask(video: np.ndarray, window: int, close: int) -> tuple[np.ndarray, float]:
    """Return the mask (T, H, W) of a clip (C, T, H, W) as the documentation defines it, and how near a tie was."""
    colors, frames, height, width = video.shape
    change = [((video[:, t + 1] - video[:, t]) ** 2).sum(0) / colors for t in range(frames - 1)]
    motion = np.empty((frames, height, width))
    for t in range(frames):
        larger = np.maximum(change[max(t - 1, 0)], change[min(t, frames - 2)])
        for y, x in np.ndindex(height, width):
            motion[t, y, x] = np.sqrt(around(larger, y, x, window // 2).mean())
    threshold = max(otsu(motion), *floors(video, window))
    if motion.max() <= (1.7 + 4 / window) * floors(video, window)[0] / (1 + 3 / window):
        threshold = motion.max()
    closed = [closing(frame > threshold, close // 2) for frame in motion]
    return 1.0 - np.array(closed), np.abs(motion[motion != threshold] - threshold).min(initial=np.inf)


def around(picture: np.ndarray, y: int, x: int, reach: int) -> np.ndarray:
    return picture[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]


def otsu(values: np.ndarray) -> float:
    """Return the edge between bins by trying each, with the variances within both parts."""
    edges = np.linspace(values.min(), values.max(), 65)
    bins = np.clip(np.searchsorted(edges, values.ravel(), side="right") - 1, 0, 63)
    within = {}
    for edge in range(1, 64):
        below, above = bins[bins < edge], bins[bins >= edge]
        if len(below) and len(above):
            within[edge] = len(below) * below.var() + len(above) * above.var()
    return edges[min(within, key=lambda edge: round(within[edge], 6))] if within else values.max()


def floors(video: np.ndarray, window: int) -> tuple[float, float]:
    sparse = video[..., ::2, ::2]
    unsteady = np.diff(sparse, axis=1)
    if unsteady.shape[1] > 1:
        unsteady = np.diff(unsteady, axis=1) / np.sqrt(3)
    ordered = np.sort(np.abs(unsteady), axis=None)
    noise = ordered[(len(ordered) - 1) // 2] / 0.6745
    return (1 + 3 / window) * noise, 0.1 * np.mean([color.std() for color in sparse])


def closing(region: np.ndarray, reach: int) -> np.ndarray:
    grown, shrunk = np.empty_like(region), np.empty_like(region)
    for y, x in np.ndindex(region.shape):
        grown[y, x] = around(region, y, x, reach).any()
    for y, x in np.ndindex(region.shape):
        shrunk[y, x] = around(grown, y, x, reach).all()
    return shrunk


@pytest.mark.parametrize(
    ("shape", "window", "close"),
    [
        ((1, 8, 24, 24), 3, 9),
        ((3, 4, 17, 10), 5, 5),
        ((2, 2, 9, 13), 1, 3),
        ((3, 3, 7, 30), 3, 1),
        ((1, 5, 1, 40), 7, 11),
    ],
)
def test_masks_are_those_of_the_definition(shape, window, close):
    colors, frames, height, width = shape
    seen = 0
    for seed in range(4):
        video = 0.1 * torch.randn(1, *shape, generator=generator(seed))
        video += torch.rand(1, colors, 1, height, width, generator=generator(seed + 50))
        for t in range(frames):
            video[0, :, t, height // 3 : height // 3 + 4, 2 * t + 1 : 2 * t + 5] += 1 + seed
        expected, margin = expected_mask(video[0].double().numpy(), window, close)
        assert margin > 1e-6, "a tie: choose another seed"
        assert np.array_equal(masks.from_motion(video, window=window, close=close)[0].numpy(), expected)
        seen += 0 < expected.mean() < 1
    assert seen, "masks of all 0 or all 1 prove little"


def test_masks_of_the_experiments_clips_are_those_of_the_definition():
    video = data.Shapes().shifted_clips(3, generator()).video
    for clip, mask in zip(video, masks.from_motion(video), strict=True):
        expected, margin = expected_mask(clip.double().numpy(), 3, 9)
        assert margin > 1e-6 and np.array_equal(mask.numpy(), expected) and 0.3 < expected.mean() < 1


def overlap(mask: torch.Tensor, shape: torch.Tensor) -> float:
    """Return the intersection over union of what is dynamic with the shape, on average over clips."""
    dynamic = mask < 0.5
    both, either = (part.flatten(1).sum(1) for part in (dynamic & shape, dynamic | shape))
    return (both / either).mean().item()


@pytest.mark.parametrize(
    ("camera", "least", "most_of_video"), [("still", 0.47, 0.35), ("moving", 0.46, 0.24)], ids=["still", "panning"]
)
def test_motion_finds_shapes_that_the_median_over_time_does_not(camera, least, most_of_video):
    clips = data.Shapes(camera).shifted_clips(256, generator(1))
    assert overlap(masks.from_video(clips.video), clips.shape) < most_of_video
    assert overlap(masks.from_motion(clips.video), clips.shape) > least
    assert overlap(masks.from_motion(clips.video, camera="moving"), clips.shape) > least


def test_a_camera_that_pans_at_its_fastest_costs_little(monkeypatch):
    uniform = data.uniform
    fastest = lambda low, high, *rest: uniform(high if high == data.PAN else low, high, *rest)  # noqa: E731
    monkeypatch.setattr(data, "uniform", fastest)
    clips = data.Shapes("moving").shifted_clips(256, generator(1))
    still, moving = (
        overlap(masks.from_motion(clips.video, camera=camera), clips.shape) for camera in ("still", "moving")
    )
    assert overlap(masks.from_video(clips.video), clips.shape) < 0.18
    assert still > 0.42 and moving > 0.45


@pytest.mark.parametrize("window", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(1, 8, 24, 24), (3, 16, 40, 40), (1, 2, 64, 64), (3, 3, 5, 9)], ids=str)
def test_noise_alone_is_static(shape, window):
    colors, _, height, width = shape
    scene = 3 * torch.rand(20, colors, 1, height, width, generator=generator(5))
    noise = torch.randn(20, *shape, generator=generator(6))
    for video in (scene + 0.5 * noise, scene + 0.01 * noise, noise, (100 + 4 * noise).round().byte()):
        assert (masks.from_motion(video, window=window) == 1).all()


def test_still_blank_and_single_frames_are_static():
    still = torch.rand(2, 3, 1, 12, 12, generator=generator()).expand(2, 3, 5, 12, 12)
    for camera in ("still", "moving"):
        assert (masks.from_motion(still, camera=camera) == 1).all()
        assert (masks.from_motion(still[:, :, :1], camera=camera) == 1).all()
        assert (masks.from_motion(torch.full((2, 3, 4, 8, 8), 7, dtype=torch.uint8), camera=camera) == 1).all()
    assert masks.from_motion(still[:0]).shape == (0, 5, 12, 12)


def test_what_compression_changes_is_static_and_a_thing_that_moves_over_it_is_not():
    """Every fourth frame is coded anew: all of it changes a little, and the median of changes is 0."""
    scene = 100 * torch.rand(1, 3, 1, 32, 32, generator=generator())
    errors = 3 * torch.rand(1, 3, 3, 32, 32, generator=generator(1)).repeat_interleave(4, dim=2)
    assert (masks.from_motion(scene + errors) == 1).all()
    video = scene + errors
    for t in range(12):
        video[..., t, 10:16, 2 * t : 2 * t + 6] = 150
    mask = masks.from_motion(video)
    assert (mask[..., 20:, :] == 1).all() and (mask[0, 6, 10:16, 12:18] == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("frames", [6, 1])
@pytest.mark.parametrize("camera", ["still", "moving"])
def test_a_clip_with_nan_or_inf_has_no_mask(camera, frames, bad):
    video = torch.rand(3, 3, frames, 16, 16, generator=generator())
    sound = masks.from_motion(video, camera=camera)
    video[1, 2, frames // 2, 5, 4] = bad
    mask = masks.from_motion(video, camera=camera)
    assert mask[1].isnan().all() and torch.equal(mask[[0, 2]], sound[[0, 2]])


def test_neither_units_nor_time_nor_memory_nor_other_clips_matter():
    video = data.Shapes().shifted_clips(6, generator(3)).video
    mask = masks.from_motion(video)
    assert torch.equal(masks.from_motion(1024 * video), mask)
    assert torch.equal(masks.from_motion(video.flip(2)), mask.flip(1))
    assert torch.equal(masks.from_motion(video.transpose(3, 4)), mask.transpose(2, 3))
    assert torch.equal(masks.from_motion(video.double()), mask)
    assert torch.equal(masks.from_motion(video[2:4]), mask[2:4])
    strided = video.repeat_interleave(2, dim=4)[..., ::2]
    assert torch.equal(masks.from_motion(strided), mask)
    as_bytes = (60 * video + 128).round().clamp(0, 255).byte()
    assert torch.equal(masks.from_motion(as_bytes), masks.from_motion(as_bytes.float()))


def test_soft_edges_fade_over_as_many_pixels():
    video = data.Shapes().shifted_clips(4, generator()).video
    hard, soft = masks.from_motion(video), masks.from_motion(video, soft=2)
    assert set(hard.unique().tolist()) == {0.0, 1.0} and soft.min() >= 0 and soft.max() <= 1
    expected = functional.avg_pool2d(hard, 5, stride=1, padding=2, count_include_pad=False)
    torch.testing.assert_close(soft, expected)


def panned(pan: tuple[float, float], frames: int = 8, size: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a clip (1, 3, T, H, W) of a camera over a texture, with a disc that moves, and where that is."""
    texture = 2 * torch.rand(1, 3, 60, 60, generator=generator(7))
    texture = functional.interpolate(texture, scale_factor=4, mode="bicubic")
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    video, shape = [], []
    for t in range(frames):
        places = torch.stack([columns + 70 + pan[1] * t, rows + 70 + pan[0] * t], dim=-1)
        scene = functional.grid_sample(texture, 2 * places[None] / 239 - 1, align_corners=True)
        disc = (rows - 25 - 2 * t).square() + (columns - 50 + 3 * t).square() < 40
        frame = torch.where(disc, torch.tensor([1.5, -0.5, 0.5]).view(3, 1, 1), scene)
        video.append(frame + 0.02 * torch.randn(frame.shape, generator=generator(t)))
        shape.append(disc)
    return torch.stack(video, dim=2), torch.stack(shape)[None]


@pytest.mark.parametrize("pan", [(0.0, 0.0), (0.3, -0.4), (-1.6, 0.7), (0.0, 3.3), (2.5, -2.5)])
def test_a_camera_that_pans_is_followed(pan):
    video, shape = panned(pan)
    assert (find_pans(video) + torch.tensor(pan)).abs().max() < 0.1, "pixels"
    mask = masks.from_motion(video, camera="moving")
    assert mask[shape].mean() < 0.05 and mask[~shape].mean() > 0.95
    if max(map(abs, pan)) > 2:
        assert overlap(masks.from_motion(video), shape) < overlap(mask, shape) - 0.3


def test_pictures_without_a_common_part_have_some_pan_or_other():
    cuts = 100 * torch.rand(4, 3, 6, 30, 50, generator=generator()).repeat_interleave(10, dim=4)
    for video in (cuts, cuts[..., :3, :3], cuts[..., :1, :]):
        assert find_pans(video).isfinite().all() and not masks.from_motion(video, camera="moving").isnan().any()
    assert not find_pans(torch.ones(2, 1, 3, 20, 20)).any()


def test_masks_are_made_without_a_look_at_the_values():
    """On a device without values, what waits for one raises; so a GPU is never waited for."""
    video = torch.empty(2, 3, 4, 32, 32, device="meta")
    for camera in ("still", "moving"):
        mask = masks.from_motion(video, camera=camera, soft=1)
        assert mask.shape == (2, 4, 32, 32) and mask.dtype == torch.float32 and mask.is_meta


V = torch.zeros(2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: masks.from_motion(V[0]), ValueError, r"video: expected shape \(N, C, T, H, W\), got \(3, 4, 5, 6\)"),
        (lambda: masks.from_motion(V.numpy()), TypeError, r"video: expected a torch\.Tensor, got ndarray"),
        (lambda: masks.from_motion(V.cfloat()), TypeError, r"video: expected real numbers, got torch\.complex64"),
        (lambda: masks.from_motion(V[:, :, :0]), ValueError, r"video: .* no empty dimension, got shape \(2, 3, 0"),
        (
            lambda: masks.from_motion(V.transpose(1, 2)),
            ValueError,
            r"got \(2, 4, 3, 5, 6\), which looks like \(N, T, C",
        ),
        (lambda: masks.from_motion(V, window=2), ValueError, "window: expected an odd number of pixels, got 2"),
        (lambda: masks.from_motion(V, close=0), ValueError, "close: expected an odd number of pixels, got 0"),
        (lambda: masks.from_motion(V, camera="pan"), ValueError, "camera: expected one of still, moving, got 'pan'"),
        (lambda: masks.from_motion(V, soft=-1), ValueError, "soft: expected an integer from 0 on, got -1"),
        (lambda: masks.from_motion(V, soft=True), ValueError, "soft: expected an integer from 0 on, got True"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
