"""Two models on the same pairs: by how much they differ, and how sure that is."""

from typing import NamedTuple

import torch
from torch import Tensor

from sdfast.statistics.estimators import Estimator
from sdfast.statistics.jackknife import Jackknife, Spread


class Comparison(NamedTuple):
    """The first less the second: correlations (F, C), scores (F + 1,) and shares (F + 1,).

    Correlations are None where the two have not as many channels. These are not on Fisher's scale: a difference of z
    is none of correlations.
    """

    correlation: Spread | None
    scores: Spread
    shares: Spread


def compare_groups(grouped_a: Tensor, grouped_b: Tensor, estimator: Estimator) -> Comparison:
    """Compare two layers that saw the same pairs, by a paired jackknife.

    What is hard about a video is hard for both models: leaving it out of both at once takes that out of the
    difference, whose interval is narrower than those of the two would make it.

    Args:
        grouped_a: co-moments (6, G, F, C) of groups of whole sources; see `GroupedCoMoments`.
        grouped_b: those of the other model, (6, G, F, C'), of the same pairs.
        estimator: the kind of correlation.

    Raises:
        ValueError: the numbers of groups or factors, or of samples in one of them, are not the same.

    >>> import torch
    >>> from sdfast.statistics import GroupedCoMoments, estimator_of
    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> one, two = (GroupedCoMoments(num_channels=1, num_factors=1) for _ in range(2))
    >>> one.update(x, x)
    >>> two.update(x, x[[1, 0, 3, 2, 5, 4]])
    >>> compare_groups(one.moments, two.moments, estimator_of("pearson")).correlation.interval(0.95).flatten()
    tensor([0.0672, 0.2757], dtype=torch.float64)
    """
    if grouped_b.shape[:3] != grouped_a.shape[:3]:
        raise ValueError(
            f"grouped_b: expected {tuple(grouped_a.shape[1:3])} groups and factors like grouped_a, "
            f"got {tuple(grouped_b.shape[1:3])}"
        )
    counts = [grouped[0, :, :, 0].cpu() for grouped in (grouped_a, grouped_b)]
    if not torch.equal(*counts):
        group, factor = (counts[0] != counts[1]).nonzero()[0].tolist()
        ours, theirs = (int(count[group, factor]) for count in counts)
        raise ValueError(
            f"grouped_b: expected the pairs of grouped_a, with {ours} samples of factor {factor} in group {group}, "
            f"got {theirs}"
        )
    a, b = (Jackknife(grouped, estimator) for grouped in (grouped_a, grouped_b))
    same = grouped_a.shape[3] == grouped_b.shape[3]
    return Comparison(a.correlation - b.correlation if same else None, a.scores - b.scores, a.shares - b.shares)
