"""Static and dynamic information per channel, as functions of feature tensors."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdfast._backend import direct, find, load
from sdfast.ops.checks import check_features, check_same_kind
from sdfast.ops.comoments import check_arguments, comoments

KINDS = ("pearson", "intraclass")
BLOCK_BYTES, BLOCK_ROWS = 2 << 20, 256  # of samples multiplied at a time


class ChannelBias(NamedTuple):
    """Mutual information (nats), correlation and number of samples of each channel."""

    mi: Tensor
    corr: Tensor
    count: Tensor


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
    if factor is None:
        num_factors = 1
    backend = direct("channel_bias", feats_a, feats_b, factor)
    if backend == "cpu" and kind in KINDS:
        try:
            kernel = load("cpu").channel_bias
            return _new(kernel(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind == "pearson"))
        except (TypeError, ValueError):  # the kernel says only that it refuses; the checks below say why
            check_arguments(feats_a, feats_b, factor, num_factors, channel_dim, pool)
            raise
    check_kind(kind)
    if isinstance(feats_a, np.ndarray):
        return _from_numpy(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind)
    kernel = find("channel_bias", backend)
    if kernel is not None:
        check_arguments(feats_a, feats_b, factor, num_factors, channel_dim, pool, values=feats_a.is_cpu)
        return _new(kernel(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind == "pearson"))
    moments = comoments(feats_a, feats_b, factor, num_factors, channel_dim, pool)
    corr = correlation(moments, kind)
    bias = ChannelBias(mutual_information(corr), corr, moments[0, :, 0].long())
    return bias if factor is not None else ChannelBias(*(x[0] for x in bias))


def pairwise_correlation(feats_a: Tensor, feats_b: Tensor, *, channel_dim: int = 1, pool: bool = True) -> Tensor:
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
        feats_a, feats_b = _over_array("feats_a", feats_a), _over_array("feats_b", feats_b)
        return pairwise_correlation(feats_a, feats_b, channel_dim=channel_dim, pool=pool).numpy()
    check_features("feats_a", feats_a, channel_dim)
    check_features("feats_b", feats_b, channel_dim)
    check_same_kind(feats_a, feats_b)
    a, b = _sample_matrix(feats_a, channel_dim, pool), _sample_matrix(feats_b, channel_dim, pool)
    if len(a) != len(b):
        raise ValueError(f"feats_b: expected {len(a)} samples like feats_a, got {len(b)}")
    if len(a) < 2:
        return a.new_full((a.shape[1], b.shape[1]), torch.nan)
    backend = direct("pairwise_correlation", a, b, None)
    kernel = find("pairwise_correlation", backend)
    if kernel is not None:
        return kernel(a, b)
    of_a, of_b = _scaling(a), _scaling(b)
    # In blocks of samples, whose scores stay in a cache: all at once cost page faults.
    size = a.element_size() * max(a.shape[1], b.shape[1])
    rows = len(a) if backend is None else max(BLOCK_ROWS, BLOCK_BYTES // size)
    first, *others = zip(a.split(rows), b.split(rows), strict=True)
    corr = torch.mm(*_scores_of_pair(*first, of_a, of_b))
    for pair in others:
        corr.addmm_(*_scores_of_pair(*pair, of_a, of_b))
    return corr.clamp_(-1, 1)


def _sample_matrix(feats: Tensor, channel_dim: int, pool: bool) -> Tensor:
    """Return (samples, C) in the dtype of the correlations."""
    dtype = torch.float64 if feats.dtype == torch.float64 else torch.float32
    feats = feats.movedim(channel_dim, -1)
    if pool and feats.ndim > 2:
        return feats.mean(tuple(range(1, feats.ndim - 1)), dtype=dtype)
    return feats.reshape(-1, feats.shape[-1]).to(dtype)


def _scaling(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what makes scores (x - mean) / sqrt(m2) of samples: centre, scale and what rounding the mean leaves."""
    _, mean, _, m2, _, _ = comoments(samples, samples, pool=False)[:, 0]
    scale = torch.where(m2 == 0, 0.0, m2.rsqrt())
    centre = mean.to(samples.dtype)
    return centre, scale.to(samples.dtype), ((centre - mean) * scale).to(samples.dtype)


def _scores_of_pair(a: Tensor, b: Tensor, of_a: tuple[Tensor, ...], of_b: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    return _scores(a, *of_a).T, _scores(b, *of_b)


def _scores(samples: Tensor, centre: Tensor, scale: Tensor, rest: Tensor) -> Tensor:
    centred = samples - centre
    out = None if centred.requires_grad else centred  # a fresh matrix costs page faults
    return torch.addcmul(rest, centred, scale, out=out)


def check_kind(kind: str) -> None:
    """Raise ValueError unless there is such a correlation."""
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")


def correlation(moments: Tensor, kind: str = "pearson") -> Tensor:
    """Return the (F, C) correlations of (6, F, C) co-moments.

    Pearson's, or the intraclass correlation with kind="intraclass". NaN below two samples, 0 for zero variance.
    """
    count, mean_a, mean_b, m2_a, m2_b, c_ab = moments
    if kind == "pearson":
        covariance = c_ab
        alive = (m2_a != 0) & (m2_b != 0)
        m2_a, m2_b = torch.where(alive, m2_a, 1.0), torch.where(alive, m2_b, 1.0)
        # sqrt(m2_a * m2_b), but neither overflowing nor inexact where a = b.
        corr = covariance / ((m2_a / m2_b).sqrt() * m2_b)
    else:
        n = count.clamp(min=1)
        gap = (mean_a - mean_b).square() / 4
        scale = (m2_a + m2_b) / (2 * n) + gap
        alive = scale != 0
        covariance = c_ab / n - gap
        corr = covariance / torch.where(alive, scale, 1.0)
    corr = torch.where(alive | covariance.isnan(), corr.clamp(-1, 1), 0.0)
    return torch.where(count >= 2, corr, torch.nan)


def mutual_information(corr: Tensor) -> Tensor:
    """Return -log(1 - corr^2) / 2 in nats, the Gaussian lower bound; inf at corr ±1."""
    return -0.5 * torch.log1p(-corr.square())


def _from_numpy(feats_a, feats_b, factor, num_factors, channel_dim, pool, kind) -> ChannelBias:
    if factor is not None:
        factor = np.asarray(factor)
        if factor.dtype.kind not in "iu":
            raise TypeError(f"factor: expected integer labels, got {factor.dtype}")
        factor = torch.from_numpy(np.ascontiguousarray(factor, dtype=np.int64))
    feats_a, feats_b = _over_array("feats_a", feats_a), _over_array("feats_b", feats_b)
    bias = channel_bias(
        feats_a, feats_b, factor, num_factors=num_factors, channel_dim=channel_dim, pool=pool, kind=kind
    )
    return ChannelBias(*(x.numpy() for x in bias))


def _over_array(name: str, feats) -> Tensor:
    """Return a tensor over the memory of an array; over a copy only where torch has no such strides or byte order."""
    if not isinstance(feats, np.ndarray):
        raise TypeError(f"{name}: expected a numpy.ndarray like feats_a, got {type(feats).__name__}")
    native = feats.dtype.newbyteorder("=")
    if native not in (np.float64, np.float32, np.float16):
        raise TypeError(f"{name}: expected float64, float32 or float16 features, got {feats.dtype}")
    if native != feats.dtype or any(stride < 0 or stride % feats.itemsize for stride in feats.strides):
        feats = feats.astype(native, order="C")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written
        return torch.from_numpy(feats)
