"""What a step of training minimises: the labels of the clips, and what else is asked of the features."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from experiments.debias.data import Clips
from experiments.debias.model import BLOCKS, SmallNet
from sdfast import bias_penalty, masks
from sdfast.training import run_with_permuted

WEIGHT = 1.0  # of what is added to the loss of the labels


def labels(model: SmallNet, clips: Clips) -> Tensor:
    """Return the cross entropy of the labels."""
    return functional.cross_entropy(model(clips.video), clips.label)


def permuted(model: SmallNet, clips: Clips) -> Tensor:
    """The control of the two below: clips with permuted frames are in the batch, and nothing is asked of them."""
    logits, _, _ = _with_permuted(model, clips)
    return functional.cross_entropy(logits, clips.label)


def penalty(model: SmallNet, clips: Clips) -> Tensor:
    """Add the static correlation of the last block's features."""
    logits, _, features = _with_permuted(model, clips)
    return functional.cross_entropy(logits, clips.label) + WEIGHT * bias_penalty(*features)


def entropy(model: SmallNet, clips: Clips) -> Tensor:
    """Ask that no label can be told of clips with permuted frames: cross entropy with the uniform distribution."""
    logits, logits_of_permuted, _ = _with_permuted(model, clips)
    return functional.cross_entropy(logits, clips.label) - WEIGHT * logits_of_permuted.log_softmax(1).mean()


def swap(model: SmallNet, clips: Clips) -> Tensor:
    """Put what moves in front of another clip's background, as told by motion (FAME, Ding et al., CVPR 2022)."""
    static = masks.from_motion(clips.video).unsqueeze(1)
    others = clips.video[torch.randperm(len(clips.video))]
    mixed = clips.video * (1 - static) + others * static
    return functional.cross_entropy(model(mixed), clips.label)


LOSSES: dict[str, Callable[[SmallNet, Clips], Tensor]] = {
    loss.__name__: loss for loss in (labels, permuted, penalty, entropy, swap)
}


def _with_permuted(model: SmallNet, clips: Clips) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    logits, others, features = run_with_permuted(model, clips.video, BLOCKS[-1])
    return logits, others, features[BLOCKS[-1]]
