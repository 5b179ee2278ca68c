"""The bootstrap of groups: intervals from resampled sources, by one product of weights with the groups' sums."""

import numpy as np
import torch
from torch import Tensor

from sdfast.foundation import check_integer
from sdfast.ops import resampled_correlations
from sdfast.statistics.estimators import Estimator, shares
from sdfast.statistics.fisher import check_level
from sdfast.statistics.jackknife import Jackknife, Spread
from sdfast.statistics.state import merge

METHODS = ("bootstrap", "bca")
READINGS = ("correlation", "scores", "shares")
_CHUNK = 1 << 18  # float64 numbers in the sums of resamples that are held at a time: 2 MiB, which a cache holds
_LEAST = 32  # resamples at a time, since each time all of the groups' sums are read


def bootstrap_interval(
    jackknife: Jackknife,
    level: float = 0.95,
    *,
    of: str = "correlation",
    method: str = "bootstrap",
    resamples: int = 2000,
    seed: int = 0,
) -> Tensor:
    """Return the interval that resampling groups with replacement gives.

    Args:
        jackknife: of the layer; "bca" also takes its acceleration from it.
        level: the confidence, between 0 and 1.
        of: "correlation" (F, C), "scores" (F + 1,) or "shares" (F + 1,) of the layer.
        method: "bootstrap" for the percentiles of the resamples, or "bca", corrected for bias and skewness.
        resamples: how many resamples B to draw.
        seed: of the draws. The same seed draws the same groups for all channels and for all that is asked of them.

    Returns:
        The lower and upper end, (2, ...). Resamples in which a number is undefined, since no pair of a factor is in
        them, do not count for it. NaN below two groups.

    Raises:
        ValueError: an argument is none of these or out of range.

    Source: Efron, Better bootstrap confidence intervals, JASA 82 (1987).

    >>> import torch
    >>> from sdfast.statistics import GroupedCoMoments, estimator_of
    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> state = GroupedCoMoments(num_channels=1, num_factors=1)
    >>> state.update(x, x[[1, 0, 3, 2, 5, 4]])
    >>> low, high = bootstrap_interval(Jackknife(state.moments, estimator_of("pearson")))
    >>> bool(low < 0.83 < high)
    True
    """
    check_level(level)
    check_integer("resamples", resamples, 1)
    for name, given, known in (("of", of, READINGS), ("method", method, METHODS)):
        if given not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {given!r}")
    groups, estimator = jackknife.groups, jackknife.estimator
    weights = draw_weights(resamples, groups.shape[1], seed).to(groups.device)
    skewness = _acceleration(getattr(jackknife, of)) if method == "bca" else None
    if of != "correlation":
        value = _scores(jackknife.total, estimator, of)
        some, sums = weights.split(max(_LEAST, _CHUNK // groups[:, 0].numel())), _group_sums(groups, jackknife.total)
        values = torch.cat([_scores(_drawn(each, *sums), estimator, of) for each in some])
        return (
            _ends(values, value, level, skewness) if groups.shape[1] > 1 else value.new_full((2, len(value)), torch.nan)
        )
    value, ends = estimator.correlation(jackknife.total), []
    step = max(1, _CHUNK // (6 * resamples * groups.shape[2]))
    for start in range(0, groups.shape[-1], step):
        here = (..., slice(start, start + step))
        corrs = _correlations(weights, *_group_sums(groups[here], jackknife.total[here]), estimator)
        ends.append(_ends(corrs, value[here], level, None if skewness is None else skewness[here]))
    several = (groups[0, ..., :1] > 0).sum(0) > 1  # groups have pairs of the factor, (F, 1)
    return torch.where(several, torch.cat(ends, dim=-1), torch.nan)


def draw_weights(resamples: int, groups: int, seed: int) -> Tensor:
    """Return how often each resample draws each group, (B, K) float64; each draws K of K with replacement."""
    drawn = torch.randint(groups, (resamples, groups), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(resamples, groups, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(drawn.shape).double())


def resample(groups: Tensor, weights: Tensor) -> Tensor:
    """Return the co-moments of weighted groups.

    Args:
        groups: co-moments (6, K, F, C) float64.
        weights: how often each group counts, (B, K) float64.

    Returns:
        (6, B, F, C): as if the groups had been merged as often as they count, to rounding; nothing where that gives
        nothing, such as the variance of a channel that fires in groups only that were not drawn.
    """
    return _drawn(weights, *_group_sums(groups, merge(groups.movedim(1, 0))))


def _group_sums(groups: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Return plain sums (K, 6, F, C) of groups about the means of all, and these means (2, F, C).

    That costs no digits: resamples do not differ much from all.
    """
    count, mean_a, mean_b, m2_a, m2_b, c_ab = groups
    origin = total[1:3]
    da, db = mean_a - origin[0], mean_b - origin[1]
    sums = [count, count * da, count * db, m2_a + count * da * da, m2_b + count * db * db, c_ab + count * da * db]
    return torch.stack(sums, dim=1), origin


def _drawn(weights: Tensor, sums: Tensor, origin: Tensor) -> Tensor:
    """Return the co-moments (6, B, F, C) of groups that count as often as their weights (B, K) say."""
    drawn: Tensor = (weights @ sums.flatten(1)).unflatten(1, sums.shape[1:])  # (B, 6, F, C)
    origin_a, origin_b = origin
    n, sum_a, sum_b, sum_aa, sum_bb, sum_ab = drawn.unbind(1)
    pairs = n.clamp(min=1)
    shift_a, shift_b = sum_a / pairs, sum_b / pairs
    noise = 8 * (len(sums) + 1) * torch.finfo(torch.float64).eps  # of sums of K numbers, relative
    sum_ab -= sum_a * shift_b
    for squares, total, shift in ((sum_aa, sum_a, shift_a), (sum_bb, sum_b, shift_b)):
        least = noise * squares
        squares -= total * shift
        squares.masked_fill_(squares <= least, 0.0)
    torch.add(origin_a, shift_a, out=sum_a)
    torch.add(origin_b, shift_b, out=sum_b)
    # Means that are equal but for rounding are equal: the intraclass correlation of constants asks for it.
    size = origin_a.abs() + origin_b.abs() + shift_a.abs() + shift_b.abs()
    sum_b.copy_(torch.where((sum_a - sum_b).abs() <= noise * size, sum_a, sum_b))
    return drawn.movedim(1, 0)


def _correlations(weights: Tensor, sums: Tensor, origin: Tensor, estimator: Estimator) -> Tensor:
    """Return the correlations (B, F, C) of groups that count as often as their weights (B, K) say."""
    drawn = (weights @ sums.flatten(1)).unflatten(1, (6, -1))
    found = resampled_correlations(drawn, origin.flatten(1), len(sums), estimator.is_pearson)
    if found is None:
        return estimator.correlation(_drawn(weights, sums, origin))
    return found.view(len(found), *origin.shape[1:])


def _scores(moments: Tensor, estimator: Estimator, of: str) -> Tensor:
    """Return the layer's scores or shares, (..., F + 1)."""
    scores = estimator.layer_score(moments)
    return shares(scores) if of == "shares" else scores


def _ends(values: Tensor, value: Tensor, level: float, acceleration: Tensor | None) -> Tensor:
    """Return the ends (2, ...) from what the resamples gave, (B, ...), and all; corrected with an acceleration."""
    tails = values.new_tensor([(1 - level) / 2, (1 + level) / 2])
    tails = tails.view(2, *[1] * value.ndim).expand(2, *value.shape)
    values = _sorted(values)
    known = torch.full_like(value, len(values))
    if values[-1].isnan().any():
        known -= values.isnan().sum(0)
    if acceleration is not None:
        # Bias: how far the median of the resamples lies from the estimate. Half of those equal to it are below.
        below = ((values < value).double() + (values <= value).double()).sum(0) / 2
        half = 0.5 / known.clamp(min=1)
        bias = torch.special.ndtri((below / known).clamp(half, 1 - half))
        z = bias + torch.special.ndtri(tails)
        tails = torch.special.ndtr(bias + z / (1 - acceleration * z))
    # Linear between the order statistics, as NumPy's default.
    place = tails * (known - 1).clamp(min=0)
    low = place.floor()
    first, second = (values.gather(0, at.nan_to_num().long()) for at in (low, place.ceil()))
    interval = first + (second - first) * (place - low)
    return torch.where(value.isnan(), torch.nan, interval)


def _sorted(values: Tensor) -> Tensor:
    """Return values sorted along the first dimension, NaN last: by NumPy, in a tenth of the time that torch takes."""
    return torch.from_numpy(np.sort(values.movedim(0, -1).contiguous().cpu())).movedim(-1, 0).to(values.device)


def _acceleration(spread: Spread) -> Tensor:
    """Return a sixth of the skewness of the estimate, from its deletions; 0 where they do not differ."""
    influence = -spread.deviations
    scale = influence.square().sum(0).pow(1.5)
    return torch.where(scale == 0, 0.0, influence.pow(3).sum(0) / (6 * scale))
