"""Quantiles of Student's t distribution, without SciPy."""

import functools
import math

from sdfast.foundation import check_integer


@functools.lru_cache(maxsize=1024)
def student_quantile(probability: float, freedom: int) -> float:
    """Return what Student's t stays below with a probability.

    Args:
        probability: between 0 and 1.
        freedom: degrees of freedom, a positive integer.

    Returns:
        The quantile, to about 1e-12 of its size.

    Raises:
        ValueError: an argument is out of range.

    Source: Abramowitz and Stegun 26.7.3 and 26.7.4, a finite sum of powers of cos^2 for integer degrees of freedom,
    with t = sqrt(freedom) tan(angle).

    >>> round(student_quantile(0.975, 63), 6)
    1.998341
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability: expected a number between 0 and 1, got {probability!r}")
    check_integer("freedom", freedom, 1)
    if probability < 0.5:
        return -student_quantile(1 - probability, freedom)
    wanted = 2 * probability - 1  # of |t|
    low, high = 0.0, math.pi / 2
    while low < (angle := (low + high) / 2) < high:
        low, high = (angle, high) if _within(angle, freedom) < wanted else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def student_within(reach: float, freedom: int) -> float:
    """Return the probability that Student's t lies within ± reach.

    Args:
        reach: not below 0.
        freedom: degrees of freedom, a positive integer.

    Source: as for `student_quantile`.

    >>> round(student_within(1.96, 2), 3)
    0.811
    """
    check_integer("freedom", freedom, 1)
    return _within(math.atan(reach / math.sqrt(freedom)), freedom)


def _within(angle: float, freedom: int) -> float:
    """Return the probability that |t| is at most sqrt(freedom) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = (cosine if odd else 1.0) if freedom > 1 else 0.0
    for power in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (power - 1) / power
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
