"""What a step of training minimises: the labels of the clips, and what else is asked of the features."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.debias.model import BLOCKS, SmallNet
from sdfast import bias_penalty
from sdfast.dropout import static_mask
from sdfast.training import run_with_permuted

ENTROPY, SLOPE = 4.0, 10.0  # weights of two parts of the adversarial loss, beside that of the cross entropy
NUDGE = 0.01  # standard deviation of a pixel's change, along which the slope is taken


def labels(model: SmallNet, video: Tensor, label: Tensor, mask: Tensor | None, _: float) -> Tensor:
    """Return the cross entropy of the labels."""
    with static_mask(mask):
        return functional.cross_entropy(model(video), label)


def permuted(model: SmallNet, video: Tensor, label: Tensor, mask: Tensor | None, _: float) -> Tensor:
    """The control of the two below: clips with permuted frames are in the batch, and nothing is asked of them."""
    logits, _, _ = _with_permuted(model, video, mask)
    return functional.cross_entropy(logits, label)


def penalty(model: SmallNet, video: Tensor, label: Tensor, mask: Tensor | None, weight: float) -> Tensor:
    """Add the static correlation of the last block's features."""
    logits, _, features = _with_permuted(model, video, mask)
    return functional.cross_entropy(logits, label) + weight * bias_penalty(*features)


def entropy(model: SmallNet, video: Tensor, label: Tensor, mask: Tensor | None, weight: float) -> Tensor:
    """Ask that no label can be told of clips with permuted frames: cross entropy with the uniform distribution."""
    logits, logits_of_permuted, _ = _with_permuted(model, video, mask)
    return functional.cross_entropy(logits, label) - weight * logits_of_permuted.log_softmax(1).mean()


def adversarial(model: SmallNet, video: Tensor, label: Tensor, mask: Tensor | None, weight: float) -> Tensor:
    """Ask that the label cannot be told of one frame of the clip, repeated.

    ALBAR (Gupta et al., ICLR 2025), as we read it: the cross entropy of still clips is made large, their predictions
    are kept undecided (large entropy), and the slope of their cross entropy along the picture is kept small; here by
    its change along a random direction, whose mean square is the squared slope.
    """
    chosen = torch.arange(len(video)), slice(None), torch.randint(video.shape[2], (len(video),))
    still = video[chosen].unsqueeze(2).expand_as(video)
    nudged = still + NUDGE * torch.randn_like(still[:, :, :1])
    with static_mask(None if mask is None else mask.repeat(3, 1, 1, 1)):
        logits, *of_still = model(torch.cat([video, still, nudged])).chunk(3)
    told, told_nudged = (functional.cross_entropy(found, label, reduction="none") for found in of_still)
    slope = (told_nudged - told) / NUDGE
    certain = (of_still[0].softmax(1) * of_still[0].log_softmax(1)).sum(1)
    adverse = ENTROPY * certain + SLOPE * slope.square() - told
    return functional.cross_entropy(logits, label) + weight * adverse.mean()


LOSSES: dict[str, Callable[[SmallNet, Tensor, Tensor, Tensor | None, float], Tensor]] = {
    loss.__name__: loss for loss in (labels, permuted, penalty, entropy, adversarial)
}


class _Masked(nn.Module):
    """A model whose clips bring their masks along as the last channel, so that frames of both are permuted alike."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        with static_mask(clips[:, -1]):
            return self.model(clips[:, :-1])


def _with_permuted(model: SmallNet, video: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    last = BLOCKS[-1]
    if mask is not None:
        model, video, last = _Masked(model), torch.cat([video, mask.unsqueeze(1)], 1), f"model.{last}"
    logits, others, features = run_with_permuted(model, video, last)
    return logits, others, features[last]
