"""Correlations of every channel with every other: a product of standardised samples."""

import numpy as np
import torch
from torch import Tensor

from sdfast.backends import compose, is_direct, is_transformed, run, run_or_compose
from sdfast.ops.arrays import Features, over_arrays
from sdfast.ops.checks import check_features, check_same_kind
from sdfast.ops.comoments import comoments
from sdfast.ops.pair_means import pair_means

BLOCK_BYTES, BLOCK_ROWS = 8 << 20, 512  # of samples multiplied at a time
_Scaling = tuple[Tensor, Tensor, Tensor]
SPREADS = 1e-60, 1e60  # sums of squares whose roots, and those inverted, float32 holds


def pairwise_correlation(feats_a: Features, feats_b: Features, *, channel_dim: int = 1, pool: bool = True) -> Features:
    """Correlate every channel of one feature tensor with every channel of another.

    Args:
        feats_a: features (N, C_a) or (N, C_a, ...); float64, float32, float16 or bfloat16, torch or NumPy.
        feats_b: features of the same N samples, (N, C_b) or (N, C_b, ...); like feats_a but for C_b and, when
            pooled, the positions.
        channel_dim: the dimension of the channels in both; the others but 0 are positions.
        pool: average over positions first; otherwise every position is a sample, and both need as many.

    Returns:
        Pearson correlations (C_a, C_b), float64 for float64 features, else float32. NaN with fewer than two samples,
        0 for a channel that never varies.

    Raises:
        ValueError: the numbers of samples or the devices differ, or there is no sample.
        TypeError: the dtypes differ or are not floating point.

    >>> import torch, sdfast
    >>> a = torch.tensor([[0.0], [2.0], [0.0], [2.0]])
    >>> sdfast.pairwise_correlation(a, torch.cat([2 * a, -a], dim=1))
    tensor([[ 1., -1.]])
    """
    if isinstance(feats_a, np.ndarray):
        over_a, over_b = over_arrays(feats_a, feats_b)
        return pairwise_correlation(over_a, over_b, channel_dim=channel_dim, pool=pool).numpy()
    check_features("feats_a", feats_a, channel_dim)
    check_features("feats_b", feats_b, channel_dim)
    check_same_kind(feats_a, feats_b)
    a, b = _sample_matrices(feats_a, feats_b, channel_dim, pool)
    if len(a) != len(b):
        raise ValueError(f"feats_b: expected {len(a)} samples like feats_a, got {len(b)}")
    dtype = torch.float64 if feats_a.dtype == torch.float64 else torch.float32
    if len(a) < 2:
        return a.new_full((a.shape[1], b.shape[1]), torch.nan, dtype=dtype)
    direct = is_direct(a, b, None)
    corr = run("pairwise_correlation", check_same_kind, (a, b)) if direct else None
    return _composed(a, b, dtype, in_blocks=direct) if corr is None else corr.to(dtype)


def _composed(a: Tensor, b: Tensor, dtype: torch.dtype, in_blocks: bool) -> Tensor:
    if a.shape == b.shape:
        spreads = list(comoments(a, b, pool=False)[1:5, 0].view(2, 2, -1).unbind(1))  # one pass tells both
    else:
        spreads = [comoments(x, x, pool=False)[1:4:2, 0] for x in (a, b)]
    if in_blocks and a.is_cpu and a.dtype == torch.float32 and not all(_is_held(m2) for _, m2 in spreads):
        a, b = a.double(), b.double()
    of_a, of_b = (_scaling(x, *spread) for x, spread in zip((a, b), spreads, strict=True))
    # In blocks of samples, whose scores stay in a cache: all at once cost page faults.
    size = a.element_size() * max(a.shape[1], b.shape[1])
    rows = max(BLOCK_ROWS, BLOCK_BYTES // size) if in_blocks else len(a)
    first, *others = zip(a.split(rows), b.split(rows), strict=True)
    corr = torch.mm(*_scores_of_pair(*first, of_a, of_b, dtype))
    for pair in others:
        corr.addmm_(*_scores_of_pair(*pair, of_a, of_b, dtype))
    return corr.clamp_(-1, 1)


def _sample_matrices(feats_a: Tensor, feats_b: Tensor, channel_dim: int, pool: bool) -> tuple[Tensor, Tensor]:
    """Return (samples, C_a) and (samples, C_b): of float64, or what float32 features are, unless pooled."""
    if pool and feats_a.is_cpu and feats_a.ndim > 2 and feats_a.shape == feats_b.shape and not is_transformed():
        a, b = pair_means(feats_a, feats_b, channel_dim)
        return a, b
    a, b = (_sample_matrix(feats, channel_dim, pool) for feats in (feats_a, feats_b))
    return (a, b) if a.dtype == b.dtype else (a.double(), b.double())


def _sample_matrix(feats: Tensor, channel_dim: int, pool: bool) -> Tensor:
    dtype = torch.float64 if feats.dtype == torch.float64 else torch.float32
    if pool and feats.ndim > 2:
        if feats.is_cpu and not is_transformed():
            return pair_means(feats, feats, channel_dim)[0]
        # Float32 loses the digits of a large mean; torch would make all of the features float64, which a GPU may lack
        # the memory for.
        positions = tuple(d for d in range(1, feats.ndim) if d != channel_dim % feats.ndim)
        return feats.mean(positions, dtype=torch.float64 if feats.is_cpu else dtype)
    feats = feats.movedim(channel_dim, -1)
    return feats.reshape(-1, feats.shape[-1]).to(dtype)


def _is_held(m2: Tensor) -> bool:
    """Tell whether float32 holds the roots of these sums, and their inverses. Reads them."""
    low, high = torch.where(m2 == 0, 1.0, m2).aminmax()
    return SPREADS[0] <= low.item() and high.item() <= SPREADS[1]


def _scaling(samples: Tensor, mean: Tensor, m2: Tensor) -> _Scaling:
    """Return what makes scores (x - mean) / sqrt(m2) of samples: centre, scale and what rounding the mean leaves."""
    scale = torch.where(m2 == 0, 0.0, m2.rsqrt())
    centre = mean.to(samples.dtype)
    return centre, scale.to(samples.dtype), ((centre - mean) * scale).to(samples.dtype)


def _scores_of_pair(a: Tensor, b: Tensor, of_a: _Scaling, of_b: _Scaling, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _scores(a, *of_a).to(dtype).T, _scores(b, *of_b).to(dtype)


def _scores(samples: Tensor, centre: Tensor, scale: Tensor, rest: Tensor) -> Tensor:
    args = samples, centre, scale, rest
    if samples.is_cpu and samples.stride(1) == 1 and is_direct(samples, centre, scale):
        return run_or_compose("standard_scores", lambda *_: None, args)
    return compose("standard_scores", *args)
