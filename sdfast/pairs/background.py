"""Clips without what moves in them: each position as it was seen at another time, or as what is around it."""

import torch
from torch import Tensor
from torch.nn import functional


def fill_from_background(video: Tensor, static: Tensor) -> Tensor:
    """Return a video in which what is not static is replaced by the background that it hides.

    A hidden position is as in the nearest frame that shows it, the earlier of two; one that no frame shows is as its
    surroundings, from finest to coarsest. A clip that shows no background at all becomes its mean colour.

    Args:
        video: (N, C, T, H, W) float.
        static: (N, T, H, W) bool, where the background is seen.

    Returns:
        (N, C, T, H, W) like video; where static, it is the video.

    >>> video = torch.tensor([0.0, 5.0, 2.0, 7.0]).view(1, 1, 4, 1, 1)
    >>> fill_from_background(video, torch.tensor([True, False, False, True]).view(1, 4, 1, 1)).flatten()
    tensor([0., 0., 7., 7.])
    """
    frames = video.shape[2]
    time = torch.arange(frames, device=video.device).view(1, -1, 1, 1)
    never = 2 * frames  # further away than any frame
    before = torch.where(static, time, -never).cummax(dim=1).values
    after = torch.where(static, time, never + frames).flip(1).cummin(dim=1).values.flip(1)
    nearest = torch.where(time - before <= after - time, before, after)  # (N, T, H, W)
    seen = (nearest >= 0) & (nearest < frames)
    filled = video.gather(2, nearest.clamp(0, frames - 1).unsqueeze(1).expand_as(video))
    if seen.all():
        return filled
    mean = video.mean(dim=(2, 3, 4), keepdim=True)
    filled = torch.where(seen.flatten(1).any(dim=1).view(-1, 1, 1, 1, 1), filled, mean)
    pictures = filled.transpose(1, 2).flatten(0, 1)  # (N * T, C, H, W)
    pictures = _from_around(pictures, seen.flatten(0, 1).unsqueeze(1).to(video.dtype))
    clips: Tensor = pictures.unflatten(0, (len(video), frames))
    return clips.transpose(1, 2).contiguous()


def _from_around(pictures: Tensor, known: Tensor) -> Tensor:
    """Fill pictures (M, C, H, W) where known (M, 1, H, W) is 0, from half the size, filled in the same way."""
    if known.all() or max(pictures.shape[-2:]) == 1:
        return pictures
    weight = functional.avg_pool2d(known, 2, ceil_mode=True)
    coarse = functional.avg_pool2d(pictures * known, 2, ceil_mode=True) / weight.clamp(min=1e-6)
    coarse = torch.where(weight > 0, coarse, functional.avg_pool2d(pictures, 2, ceil_mode=True))
    coarse = _from_around(coarse, (weight > 0).to(known.dtype))
    around = functional.interpolate(coarse, pictures.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known > 0, pictures, around)
