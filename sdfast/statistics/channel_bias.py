"""Static and dynamic information per channel, as a function of feature tensors."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdfast import ops
from sdfast.ops import Features, Labels
from sdfast.statistics.estimators import ESTIMATORS, estimator_of, mutual_information
from sdfast.statistics.sample_estimators import SAMPLE_ESTIMATORS, paired_samples, sample_information


class ChannelBias(NamedTuple):
    """Mutual information (nats), correlation and number of samples of each channel; arrays where the features are."""

    mi: Tensor
    corr: Tensor
    count: Tensor  # type: ignore[assignment]  # a tuple has a method of this name


_at_once = ops.channel_bias
_new = ChannelBias._make


def channel_bias(
    feats_a: Features,
    feats_b: Features,
    factor: Labels | None = None,
    *,
    num_factors: int = 2,
    channel_dim: int = 1,
    pool: bool = True,
    kind: str = "pearson",
    estimator: str = "gaussian",
    neighbors: int = 3,
) -> ChannelBias:
    """Measure how much the channels of paired features share.

    Args:
        feats_a: features of the first clips, (N, C) or (N, C, ...); float64, float32, float16 or bfloat16,
            torch on any device or NumPy, any strides.
        feats_b: features of the second clips; like feats_a.
        factor: which factor each pair shares, (N,) integers or bool in [0, num_factors), torch on the device of the
            features or NumPy, or None for one group of pairs. Other labels are an error on the CPU; on a GPU, where
            looking for them would wait for it, such pairs are left out.
        num_factors: how many factors there are. Used only with `factor`.
        channel_dim: the dimension of the channels; the others but 0 are positions.
        pool: average over positions first, so that a pair is one sample (the paper's measure);
            otherwise every position is a sample.
        kind: "pearson", or "intraclass" as the authors' code computes it.
        estimator: of the information. "gaussian": of normal features with this correlation. "copula": the same of the
            normal scores, so that no increasing map of a channel changes it and outliers count little. "kraskov": from
            nearest neighbours, for features that depend on each other in any other way, such as ReLU's, of which the
            others may say too much or nothing; it varies more and takes longer. The latter two
            want kind="pearson", keep the samples in float64 and give no gradient; on a GPU they are composed of torch's
            operations, and "kraskov" compares all samples with all others.
        neighbors: how many of them "kraskov" looks at, fewer than the samples of each factor. More vary less, fewer
            blur less what lies along a line.

    Returns:
        `mi` in nats, `corr`, both (C,) float64, and `count` () int64; with `factor` one row per factor:
        (F, C), (F, C) and (F,). Below two samples NaN; 0 where a channel never varies; `mi` is inf at corr ±1, and
        by "kraskov" may fall below 0. `corr` by "copula" is that of the scores.

    Raises:
        ValueError: shapes, devices, labels, estimator or neighbors do not fit, there is no pair, or "copula" or
            "kraskov" is asked for a gradient.
        TypeError: the dtypes differ or are not floating point.
        BackendError: no kernels for the device, or the forced backend does not run there.

    Source: Kowal et al., TPAMI 2024: mutual information of normal features, -log(1 - corr^2) / 2. Ince et
    al., Human Brain Mapping 2017 (copula). Kraskov et al., Physical Review E 69, 066138 (2004), equation 8.

    >>> import torch, sdfast
    >>> a = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> b = torch.tensor([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0], [2.0, 5.0]])
    >>> sdfast.channel_bias(a, b).corr
    tensor([0.8000, 0.0000], dtype=torch.float64)
    >>> sdfast.channel_bias(a, 10**b, estimator="copula").corr
    tensor([0.7760, 0.0000], dtype=torch.float64)
    """
    correlation = ESTIMATORS.get(kind) or estimator_of(kind)
    if factor is None:
        num_factors = 1
    else:
        factor = ops.as_labels("factor", factor)
    if estimator != "gaussian":
        if isinstance(feats_a, np.ndarray):
            of_samples: dict[str, Any] = {"estimator": estimator, "neighbors": neighbors}
            return _from_numpy(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind, **of_samples)
        return _from_samples(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind, estimator, neighbors)
    found = _at_once(feats_a, feats_b, factor, num_factors, channel_dim, pool, correlation.is_pearson)
    if found is not None:
        return _new(found)
    if isinstance(feats_a, np.ndarray):
        return _from_numpy(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind)
    moments = ops.comoments(feats_a, feats_b, factor, num_factors, channel_dim, pool)
    corr = correlation.correlation(moments)
    bias = ChannelBias(mutual_information(corr), corr, moments[0, :, 0].long())
    return bias if factor is not None else ChannelBias(*(x[0] for x in bias))


def _from_samples(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    num_factors: int,
    channel_dim: int,
    pool: bool,
    kind: str,
    estimator: str,
    neighbors: int,
) -> ChannelBias:
    if estimator not in SAMPLE_ESTIMATORS:
        names = ", ".join(("gaussian", *SAMPLE_ESTIMATORS))
        raise ValueError(f"estimator: expected one of {names}, got {estimator!r}")
    if kind != "pearson":
        raise ValueError(f"kind: expected 'pearson' with estimator={estimator!r}, got {kind!r}")
    ops.check_pairs(feats_a, feats_b, factor, num_factors, channel_dim, pool)
    ops.check_no_gradient("feats_a", feats_a)
    ops.check_no_gradient("feats_b", feats_b)
    a, b = paired_samples(feats_a.detach(), feats_b.detach(), channel_dim, pool)
    if factor is None:
        return ChannelBias(*sample_information(estimator, a, b, neighbors), torch.tensor(len(a), device=a.device))
    labels = factor.repeat_interleave(len(a) // len(factor))
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for f in range(num_factors):
        own = labels == f
        rows.append((*sample_information(estimator, a[own], b[own], neighbors), own.sum()))
    return ChannelBias(*(torch.stack(x) for x in zip(*rows, strict=True)))


def _from_numpy(
    feats_a: np.ndarray,
    feats_b: np.ndarray,
    factor: Labels | None,
    num_factors: int,
    channel_dim: int,
    pool: bool,
    kind: str,
    **of_samples: Any,
) -> ChannelBias:
    labels = None
    if factor is not None:
        labels = ops.as_labels("factor", np.asarray(factor))
    over_a, over_b = ops.over_arrays(feats_a, feats_b)
    given: dict[str, Any] = {"num_factors": num_factors, "channel_dim": channel_dim, "pool": pool, "kind": kind}
    bias = channel_bias(over_a, over_b, labels, **given, **of_samples)
    return _new(x.numpy() for x in bias)
