"""Normal scores in plain torch, on any device."""

import torch
from torch import Tensor


def normal_scores(samples: Tensor) -> Tensor:
    """Return the normal quantile of rank / (N + 1) for samples (N, C) float64; equal ones share their mean rank."""
    rows = samples.T.contiguous()
    ordered = rows.sort(dim=1).values
    below, not_above = (torch.searchsorted(ordered, rows, right=right) for right in (False, True))
    scores = torch.special.ndtri((below + not_above + 1).double() / (2 * (len(samples) + 1)))
    return torch.where(rows.isfinite().all(dim=1, keepdim=True), scores, torch.nan).T.contiguous()
