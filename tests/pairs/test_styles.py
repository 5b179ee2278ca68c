"""Styles and flow: appearance changes, motion stays (and for flow jitter, the other way round)."""

import itertools
import sys

import numpy as np
import pytest

from sdfast.pairs.flow_pairs import flow_images, jitter_flow
from sdfast.pairs.styles import DEFAULT_STYLES, STYLES, apply_style, check_styles

rng = np.random.default_rng


@pytest.fixture
def moving_square() -> np.ndarray:
    """Return uint8 (6, 48, 80, 3): a bright square that moves 8 pixels a frame over a dark ground, both grainy."""
    ground = np.array((50, 60, 100)) + rng(0).integers(-9, 10, (48, 80, 1))
    square = np.array((220, 190, 90)) + rng(1).integers(-25, 26, (16, 16, 1))
    frames = np.repeat(ground[None], 6, axis=0).astype(np.uint8)
    for t, frame in enumerate(frames):
        frame[16:32, 8 + 8 * t : 24 + 8 * t] = square
    return frames


def centre_of_change(frames: np.ndarray) -> np.ndarray:
    """Return (T,): the middle column of where a frame differs most from the usual look of its pixels."""
    change = np.abs(frames.astype(float) - np.median(frames, axis=0)).sum(axis=-1)
    strong = change > change.max(axis=(1, 2), keepdims=True) / 3
    return np.array([np.median(np.nonzero(frame)[1]) for frame in strong])


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_motion_stays(name, seed, moving_square):
    generator = None if seed is None else rng(seed)
    styled = apply_style(name, moving_square, generator)
    assert styled.shape == moving_square.shape and styled.dtype == np.uint8
    assert np.allclose(centre_of_change(styled), 15.5 + 8 * np.arange(6), atol=4)


@pytest.mark.parametrize("name", STYLES)
def test_one_appearance_for_all_frames(name):
    frame = rng(0).integers(0, 255, (1, 27, 48, 3), dtype=np.uint8)
    styled = apply_style(name, np.repeat(frame, 3, axis=0), rng(5))
    assert np.array_equal(styled[0], styled[1]) and np.array_equal(styled[0], styled[2])


@pytest.mark.parametrize("name", STYLES)
def test_the_rng_decides_strengths_and_nothing_else_does(name, moving_square):
    assert np.array_equal(apply_style(name, moving_square, rng(1)), apply_style(name, moving_square, rng(1)))
    assert not np.array_equal(apply_style(name, moving_square, rng(1)), apply_style(name, moving_square, rng(2)))
    assert np.array_equal(apply_style(name, moving_square), apply_style(name, moving_square))


def test_styles_differ_from_each_other_and_from_the_frames(moving_square):
    looks = [moving_square, *(apply_style(name, moving_square) for name in STYLES)]
    for one, other in itertools.combinations(looks, 2):
        assert np.abs(one.astype(int) - other).mean() > 5


def of_opencv(name, frame):
    """Return what OpenCV makes of a frame, at the middle of the strengths for a longer side of 80 pixels."""
    cv2 = pytest.importorskip("cv2")
    if name == "stylization":
        return cv2.stylization(frame, sigma_s=10, sigma_r=0.45)
    if name == "pencil":
        return cv2.pencilSketch(frame, sigma_s=10, sigma_r=0.12, shade_factor=0.05)[1]
    smooth = cv2.edgePreservingFilter(frame, flags=cv2.RECURS_FILTER, sigma_s=10, sigma_r=0.6)
    return np.round(255 * np.round(smooth / 255 * 4) / 4).astype(np.uint8)


@pytest.mark.parametrize("name", ["stylization", "pencil", "poster"])
def test_pictures_are_those_of_opencv(name, moving_square):
    wanted = np.stack([of_opencv(name, frame[..., ::-1])[..., ::-1] for frame in moving_square])
    found = apply_style(name, moving_square)
    assert (found == wanted).mean() > 0.998
    error = np.mean((found.astype(float) - wanted) ** 2)
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 50  # decibels of PSNR


@pytest.mark.parametrize("name", STYLES)
def test_inputs_are_left_alone_and_may_be_tiny(name):
    frames = rng(0).integers(0, 255, (2, 5, 7, 3), dtype=np.uint8)
    frames.setflags(write=False)
    assert apply_style(name, frames, rng(0)).shape == frames.shape


def test_wrong_frames():
    with pytest.raises(ValueError, match=r"frames: expected uint8 \(T, H, W, 3\), got float64 \(2, 4, 4, 3\)"):
        apply_style("pencil", np.zeros((2, 4, 4, 3)))


def test_unknown_styles():
    assert check_styles("pencil") == ("pencil",)
    assert set(DEFAULT_STYLES) <= set(STYLES) and len(DEFAULT_STYLES) == 4
    with pytest.raises(ValueError, match="no style 'colourmap'; did you mean colormap"):
        check_styles(["pencil", "colourmap"])
    with pytest.raises(ValueError, match="no style 'xyz'; known are stylization, pencil"):
        check_styles(["xyz"])
    with pytest.raises(ValueError, match="expected each style once"):
        check_styles(["pencil", "pencil"])
    with pytest.raises(ValueError, match="expected at least one"):
        check_styles([])


def test_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install 'sdfast\[video\]'"):
        apply_style("pencil", np.zeros((1, 8, 8, 3), np.uint8))


def test_flow_shows_direction_and_speed():
    texture = (128 + 90 * np.sin(np.add.outer(np.arange(64) / 3, np.arange(64) / 4))).astype(np.uint8)
    frames = np.stack([np.roll(texture, 2 * t, axis=1) for t in range(4)])[..., None].repeat(3, axis=-1)
    right, left = flow_images(frames), flow_images(frames[::-1])
    assert right.shape == frames.shape and np.array_equal(right[-1], right[-2])
    middle = np.s_[:, 20:44, 20:44]
    # Hue 0 (red) is to the right, the opposite hue (cyan) to the left.
    assert right[middle][..., 0].mean() > right[middle][..., 2].mean() + 30
    assert left[middle][..., 2].mean() > left[middle][..., 0].mean() + 30
    with pytest.raises(ValueError, match="frames: expected at least 2"):
        flow_images(frames[:1])


def test_jitter_is_drawn_anew_for_every_frame_and_keeps_rest_white():
    image = np.full((1, 8, 8, 3), 255, np.uint8)
    image[:, :4] = (200, 60, 40)
    images = image.repeat(6, axis=0)
    jittered = jitter_flow(images, rng(3))
    assert (jittered[:, 4:] == 255).all()
    assert len({tuple(frame[0, 0]) for frame in jittered}) == 6
    assert np.array_equal(jittered, jitter_flow(images, rng(3)))


def test_jitter_keeps_to_its_range():
    """Saturation stays within [0, 2] times its old value, and hue turns both ways by up to half the circle."""
    colour = np.array([150, 100, 100], np.uint8)
    images = np.broadcast_to(colour, (400, 1, 1, 3)).copy()
    jittered = jitter_flow(images, rng(0))[:, 0, 0].astype(float)
    spread = jittered.max(axis=1) - jittered.min(axis=1)
    assert spread.min() < 10 and 80 < spread.max() <= 2 * 50 + 2
    assert {int(i) for i in jittered.argmax(axis=1)} == {0, 1, 2}
