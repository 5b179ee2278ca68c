"""What is done to the clips of a batch before they are trained with, after ideas of others; the labels stay."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def swapped(video: Tensor, amount: float, static: Tensor | None) -> Tensor:
    """Put what moves in front of another clip's background, in so many of the clips.

    FAME (Ding et al., CVPR 2022), as we read it: the foreground is where frames differ, and stands before the
    backgrounds of other clips of the batch.
    """
    static = static.unsqueeze(1) * _some(video, amount)
    return video * (1 - static) + _others(video) * static


def with_still(video: Tensor, amount: float, _: Tensor | None) -> Tensor:
    """Average so many of the clips with a frame of another clip.

    StillMix (Li et al., ICCV 2023), as we read it: the background and the foreground of a still picture are mixed into
    all frames. There the pictures are those that a network for pictures is sure of; here any are taken.
    """
    frames = torch.randint(video.shape[2], (len(video),))
    stills = _others(video[torch.arange(len(video)), :, frames].unsqueeze(2))
    return torch.lerp(video, stills.expand_as(video), 0.5 * _some(video, amount).expand_as(video))


def with_own_frame(video: Tensor, amount: float, _: Tensor | None) -> Tensor:
    """Mix a frame of each clip into all its frames, with a weight drawn from 0 to amount.

    Background erasing (Wang et al., CVPR 2021), as we read it: what is static stays, but a still picture of the clip
    itself is laid over it, so that appearance tells less than motion.
    """
    frames = torch.randint(video.shape[2], (len(video),))
    own = video[torch.arange(len(video)), :, frames].unsqueeze(2)
    weight = amount * torch.rand(len(video), 1, 1, 1, 1)
    return torch.lerp(video, own.expand_as(video), weight.expand_as(video))


def convolved(video: Tensor, amount: float, _: Tensor | None) -> Tensor:
    """Run so many of the batches through a random convolution, which changes textures and keeps shapes.

    RandConv (Xu et al., ICLR 2021), as we read it: one kernel of random size and weights for a batch, the same for all
    frames, mixed with the batch itself by a random weight.
    """
    if torch.rand(()) >= amount:
        return video
    channels, width = video.shape[1], int(torch.randint(4, ())) * 2 + 1
    kernel = torch.randn(channels, channels, 1, width, width) / (channels * width**2) ** 0.5
    return torch.lerp(functional.conv3d(video, kernel, padding=(0, width // 2, width // 2)), video, torch.rand(()))


CHANGES: dict[str, Callable[[Tensor, float, Tensor | None], Tensor]] = {
    change.__name__: change for change in (swapped, with_still, with_own_frame, convolved)
}


def _others(values: Tensor) -> Tensor:
    """Return for each clip what belongs to another one."""
    return values.roll(int(torch.randint(1, len(values), ())), 0)


def _some(video: Tensor, amount: float) -> Tensor:
    return (torch.rand(len(video), 1, 1, 1, 1) < amount).to(video.dtype)
