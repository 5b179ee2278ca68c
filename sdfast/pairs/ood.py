"""Evaluation sets out of the distribution of the training: what is static replaced, conflicting, or gone.

Made from any clips (N, C, T, H, W), uint8 or float, with static masks (N, T, H, W) of values from 0 to 1, where 1 is
static: `sdfast.masks` makes them. A model that knows the motion is right on all but SCUFO, where there is none, and
one that knows the scene fails. How far a set can be trusted depends on its masks: those too wide, such as boxes,
bring along the background that they should remove.
"""

import torch
from torch import Generator, Tensor

from sdfast.ops import check_rank
from sdfast.pairs.appearance_free import appearance_free, estimate_flow
from sdfast.pairs.background import fill_from_background
from sdfast.pairs.compositing import (
    as_background,
    blend,
    cast,
    check_clips,
    check_like,
    check_masked,
    choose_frames,
    computed,
    frames_at,
)
from sdfast.pairs.stripes import stripes

__all__ = [
    "action_swap",
    "appearance_free",
    "background_only",
    "conflicting",
    "contrasted_accuracy",
    "estimate_flow",
    "foreground_only",
    "scuba",
    "scufo",
    "stripes",
]


def scuba(video: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """Put what moves over another background: background where mask is 1, the video where it is 0 (SCUBA).

    Args:
        video: (N, C, T, H, W), uint8 or float.
        mask: (N, T, H, W), 1 where the video is static.
        background: (N, C, H, W), or (N, C, T, H, W) where it moves, too; dtype of video. `stripes` makes some.

    Returns:
        (N, C, T, H, W) like video.

    Raises:
        ValueError: a shape or device does not fit, or a value of the mask lies outside of [0, 1].
        TypeError: the video is neither uint8 nor float, or the background has another dtype.

    Source: Li et al., Mitigating and evaluating static bias of action representations in the background and the
    foreground, ICCV 2023, with backgrounds from pictures of scenes, from a generator, and of stripes.

    >>> video, mask = torch.full((1, 1, 1, 1, 3), 9.0), torch.tensor([[[[1.0, 0.5, 0.0]]]])
    >>> scuba(video, mask, torch.zeros(1, 1, 1, 3)).flatten()
    tensor([0.0000, 4.5000, 9.0000])
    """
    check_masked(video, mask)
    return blend(video, as_background(background, video), mask)


def scufo(video: Tensor, frame: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Repeat one frame: all that can be seen in it stays, and nothing moves (SCUFO, of the clips of `scuba`).

    Args:
        video: (N, C, T, H, W), uint8 or float.
        frame: its number; default one drawn for each clip.
        generator: draws it; default torch's own.

    Returns:
        (N, C, T, H, W) like video.

    Raises:
        ValueError: the shape is another, or there is no such frame.
        TypeError: the video is neither uint8 nor float.

    Source: Li et al., ICCV 2023. A model that still tells the action has learned the look of the foreground.

    >>> scufo(torch.arange(3.0).view(1, 1, 3, 1, 1), frame=1).flatten()
    tensor([1., 1., 1.])
    """
    check_clips(video)
    return frames_at(video, choose_frames(video, frame, generator)).expand_as(video).contiguous()


def conflicting(
    video: Tensor,
    mask: Tensor,
    background: Tensor,
    other: Tensor,
    other_mask: Tensor,
    frame: int | None = None,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Put what moves over another background, with a still foreground of another video between them (ConflFG).

    Args:
        video: (N, C, T, H, W), uint8 or float; its motion is the label.
        mask: (N, T, H, W), 1 where the video is static.
        background: (N, C, H, W) or (N, C, T, H, W), as of `scuba`.
        other: (N, C, T', H, W), whose foregrounds mislead; dtype of video.
        other_mask: (N, T', H, W), their masks.
        frame: the number of the frame of `other` that is taken; default one drawn for each clip.
        generator: draws it; default torch's own.

    Returns:
        (N, C, T, H, W) like video.

    Raises:
        ValueError, TypeError: as of `scuba`; or there is no such frame.

    Source: Li et al., ICCV 2023, who insert a random static foreground into clips of SCUBA. That it keeps its place in
    the frame and stands behind what moves is our reading.

    >>> video, other = torch.full((1, 1, 2, 1, 3), 9.0), torch.full((1, 1, 1, 1, 3), 5.0)
    >>> mask, other_mask = torch.tensor([[[[1.0, 1.0, 0.0]], [[0.0, 1.0, 1.0]]]]), torch.tensor([[[[0.0, 1.0, 1.0]]]])
    >>> conflicting(video, mask, torch.zeros(1, 1, 1, 3), other, other_mask)[0, 0, :, 0]
    tensor([[5., 0., 9.],
            [9., 0., 0.]])
    """
    check_masked(video, mask)
    check_masked(other, other_mask, "other")
    check_like("other", other, video)
    chosen = choose_frames(other, frame, generator)
    still, still_mask = frames_at(other, chosen), frames_at(other_mask.unsqueeze(1), chosen)[:, 0]
    return blend(video, blend(still, as_background(background, video), still_mask), mask)


def background_only(video: Tensor, mask: Tensor) -> Tensor:
    """Take out what moves, and fill in what it hides (HAT's Background Only).

    A hidden position is as in the nearest frame in which it is static, at least by half; one that never is, as its
    surroundings. A clip without any such position becomes its mean colour.

    Args:
        video: (N, C, T, H, W), uint8 or float.
        mask: (N, T, H, W), 1 where the video is static.

    Returns:
        (N, C, T, H, W) like video.

    Raises:
        ValueError, TypeError: as of `scuba`.

    Source: Chung, Wu and Russakovsky, Enabling detailed action recognition evaluation through video dataset
    augmentation, NeurIPS 2022 (HAT), who fill holes by a network; this is a plain stand-in for it.

    >>> video = torch.tensor([1.0, 9.0, 3.0]).view(1, 1, 3, 1, 1)
    >>> background_only(video, torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)).flatten()
    tensor([1., 1., 3.])
    """
    check_masked(video, mask)
    return blend(cast(fill_from_background(computed(video), mask >= 0.5), video.dtype), video, mask)


def foreground_only(video: Tensor, mask: Tensor, fill: Tensor | None = None) -> Tensor:
    """Leave what moves, in front of one colour (HAT's Human Only).

    Args:
        video: (N, C, T, H, W), uint8 or float.
        mask: (N, T, H, W), 1 where the video is static.
        fill: the colour (C,), best the mean of a data set; default that of all the clips given.

    Returns:
        (N, C, T, H, W) like video.

    Raises:
        ValueError, TypeError: as of `scuba`.

    Source: Chung, Wu and Russakovsky, NeurIPS 2022 (HAT), who fill with the average colour of the data set.

    >>> video, mask = torch.tensor([4.0, 8.0]).view(1, 1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    >>> foreground_only(video, mask).flatten()
    tensor([6., 8.])
    """
    check_masked(video, mask)
    if fill is None:
        fill = computed(video).mean(dim=(0, 2, 3, 4))
    check_rank("fill", fill, "(C,)", 1)
    if fill.shape != video.shape[1:2]:
        raise ValueError(f"fill: expected shape ({video.shape[1]},), one value a channel, got {tuple(fill.shape)}")
    colour = cast(fill.to(video.device), video.dtype).view(1, -1, 1, 1, 1)
    return blend(video, colour.expand(len(video), -1, 1, *video.shape[3:]), mask)


def action_swap(video: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
    """Put what moves in front of another video's background at the same relative time (HAT's Action Swap).

    Args:
        video: (N, C, T, H, W), uint8 or float; its motion is the label.
        mask: (N, T, H, W), 1 where the video is static.
        other: (N, C, T', H, W), whose backgrounds are taken; dtype of video. Frame t of T is before frame
            round(t (T' - 1) / (T - 1)).
        other_mask: (N, T', H, W), their masks; what moves in them is taken out as by `background_only`.

    Returns:
        (N, C, T, H, W) like video.

    Raises:
        ValueError, TypeError: as of `scuba`.

    Source: Chung, Wu and Russakovsky, NeurIPS 2022 (HAT).

    >>> video, mask = torch.full((1, 1, 2, 1, 2), 9.0), torch.tensor([1.0, 0.0]).expand(1, 2, 1, 2)
    >>> other = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(1, 1, 3, 1, 2)
    >>> action_swap(video, mask, other, torch.ones(1, 3, 1, 2))[0, 0, :, 0]
    tensor([[0., 9.],
            [2., 9.]])
    """
    check_masked(video, mask)
    check_masked(other, other_mask, "other")
    check_like("other", other, video)
    times = torch.linspace(0, other.shape[2] - 1, video.shape[2]).round().long().to(video.device)
    return blend(video, background_only(other, other_mask).index_select(2, times), mask)


def contrasted_accuracy(right_on_scuba: Tensor, right_on_scufo: Tensor) -> float:
    """Return which part of the clips a model is right on, but wrong on their still twins.

    Args:
        right_on_scuba: (N,) bool, for each clip.
        right_on_scufo: (N,) bool, for the same clip with one of its frames repeated.

    Raises:
        ValueError: there is no clip, or the shapes differ.
        TypeError: a tensor is not bool.

    Source: Li et al., ICCV 2023: what a still frame tells as well has not been told by the motion.

    >>> contrasted_accuracy(torch.tensor([True, True, False, False]), torch.tensor([False, True, False, True]))
    0.25
    """
    for name, right in (("right_on_scuba", right_on_scuba), ("right_on_scufo", right_on_scufo)):
        check_rank(name, right, "(N,)", 1)
        if right.dtype != torch.bool:
            raise TypeError(f"{name}: expected dtype torch.bool, got {right.dtype}")
    if len(right_on_scuba) == 0 or right_on_scuba.shape != right_on_scufo.shape:
        both = f"({len(right_on_scuba)},) and ({len(right_on_scufo)},)"
        raise ValueError(f"right_on_scuba, right_on_scufo: expected the same clips, at least one, got {both}")
    return (right_on_scuba & ~right_on_scufo).double().mean().item()
