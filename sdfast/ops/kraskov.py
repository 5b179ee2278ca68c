"""Kraskov's estimator of mutual information as a torch operator."""

import torch
from torch import Tensor

from sdfast.backends import is_direct, run_or_compose
from sdfast.foundation import check_integer
from sdfast.ops.checks import check_no_gradient, check_samples


def kraskov(a: Tensor, b: Tensor, neighbors: int = 3, seed: int = 0) -> Tensor:
    """Estimate the mutual information of each channel's paired samples from distances to nearest neighbours.

    Samples are divided by their population standard deviation. A jitter of 1e-10 of it, which depends on the seed,
    the channel and the position, parts equal ones. With d the greater distance in a and b to the nearest neighbour
    number k of a point, and n_a, n_b the other points strictly within d in a and in b, the estimate is
    psi(N) + psi(k) - mean(psi(n_a + 1) + psi(n_b + 1)). On GPUs it is composed of torch's own operations, over all
    N^2 distances.

    Args:
        a: samples (N, C) float64, any strides.
        b: samples paired with them; like a.
        neighbors: k; fewer than N. More of them vary less and blur more.
        seed: of the jitter, from 0 to 2**63 - 1.

    Returns:
        Information (C,) float64 in nats, which may fall below 0; NaN for a channel with a sample that is not finite,
        0 where a or b never varies.

    Raises:
        TypeError: a or b is no tensor of float64.
        ValueError: shapes, devices, neighbors or seed do not fit, or a gradient is wanted: there is none.

    Source: Kraskov, Stoegbauer and Grassberger, Physical Review E 69, 066138 (2004), equation 8.

    >>> import torch
    >>> a = torch.linspace(-1, 1, 1000, dtype=torch.float64)[:, None]
    >>> bool(kraskov(a, a.square()) > 3), bool(kraskov(a, torch.ones_like(a)) == 0)
    (True, True)
    """
    if is_direct(a, b, None):
        return _run(a, b, neighbors, seed)
    check_arguments(a, b, neighbors, seed)
    information: Tensor = torch.ops.sdfast.kraskov(a, b, neighbors, seed)
    return information


def check_arguments(a: Tensor, b: Tensor, neighbors: int, seed: int) -> None:
    """Raise an error that names the first argument that does not fit."""
    for name, samples in (("a", a), ("b", b)):
        check_samples(name, samples)
        check_no_gradient(name, samples)
    if b.shape != a.shape:
        raise ValueError(f"b: expected shape {tuple(a.shape)} like a, got {tuple(b.shape)}")
    if b.device != a.device:
        raise ValueError(f"b: expected device {a.device} like a, got {b.device}")
    check_integer("neighbors", neighbors, 1)
    if neighbors >= len(a):
        raise ValueError(f"neighbors: expected fewer than the number of samples, {len(a)}, got {neighbors}")
    check_integer("seed", seed, 0, 2**63 - 1)


def _run(a: Tensor, b: Tensor, neighbors: int, seed: int) -> Tensor:
    return run_or_compose("kraskov", check_arguments, (a, b, neighbors, seed))


@torch.library.custom_op("sdfast::kraskov", mutates_args=())
def _kraskov(a: Tensor, b: Tensor, neighbors: int, seed: int) -> Tensor:
    return _run(a, b, neighbors, seed)


@_kraskov.register_fake
def _(a: Tensor, b: Tensor, neighbors: int, seed: int) -> Tensor:
    return a.new_empty(a.shape[1])
