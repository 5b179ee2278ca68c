"""The correlations of resampled groups, from their sums."""

import torch
from torch import Tensor

from sdfast.backends import is_eager, run


def resampled_correlations(sums: Tensor, origin: Tensor, groups: int, pearson: bool) -> Tensor | None:
    """Return the correlations of resamples: 0 where their variance is nothing but rounding.

    Args:
        sums: (B, 6, C) float64, of each: count, a, b, a^2, b^2 and a b, all less the origin.
        origin: the means of all groups, (2, C) float64.
        groups: how many numbers each sum is of.
        pearson: Pearson's correlations, else intraclass ones.

    Returns:
        (B, C) float64, or None where no kernel does this in one step.

    Raises:
        ValueError: shapes or dtypes do not fit.

    >>> import torch
    >>> sums = torch.tensor([[[4.0], [0.0], [0.0], [2.0], [2.0], [1.0]]], dtype=torch.float64)
    >>> resampled_correlations(sums, torch.zeros(2, 1, dtype=torch.float64), groups=4, pearson=True)
    tensor([[0.5000]], dtype=torch.float64)
    """
    if sums.requires_grad or not is_eager(sums, origin, None):
        return None
    return run("resampled_correlations", _check, (sums.contiguous(), origin.contiguous(), groups, pearson))


def _check(sums: Tensor, origin: Tensor, groups: int, pearson: bool) -> None:
    if sums.ndim != 3 or sums.shape[1] != 6 or not sums.numel() or sums.dtype != torch.float64:
        raise ValueError(f"sums: expected float64 of shape (B, 6, C), got {sums.dtype} of {tuple(sums.shape)}")
    if origin.shape != (2, sums.shape[2]) or origin.dtype != torch.float64:
        raise ValueError(
            f"origin: expected float64 of shape {(2, sums.shape[2])}, got {origin.dtype} of {tuple(origin.shape)}"
        )
    if groups < 1:
        raise ValueError(f"groups: expected a positive integer, got {groups!r}")
