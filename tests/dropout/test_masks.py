"""Static masks from labels, boxes and videos, and how they reach token grids."""

import pytest
import torch

import sdfast
from sdfast import masks


def test_labels_name_the_static_classes_or_the_others():
    labels = torch.randint(0, 4, (2, 3, 5, 6), generator=torch.Generator().manual_seed(0))
    mask = masks.from_labels(labels, static=[0, 3])
    assert mask.dtype == torch.float32 and mask.shape == labels.shape
    assert torch.equal(mask == 1, (labels == 0) | (labels == 3)) and set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(masks.from_labels(labels.byte(), dynamic=[1, 2]), mask)
    assert torch.equal(masks.from_labels(labels > 1, dynamic=[True]), (labels <= 1).float())
    assert (masks.from_labels(labels, dynamic=[]) == 1).all() and (masks.from_labels(labels, static=[]) == 0).all()


def test_boxes_cover_pixels_by_their_share():
    boxes = torch.tensor([[[1.0, 0.0, 3.0, 2.0], [2.5, 1.0, 4.0, 1.5]]]).view(1, 1, 2, 4)
    mask = masks.from_boxes(boxes, (3, 5))
    expected = torch.tensor([[1, 0, 0, 1, 1], [1, 0, 0, 0.5, 1], [1, 1, 1, 1, 1]])
    assert mask.shape == (1, 1, 3, 5) and torch.equal(mask[0, 0], expected)
    assert torch.equal(masks.from_boxes(boxes, (3, 5), inside=1), 1 - mask)


def test_boxes_may_be_missing_empty_or_beyond_the_edge():
    nan = torch.nan
    boxes = torch.tensor([[nan, nan, nan, nan], [2.0, 2.0, 1.0, 1.0], [-5.0, -5.0, 1.0, 1.0]]).view(1, 3, 1, 4)
    mask = masks.from_boxes(boxes, (2, 2))
    assert (mask[0, :2] == 1).all() and mask[0, 2].tolist() == [[0, 1], [1, 1]]
    assert (masks.from_boxes(torch.zeros(2, 3, 0, 4), (4, 4)) == 1).all()


def moving_square(frames=8, size=24, noise=0.0, seed=0):
    """Return a video of a square that moves over a texture, and where the square is, (N, T, H, W) bool."""
    generator = torch.Generator().manual_seed(seed)
    video = torch.rand(2, 3, 1, size, size, generator=generator).repeat(1, 1, frames, 1, 1)
    square = torch.zeros(2, frames, size, size, dtype=torch.bool)
    for t in range(frames):
        square[0, t, 4:10, 2 * t : 2 * t + 6] = True
        square[1, t, 2 * t : 2 * t + 6, 12:18] = True
    video = torch.where(square[:, None], 2.0, video)
    return video + noise * torch.randn(video.shape, generator=generator), square


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_what_moves_in_a_video_is_not_static(noise):
    video, square = moving_square(noise=noise)
    mask = masks.from_video(video)
    assert mask.shape == square.shape and mask.dtype == torch.float32 and mask.min() >= 0 and mask.max() <= 1
    assert mask[square].mean() < 0.1, "all of the square, not its edges only"
    assert mask[~square].mean() > 0.8
    assert (mask[:, :, 20:, :6] > 0.7).all()


def test_a_videos_mask_depends_on_no_unit():
    video, _ = moving_square()
    torch.testing.assert_close(masks.from_video(video * 100 + 3), masks.from_video(video), rtol=0, atol=1e-4)
    as_bytes = (video * 100).round().byte()
    torch.testing.assert_close(masks.from_video(as_bytes), masks.from_video(video), rtol=0, atol=0.05)


