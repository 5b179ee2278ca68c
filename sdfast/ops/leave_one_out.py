"""What is left when a group of sources is left out: co-moments, and their correlations at once."""

import torch
from torch import Tensor

from sdfast.backends import compose, is_eager, run, run_or_compose


def leave_one_out(grouped: Tensor) -> Tensor:
    """Return the co-moments of all groups but one, for each of them.

    Nothing is subtracted, which would leave the rounding of what was there: the others are merged.

    Args:
        grouped: (6, G, ...) float64. An empty group is all zeros.

    Returns:
        (6, G, ...) float64.

    Raises:
        TypeError: grouped is no tensor of float64.
        ValueError: the shape is none of grouped co-moments.

    Source: Chan, Golub and LeVeque, The American Statistician 37 (1983), for what comes before and after each group.

    >>> import torch
    >>> one, two, six = (torch.tensor([n, 1, 0, 0, 0, 0], dtype=torch.float64) for n in (1, 2, 6))
    >>> leave_one_out(torch.stack([one, two, six], dim=1))[0]
    tensor([8., 7., 3.], dtype=torch.float64)
    """
    check_grouped(grouped)
    if grouped.requires_grad or not is_eager(grouped, None, None):
        return compose("leave_one_out", grouped)
    return run_or_compose("leave_one_out", check_grouped, (_flat(grouped),)).view(grouped.shape)


def correlations_without(grouped: Tensor, pearson: bool) -> tuple[Tensor, Tensor] | None:
    """Return the co-moments of all groups, and the correlations of all but one, for each of them, and of all.

    Args:
        grouped: (6, G, ...) float64.
        pearson: Pearson's correlations, else intraclass ones.

    Returns:
        (6, ...) and (G + 1, ...) float64, those of all last; or None where no kernel does this in one step.

    Raises:
        TypeError: grouped is no tensor of float64.
        ValueError: the shape is none of grouped co-moments.

    >>> import torch
    >>> none = torch.zeros(6, 3, 1, dtype=torch.float64)
    >>> none[0] = 1
    >>> correlations_without(none, True)[1].T
    tensor([[0., 0., 0., 0.]], dtype=torch.float64)
    """
    check_grouped(grouped)
    if grouped.requires_grad or not is_eager(grouped, None, None):
        return None
    found = run("correlations_without", check_grouped, (_flat(grouped), pearson))
    return found and (found[0].view(6, *grouped.shape[2:]), found[1].view(-1, *grouped.shape[2:]))


def check_grouped(grouped: Tensor, pearson: bool = True) -> None:
    """Raise an error that names what does not fit."""
    if not isinstance(grouped, Tensor) or grouped.dtype != torch.float64:
        got = grouped.dtype if isinstance(grouped, Tensor) else type(grouped).__name__
        raise TypeError(f"grouped: expected a torch.Tensor of float64, got {got}")
    if grouped.ndim < 2 or len(grouped) != 6 or not grouped.numel():
        raise ValueError(f"grouped: expected shape (6, G, ...), none of it empty, got {tuple(grouped.shape)}")


def _flat(grouped: Tensor) -> Tensor:
    """Return co-moments (6, G, ...) as (6, G, C), channels side by side."""
    flat = grouped.reshape(6, grouped.shape[1], -1)
    return flat if flat.stride(2) == 1 else flat.contiguous()
