"""Static and dynamic information per channel, as a function of feature tensors."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdfast import ops
from sdfast.statistics.estimators import ESTIMATORS, estimator_of, mutual_information


class ChannelBias(NamedTuple):
    """Mutual information (nats), correlation and number of samples of each channel."""

    mi: Tensor
    corr: Tensor
    count: Tensor


_at_once = ops.channel_bias
_new = ChannelBias._make


def channel_bias(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None = None,
    *,
    num_factors: int = 2,
    channel_dim: int = 1,
    pool: bool = True,
    kind: str = "pearson",
) -> ChannelBias:
    """Measure how much the channels of paired features share.

    Args:
        feats_a: features of the first clips, (N, C) or (N, C, ...); float64, float32, float16 or bfloat16,
            torch on any device or NumPy, any strides.
        feats_b: features of the second clips; like feats_a.
        factor: which factor each pair shares, (N,) int64 in [0, num_factors), or None for one group of pairs. Other
            labels are an error on the CPU; on a GPU, where looking for them would wait for it, such pairs are left out.
        num_factors: how many factors there are. Used only with `factor`.
        channel_dim: the dimension of the channels; the others but 0 are positions.
        pool: average over positions first, so that a pair is one sample (the paper's measure);
            otherwise every position is a sample.
        kind: "pearson", or "intraclass" as the authors' code computes it.

    Returns:
        `mi` in nats, `corr`, both (C,) float64, and `count` () int64; with `factor` one row per factor:
        (F, C), (F, C) and (F,). Below two samples NaN; 0 where a channel never varies; `mi` is inf at corr ±1.

    Raises:
        ValueError: shapes, devices or labels do not fit, or there is no pair.
        TypeError: the dtypes differ or are not floating point.
        BackendError: no kernels for the device, or the forced backend does not run there.

    Source: Kowal et al., TPAMI 2024: mutual information as the Gaussian lower bound -log(1 - corr^2) / 2.

    >>> import torch, sdfast
    >>> a = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> b = torch.tensor([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0], [2.0, 5.0]])
    >>> sdfast.channel_bias(a, b).corr
    tensor([0.8000, 0.0000], dtype=torch.float64)
    """
    estimator = ESTIMATORS.get(kind) or estimator_of(kind)
    if factor is None:
        num_factors = 1
    found = _at_once(feats_a, feats_b, factor, num_factors, channel_dim, pool, estimator.is_pearson)
    if found is not None:
        return _new(found)
    if isinstance(feats_a, np.ndarray):
        return _from_numpy(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind)
    moments = ops.comoments(feats_a, feats_b, factor, num_factors, channel_dim, pool)
    corr = estimator.correlation(moments)
    bias = ChannelBias(mutual_information(corr), corr, moments[0, :, 0].long())
    return bias if factor is not None else ChannelBias(*(x[0] for x in bias))


def _from_numpy(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind) -> ChannelBias:
    if factor is not None:
        factor = np.asarray(factor)
        if factor.dtype.kind not in "iu":
            raise TypeError(f"factor: expected integer labels, got {factor.dtype}")
        factor = torch.from_numpy(np.ascontiguousarray(factor, dtype=np.int64))
    feats_a, feats_b = ops.over_array("feats_a", feats_a), ops.over_array("feats_b", feats_b)
    bias = channel_bias(
        feats_a, feats_b, factor, num_factors=num_factors, channel_dim=channel_dim, pool=pool, kind=kind
    )
    return ChannelBias(*(x.numpy() for x in bias))
