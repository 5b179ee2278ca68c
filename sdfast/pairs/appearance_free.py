"""Clips without appearance: noise that moves as a video moves, so that no single frame shows anything."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from sdfast.ops import check_rank
from sdfast.pairs.compositing import check_clips
from sdfast.pairs.flow import optical_flow


def appearance_free(
    video: Tensor,
    flow: Tensor | None = None,
    *,
    span: tuple[float, float] = (0.0, 1.0),
    generator: Generator | None = None,
) -> Tensor:
    """Let noise move as the video moves: no frame shows anything, and the motion is the video's (AFD).

    Args:
        video: (N, C, T, H, W), uint8 or float; with a flow, only its shape and dtype matter.
        flow: (N, 2, T - 1, H, W) float, rows and columns in pixels: what is at p in frame t is at p + flow in frame
            t + 1. Default `estimate_flow(video)`, by OpenCV.
        span: least and greatest value of the noise, for float videos; that of uint8 is from 0 to 255.
        generator: draws it; default torch's own.

    Returns:
        (N, C, T, H, W) like video: uniform noise in each frame, its values carried from pixel to pixel.

    Raises:
        ValueError: a shape or device does not fit, the flow is not finite, or span is no ascending pair.
        TypeError: the video is neither uint8 nor float, or the flow no float.

    Source: Ilic, Pock and Wildes, Is appearance free action recognition possible?, ECCV 2022. Theirs warps one picture
    of noise, and fills holes from it; here holes are filled with new noise, and no value is in two places: else what
    comes twice shows in a single frame where something has moved. That the fastest hides what is slower is our choice.

    >>> flow = torch.zeros(1, 2, 1, 1, 4)
    >>> flow[:, 1] = 1.0
    >>> first, second = appearance_free(torch.zeros(1, 1, 2, 1, 4), flow)[0, 0, :, 0]
    >>> bool((second[1:] == first[:-1]).all())
    True
    """
    check_clips(video)
    low, high = span
    if not low < high:
        raise ValueError(f"span: expected a least and a greater value, got {span!r}")
    if flow is None:
        flow = estimate_flow(video)
    expected = (len(video), 2, video.shape[2] - 1, *video.shape[3:])
    check_rank("flow", flow, "(N, 2, T - 1, H, W)", 5)
    if not flow.is_floating_point():
        raise TypeError(f"flow: expected floating-point values, got {flow.dtype}")
    if flow.shape != expected or flow.device != video.device:
        raise ValueError(f"flow: expected {expected} on {video.device}, got {tuple(flow.shape)} on {flow.device}")
    if not flow.isfinite().all():
        raise ValueError("flow: expected finite values, got NaN or Inf")
    return _carry(flow.float(), _drawing(video, span, generator))


def estimate_flow(video: Tensor) -> Tensor:
    """Estimate the optical flow of a video by OpenCV, as `appearance_free` takes it.

    Args:
        video: (N, C, T, H, W), uint8 or float, T at least 2.

    Returns:
        (N, 2, T - 1, H, W) float32, rows and columns in pixels: what is at p in frame t is at p + flow in frame t + 1.

    Raises:
        ValueError: the shape is another, there is one frame only, or a value is not finite.
        TypeError: the video is neither uint8 nor float.
        ImportError: OpenCV is not installed.

    Source: Farnebäck, Two-Frame Motion Estimation Based on Polynomial Expansion, 2003. Networks such as RAFT, which is
    what AFD was made with, find faster and finer motion.

    >>> estimate_flow(torch.zeros(1, 3, 4, 16, 16)).shape
    torch.Size([1, 2, 3, 16, 16])
    """
    check_clips(video)
    if video.shape[2] < 2:
        raise ValueError(f"video: expected at least 2 frames for optical flow, got shape {tuple(video.shape)}")
    if not video.isfinite().all():
        raise ValueError("video: expected finite values, got NaN or Inf")
    gray = video.detach().cpu().float().mean(dim=1)  # (N, T, H, W)
    low, high = (bound.view(-1, 1, 1, 1) for bound in gray.flatten(1).aminmax(dim=1))
    pictures = ((gray - low) / (high - low).clamp(min=1e-12) * 255).round().byte().numpy()
    flow = torch.from_numpy(np.stack([optical_flow(clip) for clip in pictures]))  # (N, T - 1, H, W, 2), columns first
    return flow.flip(-1).permute(0, 4, 1, 2, 3).contiguous().to(video.device)


def _carry(flow: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Carry noise along by a flow.

    Each value goes with its own pixel, and is never mixed with another nor in two places: a frame is noise, whatever
    the flow. Of values that meet at one pixel the fastest stays; where none arrives there is new noise.

    Args:
        flow: (N, 2, T - 1, H, W) float, rows and columns in pixels: what was at p in frame t is at p + flow in t + 1.
        draw: returns a frame of noise (N, C, H, W), another at each call.

    Returns:
        (N, C, T, H, W).
    """
    number, _, steps, height, width = flow.shape
    rows, columns = (torch.arange(length, device=flow.device, dtype=flow.dtype) for length in (height, width))
    grid = torch.stack([rows[:, None].expand(height, width), columns.expand(height, width)])  # (2, H, W)
    last = torch.tensor([height - 1, width - 1], device=flow.device).view(1, 2, 1, 1)
    picture = draw()
    rest = torch.zeros_like(flow[:, :, 0])  # of a pixel, by which a value is off the middle of the one it is shown at
    frames = [picture]
    for t in range(steps):
        way = rest + flow[:, :, t]
        pixels = (way + 0.5).floor()  # halves all to one side: to the even one, neighbours would meet
        place = grid + pixels
        inside = ((place >= 0) & (place <= last)).all(dim=1).flatten(1)
        target = place[:, 0].long() * width + place[:, 1].long()
        target = torch.where(inside, target.flatten(1), height * width)  # one place more, for all that leaves
        slowest_first = flow[:, :, t].square().sum(dim=1).flatten(1).argsort(dim=1, stable=True)
        rank = torch.empty_like(slowest_first)
        rank.scatter_(1, slowest_first, torch.arange(height * width, device=flow.device).expand(number, -1))
        winner = rank.new_full((number, height * width + 1), -1).scatter_reduce_(1, target, rank, "amax")[:, :-1]
        source = slowest_first.gather(1, winner.clamp(min=0))  # (N, H * W): who comes to a pixel
        empty = (winner < 0).view(number, 1, height, width)
        picture = torch.where(empty, draw(), _take(picture, source))
        rest = torch.where(empty, 0.0, _take(way - pixels, source))
        frames.append(picture)
    return torch.stack(frames, dim=2)


def _drawing(video: Tensor, span: tuple[float, float], generator: Generator | None) -> Callable[[], Tensor]:
    """Return what draws a frame of uniform noise (N, C, H, W) for a video anew at each call."""
    shape, where = video[:, :, 0].shape, generator.device if generator else video.device
    precision = torch.float64 if video.dtype == torch.float64 else torch.float32

    def draw() -> Tensor:
        if video.dtype == torch.uint8:
            return torch.randint(256, shape, generator=generator, device=where, dtype=torch.uint8).to(video.device)
        noise = torch.rand(shape, generator=generator, device=where, dtype=precision)
        return (span[0] + (span[1] - span[0]) * noise).to(video.device, video.dtype)

    return draw


def _take(values: Tensor, source: Tensor) -> Tensor:
    """Return values (N, C, H, W) at the pixels source (N, H * W)."""
    return values.flatten(2).gather(2, source.unsqueeze(1).expand(-1, values.shape[1], -1)).view_as(values)