def test_a_still_or_blank_clip_is_static():
    still = torch.rand(1, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(1, 3, 5, 8, 8)
    assert (masks.from_video(still) == 1).all()
    assert (masks.from_video(torch.full((2, 3, 4, 8, 8), 7, dtype=torch.uint8)) == 1).all()


def test_a_video_of_nan_has_no_mask():
    video, _ = moving_square()
    video[0, 0, 0, 0, 0] = float("nan")
    mask = masks.from_video(video)
    assert mask[0].isnan().all() and not mask[1].isnan().any()
    with pytest.raises(ValueError, match="mask"), sdfast.static_mask(mask):
        sdfast.StaticDropout()(torch.ones(2, 3, 4, 4, 4))


def test_clips_do_not_see_each_other():
    video, _ = moving_square()
    assert torch.equal(masks.from_video(video)[1:], masks.from_video(video[1:]))


def test_tokens_take_the_mean_of_their_patch():
    mask = torch.rand(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    tokens = masks.to_tokens(mask, (2, 3, 4), extra=2)
    expected = mask.view(2, 2, 2, 3, 2, 4, 2).mean((2, 4, 6)).flatten(1)
    assert (tokens[:, :2] == 0).all()
    torch.testing.assert_close(tokens[:, 2:], expected)
    assert masks.to_tokens(mask > 0.5, (1, 1, 1)).shape == (2, 1)


def test_every_mask_suits_static_mask():
    video, square = moving_square()
    for mask in (masks.from_video(video), masks.from_labels(square, dynamic=[1])):
        with sdfast.static_mask(mask):
            y = sdfast.StaticDropout(p=1.0)(torch.ones(2, 7, 4, 6, 6))
        assert 0 < (y == 0).double().mean() < 1
    with sdfast.static_mask(masks.to_tokens(mask, (4, 3, 3), extra=1)):
        tokens = sdfast.StaticDropout(p=1.0, channel_dim=-1)(torch.ones(2, 37, 5))
    assert (tokens[:, 0] == 1).all(), "the class token stays"


V = torch.zeros(2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: masks.from_labels(V.long(), static=[0]), ValueError, r"labels: expected shape \(N, T, H, W\)"),
        (lambda: masks.from_labels(V[0], static=[0]), TypeError, "labels: expected integers, got torch.float32"),
        (lambda: masks.from_labels([[0]], static=[0]), TypeError, r"labels: expected a torch\.Tensor, got list"),
        (lambda: masks.from_labels(V[0].long()), ValueError, "static, dynamic: expected exactly one"),
        (lambda: masks.from_labels(V[0].long(), static=[0], dynamic=[1]), ValueError, "expected exactly one"),
        (lambda: masks.from_boxes(torch.zeros(2, 3, 1, 5), (4, 4)), ValueError, r"boxes: .* got \(2, 3, 1, 5\)"),
        (lambda: masks.from_boxes(torch.zeros(2, 3, 4), (4, 4)), ValueError, r"boxes: expected shape \(N, T, K, 4\)"),
        (lambda: masks.from_boxes(torch.zeros(2, 3, 1, 4), (4, 4), inside=2), ValueError, "inside: expected 0 or 1"),
        (lambda: masks.from_video(V[0]), ValueError, r"video: expected shape \(N, C, T, H, W\)"),
        (
            lambda: masks.from_video(torch.zeros(2, 16, 3, 5, 6)),
            ValueError,
            r"video: .* \(N, C, T, H, W\), got \(2, 16, 3, 5, 6\), .* \(N, T, C, H, W\); pass video\.transpose\(1, 2\)",
        ),
        (lambda: masks.from_video(torch.zeros(2, 4, 1, 5, 6)), ValueError, r"got \(2, 4, 1, 5, 6\), which looks like"),
        (lambda: masks.from_video(V, contrast=0), ValueError, "contrast: expected a positive number"),
        (lambda: masks.from_video(V, window=2), ValueError, "window: expected an odd number of pixels, got 2"),
        (lambda: masks.to_tokens(V, (1, 1, 1)), ValueError, r"mask: expected shape \(N, T, H, W\)"),
        (lambda: masks.from_labels(V[0].long(), static=3), TypeError, r"static: .* such as \[3\], got 3"),
        (lambda: masks.from_boxes(torch.zeros(2, 3, 1, 4), 9), ValueError, r"size: expected \(height, width\), got 9"),
        (lambda: masks.from_boxes(torch.zeros(2, 3, 1, 4), (0, 4)), ValueError, "size: expected a positive integer"),
        (lambda: masks.to_tokens(V[0], (2, 2)), ValueError, r"grid: expected \(time, height, width\), got \(2, 2\)"),
        (lambda: masks.to_tokens(V[0], (1, 1, 1), extra=-1), ValueError, "extra: expected an integer from 0 on"),
        (lambda: masks.to_tokens(V[0] + 2, (1, 1, 1)), ValueError, "mask: expected values from 0 to 1, got 2"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("shape", [(1, 1, 3, 4, 4), (1, 3, 1, 4, 4), (1, 3, 3, 4, 4), (1, 2, 3, 4, 4), (1, 8, 8, 4, 4)])
def test_shapes_that_may_have_colours_before_frames(shape):
    for make in (masks.from_video, masks.from_motion):
        assert make(torch.rand(shape)).shape == (1, *shape[2:])
