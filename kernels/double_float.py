"""Sums of float32 as two float32 each, for GPUs whose float64 is slow: 48 bits, as long as nothing is contracted.

What rounding takes from the first of the two the second keeps. A kernel that calls this is launched with `fused=False`.
"""

import triton
import triton.language as tl

# The square of the largest of n deviations is this times n at least where squares lose no digit that counts: what is
# below 2^-149 is lost of each product, and so 2^-47 of their sum at most.
LEAST_SQUARE = tl.constexpr(2.0**-100)


@triton.jit
def exact_sum(x, y):
    """Return the sum as it is rounded and what that took from it (Knuth, The Art of Computer Programming 2, 4.2.2)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


@triton.jit
def _plus(x, x_rest, y, y_rest):
    """Add two numbers, each in two parts; the second part of the sum may grow."""
    total, rest = exact_sum(x, y)
    return total, rest + (x_rest + y_rest)


@triton.jit
def _product(x, y):
    """Return the product of two numbers in two parts."""
    product = x[0] * y[0]
    rest = tl.fma(x[0], y[0], -product)
    return product, tl.fma(x[0], y[1], tl.fma(x[1], y[0], rest))


@triton.jit
def nothing(like):
    """Return zeros in two parts."""
    zeros = like.to(tl.float32) * 0
    return zeros, zeros


@triton.jit
def plus(x, y):
    """Return the sum of two numbers in two parts, the second as small as can be (Dekker's sum)."""
    total, rest = _plus(x[0], x[1], y[0], y[1])
    first = total + rest
    return first, rest - (first - total)


@triton.jit
def total_of(x, AXIS: tl.constexpr):
    """Sum numbers in two parts along an axis."""
    return tl.reduce((x[0], x[1]), AXIS, _plus)


@triton.jit
def lanes_of(x, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Sum what one thread holds of a tile (n, p, c): its vector of positions and its repeats along n and p."""
    N: tl.constexpr = x[0].shape[0] // N_TIMES
    P: tl.constexpr = x[0].shape[1] // (P_TIMES * VECTOR)
    first = tl.reshape(x[0], [N_TIMES, N, P_TIMES, P, VECTOR, x[0].shape[2]])
    rest = tl.reshape(x[1], [N_TIMES, N, P_TIMES, P, VECTOR, x[0].shape[2]])
    return total_of(total_of(total_of((first, rest), 4), 2), 0)


@triton.jit
def _largest(x, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Return the largest magnitude of what one thread holds of a tile."""
    N: tl.constexpr = x.shape[0] // N_TIMES
    P: tl.constexpr = x.shape[1] // (P_TIMES * VECTOR)
    x = tl.reshape(tl.abs(x), [N_TIMES, N, P_TIMES, P, VECTOR, x.shape[2]])
    return tl.max(tl.max(tl.max(x, axis=4), axis=2), axis=0)


@triton.jit
def add_samples(sums, da, db, N_TIMES: tl.constexpr, P_TIMES: tl.constexpr, VECTOR: tl.constexpr):
    """Add samples (n, p, c), their squares and their products to the sums, and find the largest of them."""
    return (
        plus(sums[0], lanes_of(da, N_TIMES, P_TIMES, VECTOR)),
        plus(sums[1], lanes_of(db, N_TIMES, P_TIMES, VECTOR)),
        plus(sums[2], lanes_of(_product(da, da), N_TIMES, P_TIMES, VECTOR)),
        plus(sums[3], lanes_of(_product(db, db), N_TIMES, P_TIMES, VECTOR)),
        plus(sums[4], lanes_of(_product(da, db), N_TIMES, P_TIMES, VECTOR)),
        tl.maximum(sums[5], _largest(da[0], N_TIMES, P_TIMES, VECTOR)),
        tl.maximum(sums[6], _largest(db[0], N_TIMES, P_TIMES, VECTOR)),
    )


@triton.jit
def _has_digits(largest, count):
    """Return of which channels the sums of squares have all digits that count."""
    largest = tl.max(tl.max(largest, axis=0), axis=0)
    return (largest == 0) | (largest * largest >= count * LEAST_SQUARE)


@triton.jit
def hold(totals, largest_a, largest_b, count):
    """Return whether two float32 hold the sums of all channels: nothing overflows, nor is too small."""
    every = totals[0] + totals[1] + totals[2] + totals[3] + totals[4]
    strange = tl.max(tl.max(tl.max((every - every != 0).to(tl.int32), axis=0), axis=0), axis=0)
    count = count.to(tl.float32)
    digits = _has_digits(largest_a, count) & _has_digits(largest_b, count)
    return (strange == 0) & (tl.min(digits.to(tl.int32), axis=0) == 1)


@triton.jit
def double(x):
    """Return a number in two parts as float64."""
    return x[0].to(tl.float64) + x[1].to(tl.float64)
