"""Several runs of one measurement, such as models of several seeds: means with what the runs differ by."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sdfast.report.certainty import Certainty
from sdfast.report.reading import SHARES
from sdfast.report.tables import PERCENT, SCORE, aligned, sure
from sdfast.statistics import FACTORS, shares, student_quantile, student_within

ERRORS = 1.96  # as the paper has it


def over_seeds(runs: Sequence[Mapping[str, Certainty]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the mean and 1.96 standard errors of each layer's scores and shares over runs.

    Args:
        runs: the reports {layer: report} of two runs or more with the same layers, as `load_reports` returns them.

    Returns:
        For each layer the mean and its 1.96 standard errors, (2, 3) each: the scores of dynamic, static and residual,
        and below them their shares in percent.

    Raises:
        ValueError: there are not two runs, or their layers or kinds of correlation differ.

    Source: Kowal et al., TPAMI 2024, who report them; the standard error is that of the mean, with n - 1.

    >>> import torch, sdfast
    >>> def report(c):
    ...     return sdfast.BiasReport(torch.tensor([9.0, 0, 0, 9, 9, c]).view(6, 1, 1).repeat(1, 2, 3))
    >>> mean, error = over_seeds([{"layer4": report(3.0)}, {"layer4": report(6.0)}])["layer4"]
    >>> mean[0, :2], error[0, :2]
    (tensor([0.5000, 0.5000], dtype=torch.float64), tensor([0.3267, 0.3267], dtype=torch.float64))
    """
    if len(runs) < 2:
        raise ValueError(f"runs: expected two or more, got {len(runs)}")
    first = runs[0]
    for number, run in enumerate(runs[1:], start=1):
        if list(run) != list(first):
            raise ValueError(f"runs: expected layers {', '.join(first)} in each, got {', '.join(run)} in run {number}")
        if {report.kind for report in run.values()} != {report.kind for report in first.values()}:
            raise ValueError(f"runs: expected one kind of correlation, got another in run {number}")
    found = {}
    for name in first:
        scores = torch.stack([run[name].layer_score for run in runs])
        values = torch.stack([scores, 100 * shares(scores)], dim=1)
        found[name] = values.mean(0), ERRORS * values.std(0) / math.sqrt(len(runs))
    return found


def format_seeds(runs: Sequence[Mapping[str, Certainty]]) -> str:
    """Return a table for the terminal, one line a layer, of what `over_seeds` finds, and how much it is worth."""
    rows = [["layer", *(f"score {factor}" for factor in FACTORS), *(f"{share} %" for share in SHARES)]]
    for name, (means, errors) in over_seeds(runs).items():
        (scores, percent), ends = means, torch.stack([means - errors, means + errors])
        texts = sure(scores, ends[:, 0], SCORE)[: len(FACTORS)] + sure(percent, ends[:, 1], PERCENT)
        rows.append([name, *texts])
    freedom = len(runs) - 1
    held, wider = 100 * student_within(ERRORS, freedom), student_quantile(0.975, freedom) / ERRORS
    note = f"means ± {ERRORS} standard errors over {len(runs)} runs, which hold the truth in {held:.0f} % of cases"
    return "\n".join([*aligned(rows), "", note, f"95 % intervals (Student's t) are {wider:.2f} times as wide"])
