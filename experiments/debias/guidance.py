"""Channel weights for StaticDropout from what is measured during training, and their control."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from experiments.debias.model import SmallNet
from experiments.debias.world import Pairs
from sdfast.report import BiasMetric, BiasReport

OWN = ("rank", "minmax", "difference")  # how a report weighs its channels


def guide(
    layers: Mapping[str, nn.Module], how: str | None, reports: Mapping[str, BiasReport], model: SmallNet, pairs: Pairs
) -> None:
    """Give the layers their channel weights.

    Args:
        layers: by the names of the blocks that they follow.
        how: one of `OWN`; "random", the weights by rank dealt out anew, as many and as large; "conditional", by rank of
            correlations within labels; "used", by rank of the static weight times what the classifier makes of the
            channel; None for no weights.
        reports: of all blocks.
        model: in which the layers are.
        pairs: of the reports.
    """
    if how is None:
        return
    for name, layer in layers.items():
        report = reports[name]
        layer.guide(
            _within_labels(model, name, pairs) if how == "conditional" else report, how if how in OWN else "rank"
        )
        weight = layer.channel_weight
        if how == "random":
            weight.copy_(weight[torch.randperm(len(weight))])
        elif how == "used":
            weight.copy_(_ranks(weight * _use(model, report)))


def _within_labels(model: SmallNet, block: str, pairs: Pairs) -> BiasReport:
    """Report correlations of features less the mean of their label, which are partial correlations given the label.

    Both clips of a pair have the motion of the label, but for the permuted ones, where it is that of the first.
    """
    means = [_pooled(model, block, video) for video in (pairs.video_a, pairs.video_b)]
    groups = pairs.label * 2 + pairs.factor
    metric = BiasMetric(means[0].shape[1])
    metric.update(*(_less_means(values, groups) for values in means), pairs.factor)
    return metric.compute()


def _less_means(values: Tensor, groups: Tensor) -> Tensor:
    member = torch.nn.functional.one_hot(groups).to(values.dtype)  # (N, groups)
    return values - member @ (member.T @ values / member.sum(0).clamp(min=1)[:, None])


@torch.no_grad()
def _pooled(model: SmallNet, block: str, video: Tensor) -> Tensor:
    """Return the features of a block averaged over positions, (N, C), without dropout."""
    kept = []
    handle = model.get_submodule(block).register_forward_hook(lambda _, __, output: kept.append(output.mean((2, 3, 4))))
    training = model.training
    model.eval()
    model(video)
    model.train(training)
    handle.remove()
    return kept[0]


def _use(model: SmallNet, report: BiasReport) -> Tensor:
    """Return how much the classifier uses each channel: its weights, times how much the channel varies; (C,)."""
    spread = report.moments[3].sum(0).sqrt()
    return (model.head.weight.detach().abs().mean(0) * spread).float()


def _ranks(values: Tensor) -> Tensor:
    """Return the part of the other values that are lower, (C,)."""
    return values.argsort().argsort().float() / max(1, len(values) - 1)
