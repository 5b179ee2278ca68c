"""What evaluation sets are made with: checks of clips and masks, blending, single frames."""

import torch
from torch import Generator, Tensor

from sdfast.foundation import check_integer
from sdfast.ops import check_rank, check_unit_range, check_video


def check_clips(video: Tensor, name: str = "video") -> None:
    """Raise unless a video is (N, C, T, H, W), uint8 or float, and not empty."""
    check_video(video, name)
    if video.dtype != torch.uint8 and not video.is_floating_point():
        raise TypeError(f"{name}: expected uint8 or floating-point values, got {video.dtype}")
    if 0 in video.shape:
        raise ValueError(f"{name}: expected no empty dimension, got shape {tuple(video.shape)}")


def check_masked(video: Tensor, mask: Tensor, name: str = "video") -> None:
    """Raise unless a video has a mask (N, T, H, W) of values from 0 to 1, of its size. Reads the values."""
    check_clips(video, name)
    mask_name = "mask" if name == "video" else f"{name}_mask"
    check_rank(mask_name, mask, "(N, T, H, W)", 4)
    expected = (len(video), *video.shape[2:])
    if mask.shape != expected or mask.device != video.device:
        got = f"{tuple(mask.shape)} on {mask.device}"
        raise ValueError(f"{mask_name}: expected {expected} on {video.device} like {name}, got {got}")
    check_unit_range(mask_name, mask)


def check_like(name: str, other: Tensor, video: Tensor) -> None:
    """Raise unless others have the number, channels, frame size, dtype and device of the videos."""
    if other.dtype != video.dtype:
        raise TypeError(f"{name}: expected dtype {video.dtype} like video, got {other.dtype}")
    if (*other.shape[:2], *other.shape[-2:]) != (*video.shape[:2], *video.shape[-2:]) or other.device != video.device:
        got = f"{tuple(other.shape)} on {other.device}"
        raise ValueError(f"{name}: expected clips like video, {tuple(video.shape)} on {video.device}, got {got}")


def as_background(background: Tensor, video: Tensor) -> Tensor:
    """Return a background as (N, C, T or 1, H, W)."""
    if not isinstance(background, Tensor) or background.ndim not in (4, 5):
        got = tuple(background.shape) if isinstance(background, Tensor) else type(background).__name__
        raise ValueError(f"background: expected shape (N, C, H, W) or (N, C, T, H, W), got {got}")
    check_like("background", background, video)
    if background.ndim == 4:
        return background.unsqueeze(2)
    if background.shape[2] != video.shape[2]:
        raise ValueError(f"background: expected {video.shape[2]} frames like video, got {background.shape[2]}")
    return background


def blend(moving: Tensor, static: Tensor, mask: Tensor) -> Tensor:
    """Return what moves where mask (N, T, H, W) is 0, what is static where it is 1; of T or 1 frames each."""
    if mask.dtype == torch.bool:
        return torch.where(mask.unsqueeze(1), static, moving)
    moving, dtype = computed(moving), moving.dtype
    static, weight = static.to(moving.dtype), mask.unsqueeze(1).to(moving.dtype)
    return cast(torch.lerp(*torch.broadcast_tensors(moving, static, weight)), dtype)


def computed(video: Tensor) -> Tensor:
    """Return values in the precision that they are blended in: float32, or float64 where they have it."""
    return video if video.dtype == torch.float64 else video.float()


def cast(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values in a dtype, rounded to the nearest for uint8."""
    return (values.round() if dtype == torch.uint8 else values).to(dtype)


def choose_frames(video: Tensor, frame: int | None, generator: Generator | None) -> Tensor:
    """Return the number of a frame of each clip, (N,) int64."""
    number, frames = len(video), video.shape[2]
    if frame is None:
        device = generator.device if generator else None
        return torch.randint(frames, (number,), generator=generator, device=device).to(video.device)
    check_integer("frame", frame, 0, frames - 1)
    return torch.full((number,), frame, device=video.device)


def frames_at(video: Tensor, frame: Tensor) -> Tensor:
    """Return frame (N,) of videos (N, C, T, H, W) as (N, C, 1, H, W)."""
    return video[torch.arange(len(video), device=video.device), :, frame].unsqueeze(2)
