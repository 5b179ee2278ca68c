"""The static bias of a batch as a loss."""

import numpy as np
import torch
from torch import Tensor

from sdfast.ops import as_labels, check_factor, check_factor_values, pair_means
from sdfast.statistics import DYNAMIC, FACTORS, STATIC


def bias_penalty(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | np.ndarray | None = None,
    *,
    channel_dim: int = 1,
    eps: float = 1e-8,
) -> Tensor:
    """Return how static the features of a batch are, to be added to a loss: differentiable in both.

    The mean over channels of max(0, rho), rho the correlation over static pairs of the features averaged over
    positions. A static pair is a clip and the same clip with its frames permuted, see `run_with_permuted`: what both
    have in common is not motion. Only where the label needs the order of frames, that is something to get rid of.

    Args:
        feats_a: features of the first clips, (N, C) or (N, C, ...); float64, float32, float16 or bfloat16, any
            strides, any device.
        feats_b: features of the second clips; like feats_a.
        factor: which factor each pair shares, (N,) integers or bool, torch or NumPy: 0 dynamic, 1 static. Dynamic pairs
            have the opposite sign: less the mean over channels of their correlation. Default: all pairs are static.
        channel_dim: the dimension of the channels; the others but 0 are positions.
        eps: added to each sum of squares, so that channels that do not vary have a correlation of 0 and a gradient.

    Returns:
        A float64 number. From 0 to 1 without dynamic pairs. A factor with fewer than two pairs adds nothing.

    Raises:
        ValueError: shapes, devices or labels do not fit, or there is no pair.
        TypeError: the dtypes differ or are not floating point.

    Source: ours; the correlation is that of Kowal et al., TPAMI 2024.

    >>> import torch, sdfast
    >>> a = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]], requires_grad=True)
    >>> penalty = sdfast.bias_penalty(a, a.detach().flip(0))
    >>> penalty, penalty.backward()
    (tensor(0., dtype=torch.float64, grad_fn=<MeanBackward0>), None)
    """
    means = pair_means(feats_a, feats_b, channel_dim)
    if factor is None:
        return _correlation(means, None, eps).clamp(min=0).mean()
    factor = as_labels("factor", factor)
    check_factor(factor, feats_a, len(FACTORS))
    if factor.is_cpu and not torch.compiler.is_compiling():
        check_factor_values(factor, len(FACTORS))
    static, dynamic = (_correlation(means, factor == which, eps) for which in (STATIC, DYNAMIC))
    return static.clamp(min=0).mean() - dynamic.mean()


def _correlation(means: Tensor, chosen: Tensor | None, eps: float) -> Tensor:
    """Return the correlation of each channel of (2, N, C), of all pairs or the chosen ones, without asking how many."""
    if chosen is None:
        apart = means - means.mean(1, keepdim=True)
    else:
        weight = chosen.to(means.dtype).unsqueeze(1)
        apart = weight * (means - (weight * means).sum(1, keepdim=True) / weight.sum().clamp(min=1))
    square_a, square_b = (apart.square().sum(1) + eps).unbind()
    return apart.prod(0).sum(0) / (square_a * square_b).sqrt()
