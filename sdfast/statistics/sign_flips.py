"""Is there any correlation at all? Tests by flipping the signs of groups of sources."""

import torch
from torch import Tensor

from sdfast.foundation import check_integer
from sdfast.statistics.state import merge

ALTERNATIVES = ("two-sided", "greater", "less")
ADJUSTMENTS = (None, "bh", "maxT")
ALL_SIGNS = 12  # up to so many groups all 2^K signs are tried
_CHUNK = 1 << 17  # float64 numbers of flipped sums held at a time: 1 MiB, which a cache holds
_SAME = 1e-12  # of the sum of all absolute values: what differs by less is a tie, and counts


def sign_flip_test(
    grouped: Tensor,
    *,
    alternative: str = "two-sided",
    adjust: str | None = None,
    flips: int = 9999,
    seed: int = 0,
) -> Tensor:
    """Return p values of the hypothesis that channels do not correlate.

    Were there nothing that the clips of a pair share, each source's sum of products could as well have the other
    sign. Up to 12 groups all signs are tried, and p is the part of them that gives as much as was seen; else random
    ones, and p is (1 + how many of B) / (B + 1).

    Args:
        grouped: co-moments (6, G, F, C) float64 of groups of whole sources; see `GroupedCoMoments`.
        alternative: "two-sided", or "greater" or "less" for correlations above or below 0.
        adjust: None; "bh" for a false discovery rate, after Benjamini and Hochberg; "maxT" for the probability of one
            false discovery anywhere. Both are over all channels and factors together.
        flips: how many random signs B to draw.
        seed: of the draws.

    Returns:
        (F, C) float64: 1 where nothing varies, NaN in channels with a NaN or Inf and without a pair.

    Raises:
        ValueError: an argument is none of these or out of range.

    Source: Hemerik, Goeman and Finos, JRSS B 82 (2020); Westfall and Young (1993) for maxT.

    >>> import torch
    >>> from sdfast.statistics import GroupedCoMoments
    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> state = GroupedCoMoments(num_channels=1, num_factors=1)
    >>> state.update(x, x[[1, 0, 3, 2, 5, 4]])
    >>> sign_flip_test(state.moments, alternative="greater")
    tensor([[0.0625]], dtype=torch.float64)
    """
    for name, value, known in (("alternative", alternative, ALTERNATIVES), ("adjust", adjust, ADJUSTMENTS)):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {value!r}")
    check_integer("flips", flips, 1)
    with_pairs = (grouped[0, ..., 0] > 0).any(-1)
    groups = grouped[:, with_pairs]
    if not len(groups[0]):
        return torch.full(grouped.shape[2:], torch.nan, dtype=torch.float64, device=grouped.device)
    sums = group_products(groups).flatten(1)  # (K, F C)
    broken = sums.isnan().any(0) | (groups[0].sum(0).flatten() == 0)
    sums = torch.where(broken, 0.0, sums)
    scale = sums.square().sum(0).sqrt()
    if adjust == "maxT":
        sums = sums / torch.where(scale == 0, 1.0, scale)
    seen, reach = sums.sum(0), _SAME * sums.abs().sum(0)
    signs, drawn = _signs(len(sums), flips, seed)
    size = max(1, _CHUNK // sums.shape[1])
    wanted, as_much, largest = _extremity(seen, alternative) - reach, torch.zeros_like(seen), []
    tested = sums if adjust != "maxT" or broken.all() else sums[:, ~broken]
    for some in signs.split(size):
        flipped = _extremity(some.to(sums) @ tested, alternative)  # (B, F C)
        if adjust == "maxT":
            largest.append(flipped.amax(1))
        else:
            as_much += (flipped >= wanted).sum(0)
    if adjust == "maxT":
        as_much += len(signs) - torch.searchsorted(torch.cat(largest).sort().values, wanted)
    p = (as_much + drawn) / (len(signs) + drawn)
    p = torch.where(broken, torch.nan, p)
    if adjust == "bh":
        p = benjamini_hochberg(p)
    return p.view(grouped.shape[2:])


def group_products(groups: Tensor) -> Tensor:
    """Return the sum of (a - mean a)(b - mean b) over the pairs of each group, means over all groups: (K, F, C)."""
    mean_a, mean_b = merge(groups.movedim(1, 0))[1:3].unbind()
    return groups[5] + groups[0] * (groups[1] - mean_a) * (groups[2] - mean_b)


def benjamini_hochberg(p: Tensor) -> Tensor:
    """Return p values (M,) adjusted for the false discovery rate, NaN where they are; those do not count.

    Source: Benjamini and Hochberg, JRSS B 57 (1995).

    >>> import torch
    >>> benjamini_hochberg(torch.tensor([0.01, 0.5, 0.02, torch.nan]))
    tensor([0.0300, 0.5000, 0.0300,    nan])
    """
    ordered, order = p.sort(descending=True)  # NaN first
    known = ~ordered.isnan()
    rank = known.flip(0).cumsum(0).flip(0)
    worst = torch.where(known, ordered * known.sum() / rank, torch.inf).cummin(0).values.clamp(max=1)
    return torch.empty_like(p).scatter_(0, order, torch.where(known, worst, torch.nan))


def content_correlation(corr: Tensor, num_styles: int) -> Tensor:
    """Return the correlation by content, where the two clips of a pair never have the same style.

    Styles that are always distinct repel each other: features that tell nothing but style correlate by
    -1 / (K - 1), which would pass for less than nothing shared.

    Args:
        corr: correlations of any shape.
        num_styles: how many styles K there are, at least 2.

    Returns:
        ((K - 1) corr + 1) / K: 0 for features of style alone, 1 for features of content alone.

    Raises:
        ValueError: num_styles is below 2.

    >>> content_correlation(torch.tensor([-0.25, 1.0]), num_styles=5)
    tensor([0., 1.])
    """
    check_integer("num_styles", num_styles, 2)
    return ((num_styles - 1) * corr + 1) / num_styles


def _signs(groups: int, flips: int, seed: int) -> tuple[Tensor, int]:
    """Return signs (B, K) int8, and 1 where they are drawn, so that what was seen counts as one more."""
    if groups <= ALL_SIGNS:
        bits = torch.arange(2**groups).unsqueeze(1) >> torch.arange(groups) & 1
    else:
        bits = torch.randint(2, (flips, groups), generator=torch.Generator().manual_seed(seed))
    return (1 - 2 * bits).to(torch.int8), int(groups > ALL_SIGNS)


def _extremity(statistic: Tensor, alternative: str) -> Tensor:
    """Return the statistic such that larger is farther from the hypothesis."""
    return {"two-sided": statistic.abs, "greater": statistic.positive, "less": statistic.neg}[alternative]()
