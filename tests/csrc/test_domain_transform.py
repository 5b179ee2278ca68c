"""The smoothing behind the styles gives the pictures of OpenCV's, which is another implementation of the same paper."""

import numpy as np
import pytest

from sdfast.backends import load

cv2 = pytest.importorskip("cv2")
_C = load("cpu")
REACH, CONTRAST = 9.0, 0.3


SHAPES = [(4, 48, 80), (1, 5, 7), (3, 33, 31)]
LINES = [(2, 1, 9), (2, 9, 1)]  # which OpenCV does not take


def grainy(shape) -> np.ndarray:
    """Return uint8 frames with edges and grain."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (shape[0], 6, 8, 3), dtype=np.uint8)
    clip = np.stack([cv2.resize(frame, shape[:0:-1], interpolation=cv2.INTER_NEAREST) for frame in coarse])
    return (clip // 2 + rng.integers(0, 30, clip.shape)).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("recursive", "flags"), [(True, cv2.RECURS_FILTER), (False, cv2.NORMCONV_FILTER)])
def test_smoothing_is_that_of_opencv(shape, recursive, flags):
    frames = grainy(shape)
    wanted = np.stack([cv2.edgePreservingFilter(f, flags=flags, sigma_s=REACH, sigma_r=CONTRAST) for f in frames])
    found = _C.edge_preserving(frames, REACH, CONTRAST, recursive)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 0.51  # it rounds to whole numbers


@pytest.mark.parametrize("shape", [*SHAPES, *LINES], ids=str)
def test_widths_count_what_is_near_after_the_transform(shape):
    """Counted one by one, in float64."""
    frames = grainy(shape)
    radius = np.sqrt(3) * REACH * np.sqrt(3 / 63) * 4
    wanted = np.zeros(frames.shape[:3])
    for axis in (1, 2):
        lines = np.moveaxis(frames, axis, 0).astype(float)
        steps = 1 + REACH / CONTRAST / 255 * np.abs(np.diff(lines, axis=0)).sum(-1)
        places = np.concatenate([np.zeros((1, *steps.shape[1:])), np.cumsum(steps, axis=0)])
        near = np.abs(places[:, None] - places[None]) <= radius
        wanted += np.moveaxis(near.sum(axis=0), 0, axis)
    found = _C.alike_widths(frames, REACH, CONTRAST)
    assert (found == wanted).mean() > 0.999 and np.abs(found - wanted).max() <= 1


def test_one_colour_stays_as_it_is():
    frames = np.full((2, 12, 20, 3), (7, 130, 255), np.uint8)
    for recursive in (True, False):
        np.testing.assert_allclose(_C.edge_preserving(frames, REACH, CONTRAST, recursive), frames, rtol=1e-6)


@pytest.mark.parametrize("shape", [*SHAPES, *LINES], ids=str)
def test_any_strides(shape):
    mirrored = grainy(shape)[:, ::-1, :, ::-1]
    for args in ((REACH, CONTRAST, True), (REACH, CONTRAST, False)):
        found = _C.edge_preserving(mirrored, *args)
        assert np.array_equal(found, _C.edge_preserving(np.ascontiguousarray(mirrored), *args))


@pytest.mark.parametrize("frames", [np.zeros((2, 4, 4, 4), np.uint8), np.zeros((2, 0, 4, 3), np.uint8)])
def test_what_is_no_clip_is_refused(frames):
    with pytest.raises(ValueError, match="frames: expected uint8"):
        _C.edge_preserving(frames, REACH, CONTRAST, True)
    with pytest.raises(ValueError, match="expected positive numbers"):
        _C.alike_widths(np.zeros((1, 4, 4, 3), np.uint8), 0, CONTRAST)


def test_other_dtypes_are_refused():
    with pytest.raises(TypeError):
        _C.alike_widths(np.zeros((1, 4, 4, 3), np.float32), REACH, CONTRAST)
