"""Mutual information from the samples themselves: what sums over pairs cannot tell."""

import torch
from torch import Tensor

from sdfast import ops
from sdfast.statistics.estimators import estimator_of, mutual_information

SAMPLE_ESTIMATORS = ("copula", "kraskov")


def paired_samples(feats_a: Tensor, feats_b: Tensor, channel_dim: int, pool: bool) -> tuple[Tensor, Tensor]:
    """Return the samples (S, C) of both features in float64: one a pair when pooled, else one a position."""
    if not pool or feats_a.ndim == 2:
        a, b = (x.movedim(channel_dim, -1).reshape(-1, x.shape[channel_dim]).double() for x in (feats_a, feats_b))
    else:
        a, b = ops.pair_means(feats_a, feats_b, channel_dim)
    return a, b


def sample_information(estimator: str, a: Tensor, b: Tensor, neighbors: int = 3) -> tuple[Tensor, Tensor]:
    """Return mutual information in nats and Pearson correlation of each channel of paired samples, both (C,) float64.

    Without samples both are NaN.

    Args:
        estimator: "copula": correlation of the normal scores, and the information of normal features with it.
            "kraskov": information from nearest neighbours, and the correlation of the samples as they are.
        a: samples (N, C) float64.
        b: samples paired with them; like a.
        neighbors: how many of them "kraskov" looks at; fewer than N.

    Raises:
        ValueError: there is no such estimator, neighbors does not fit, or a gradient is wanted.

    >>> import torch
    >>> a = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    >>> sample_information("copula", a, -a.exp())[1]
    tensor([-1.], dtype=torch.float64)
    """
    if estimator not in SAMPLE_ESTIMATORS:
        raise ValueError(f"estimator: expected one of {', '.join(SAMPLE_ESTIMATORS)}, got {estimator!r}")
    if len(a) == 0:
        nothing = a.new_full(a.shape[1:], torch.nan)
        return nothing, nothing
    if estimator == "copula":
        corr = _correlation(ops.normal_scores(a), ops.normal_scores(b))
        return mutual_information(corr), corr
    return ops.kraskov(a, b, neighbors), _correlation(a, b)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return estimator_of("pearson").correlation(ops.comoments(a, b, pool=False))[0]
