"""What the channels called static are worth where the texture predicts: the causal check of the classes."""

from collections.abc import Mapping

import torch

from experiments.debias.evaluation import are_right
from experiments.debias.model import BLOCKS, SmallNet
from experiments.debias.world import Clips
from sdfast.pairs import ood
from sdfast.report import BiasReport
from sdfast.training import ablate

DRAWS = 8  # of as many channels at random


def ablation(model: SmallNet, reports: Mapping[str, BiasReport], inside: Clips) -> dict[str, float] | None:
    """Set static channels of the last block to their means, where nothing but the texture predicts, and it does.

    That is on still frames of the clips whose shortcut is their label. Where all but a few channels are static, any
    choice of as many takes nearly all; so it is half of the channels at most, the most static first.

    Args:
        model: trained on clips like these.
        reports: of its blocks.
        inside: clips as in training.

    Returns:
        "channels", how many were switched off; the accuracy that is lost without these, "static", and without as many
        at "random", on average over draws; and "moving", what is lost without the static ones on the moving clips. None
        where no channel is static.
    """
    report = reports[BLOCKS[-1]]
    order = report.static_weight("rank").argsort(descending=True).tolist()
    static = [i for i in order if report.point_labels[i] == "static"][: len(order) // 2]
    if not static:
        return None
    agree = inside.shortcut == inside.label
    moving = Clips(inside.video[agree], inside.label[agree], inside.shortcut[agree], inside.shape[agree])
    still = Clips(ood.scufo(moving.video, moving.video.shape[2] // 2), moving.label, moving.shortcut, moving.shape)

    def accuracy(clips: Clips) -> float:
        return are_right(model, clips).double().mean().item()

    def lost(channels: list[int], clips: Clips, whole: float) -> float:
        with ablate(model, BLOCKS[-1], channels, "mean", reports):
            return whole - accuracy(clips)

    whole = accuracy(still)
    draws = [lost(torch.randperm(len(order))[: len(static)].tolist(), still, whole) for _ in range(DRAWS)]
    return {
        "channels": len(static),
        "static": lost(static, still, whole),
        "random": sum(draws) / DRAWS,
        "moving": lost(static, moving, accuracy(moving)),
    }
