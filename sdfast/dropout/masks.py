"""Static masks (N, T, H, W) in [0, 1], 1 where a video is static: from labels, from boxes, from the video itself."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sdfast.foundation import check_integer, check_lengths
from sdfast.ops import check_rank, check_unit_range, check_video


def from_labels(labels: Tensor, *, static: Sequence[int] | None = None, dynamic: Sequence[int] | None = None) -> Tensor:
    """Return 1 where a segmentation shows a static class.

    Args:
        labels: the class of each pixel, (N, T, H, W) integers or bool.
        static: the classes that are static, or
        dynamic: the classes that are not; exactly one of both.

    Returns:
        (N, T, H, W) float32 of 0 and 1.

    Raises:
        ValueError: the shape is another, or not exactly one of static and dynamic is given.
        TypeError: labels are not integers, or the classes no list.

    >>> import torch
    >>> from_labels(torch.tensor([[[[0, 1, 2]]]]), dynamic=[1])
    tensor([[[[1., 0., 1.]]]])
    """
    check_rank("labels", labels, "(N, T, H, W)", 4)
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"labels: expected integers, got {labels.dtype}")
    if (static is None) == (dynamic is None):
        raise ValueError("static, dynamic: expected exactly one of them")
    name, classes = ("dynamic", dynamic) if static is None else ("static", static)
    if not isinstance(classes, Iterable):
        raise TypeError(f"{name}: expected several classes, such as [{classes}], got {classes!r}")
    wanted = torch.tensor(list(classes), dtype=torch.int64, device=labels.device)
    return torch.isin(labels.long(), wanted, invert=static is None).float()


def from_boxes(boxes: Tensor, size: tuple[int, int], *, inside: float = 0.0) -> Tensor:
    """Return 1 outside of the boxes around what moves; partly covered pixels lie between.

    Args:
        boxes: (N, T, K, 4) edges (left, top, right, bottom) in pixels of `size`; a box that is not there is NaN.
        size: height and width of the mask.
        inside: the value inside boxes; 1 if the boxes hold what is static, and then outside is 0.

    Returns:
        (N, T, H, W) float32.

    Raises:
        ValueError: the shape of the boxes is another, size is no (height, width), or inside is neither 0 nor 1.

    >>> import torch
    >>> from_boxes(torch.tensor([[[[0.5, 0.0, 2.0, 1.0]]]]), (1, 4))
    tensor([[[[0.5000, 0.0000, 1.0000, 1.0000]]]])
    """
    check_rank("boxes", boxes, "(N, T, K, 4)", 4)
    if boxes.shape[-1] != 4:
        raise ValueError(f"boxes: expected shape (N, T, K, 4), got {tuple(boxes.shape)}")
    if inside not in (0, 1):
        raise ValueError(f"inside: expected 0 or 1, got {inside!r}")
    check_lengths("size", size, "(height, width)")
    height, width = size
    covered = torch.zeros(*boxes.shape[:2], height, width, device=boxes.device)
    left, top, right, bottom = boxes.float().nan_to_num(0.0).unbind(-1)  # (N, T, K)
    for k in range(boxes.shape[2]):
        rows = _overlap(top[..., k], bottom[..., k], height)
        columns = _overlap(left[..., k], right[..., k], width)
        covered = torch.maximum(covered, rows[..., :, None] * columns[..., None, :])
    return covered if inside else 1 - covered


def _overlap(start: Tensor, end: Tensor, pixels: int) -> Tensor:
    """Return how much of each pixel lies from start to end, (..., pixels)."""
    edge = torch.arange(pixels, device=start.device)
    return (torch.minimum(end[..., None], edge + 1) - torch.maximum(start[..., None], edge)).clamp(0, 1)


def from_video(video: Tensor, *, contrast: float = 0.5, window: int = 3) -> Tensor:
    """Return 1 where a video does not change over time, for videos without a segmentation.

    A position is as dynamic as it differs from its median over time, measured by the spread of the whole clip: what
    moves over a still background stands out where it is, not only along its edges. For still cameras; where the
    camera moves all is dynamic.

    Args:
        video: (N, C, T, H, W), any number type.
        contrast: by how many standard deviations of the clip a position must differ to count as wholly dynamic.
        window: width in pixels, odd, over which differences are averaged against noise; 1 for none.

    Returns:
        (N, T, H, W) float32 in [0, 1]. A clip without any contrast is static everywhere.

    Raises:
        ValueError: the shape is another or looks like (N, T, C, H, W), contrast is not positive or window not odd.

    >>> import torch
    >>> video = torch.zeros(1, 1, 5, 1, 3)
    >>> video[0, 0, 2, 0, 1] = 1.0
    >>> from_video(video, window=1)[0, 2]
    tensor([[1., 0., 1.]])
    """
    check_video(video)
    if not contrast > 0:
        raise ValueError(f"contrast: expected a positive number of standard deviations, got {contrast!r}")
    check_odd("window", window)
    video = video.float().contiguous()  # torch's median reads expanded views wrongly
    change = (video - video.median(dim=2, keepdim=True).values).abs().mean(dim=1)  # (N, T, H, W)
    if window > 1:
        change = functional.avg_pool2d(change, window, stride=1, padding=window // 2, count_include_pad=False)
    spread = video.flatten(2).std(dim=2, correction=0).mean(dim=1).view(-1, 1, 1, 1)  # (N, 1, 1, 1)
    return 1 - torch.where(spread == 0, 0.0, change / (contrast * spread)).clamp(0, 1)  # what is NaN stays NaN


def to_tokens(mask: Tensor, grid: tuple[int, int, int], *, extra: int = 0) -> Tensor:
    """Average a mask over the tokens of a video transformer.

    Args:
        mask: (N, T, H, W) in [0, 1].
        grid: how many tokens there are in time, height and width.
        extra: how many tokens come before them, such as a class token; they are never dropped.

    Returns:
        (N, extra + tokens) float32, tokens in row-major order, for features (N, tokens, C) with channel_dim=-1.

    Raises:
        ValueError: the shape or the grid is another, or a value is outside of [0, 1] (on the CPU, where that can be
            seen at once).

    >>> import torch
    >>> to_tokens(torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]]), (1, 1, 2), extra=1)
    tensor([[0.0000, 1.0000, 0.5000]])
    """
    check_rank("mask", mask, "(N, T, H, W)", 4)
    check_lengths("grid", grid, "(time, height, width)")
    check_integer("extra", extra, 0)
    if mask.is_cpu:
        check_unit_range("mask", mask)
    tokens = functional.adaptive_avg_pool3d(mask.float(), grid).flatten(1)
    return functional.pad(tokens, (extra, 0))


def check_odd(name: str, pixels: int) -> None:
    """Raise unless a width in pixels is odd, so that it has a middle."""
    if pixels < 1 or pixels % 2 == 0:
        raise ValueError(f"{name}: expected an odd number of pixels, got {pixels!r}")
