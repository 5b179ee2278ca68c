"""Sums in two float32, for GPUs whose float64 is slow: to the bars of all others, with no float64 where it counts."""

import re

import numpy as np
import pytest
import torch

from tests import truth
from tests.support.features import LAYOUTS, channels_last, contiguous, feature_pair, large_mean, transposed
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import MOMENTS
from tests.support.triton_assembly import instructions, loads_in_loops, narrow, reading_loop, spilled
from tests.support.triton_modes import compiling_for

F32, BF16 = torch.float32, torch.bfloat16
DOUBLE = re.compile(r"\b(DADD|DMUL|DFMA|DSETP|F2F\.F64\.F32|F2F\.F32\.F64)\b")


@pytest.fixture
def doubled(kernels, monkeypatch):
    monkeypatch.setattr(kernels, "sums_doubles", lambda x: False)
    monkeypatch.setattr(kernels, "SMALL", 0)  # and so all that is pooled is pooled first
    return kernels


def run(kernels, a, b, factor=None, pool=False):
    return kernels.comoments(a, b, factor, 1 if factor is None else 2, 1, pool)


@pytest.mark.parametrize(
    ("shape", "dtype", "pool"),
    [
        ((1, 1), F32, False),
        ((100, 2), F32, False),
        ((9, 2, 17), F32, False),
        ((2, 2, 2, 3, 5), F32, False),
        ((3, 1, 150), F32, True),
        ((3, 1, 150), BF16, True),
        ((2, 2, 2, 3, 5), F32, True),
    ],
    ids=str,
)
def test_interpreted_equals_numpy(doubled, shape, dtype, pool):
    for i, layout in enumerate(LAYOUTS):
        a, b, labels = feature_pair(shape, dtype)
        factor = labels if i % 2 else None
        moments = run(doubled, layout(a), layout(b), factor, pool)
        assert_moments(moments, true_moments(a, b, factor, pool=pool), MOMENTS[dtype])


def test_it_is_two_float32_that_are_tested(doubled, monkeypatch):
    """Not the float64 that takes their place where they do not hold a sum."""
    a, b, _ = feature_pair((20, 2, 12), F32)
    found = [run(doubled, a, b, pool=pool) for pool in (True, False)]
    monkeypatch.setattr(doubled, "sums_doubles", lambda x: True)
    for pool, moments in zip((True, False), found, strict=True):
        assert not torch.equal(run(doubled, a, b, pool=pool), moments)


def test_large_means_lose_nothing(doubled):
    a, b = (x[:, :2] for x in large_mean(F32, outlier_first=True))
    expected = truth.correlation(true_moments(a, b))
    doubled.TILE = 4096
    for layout in (contiguous, transposed):
        corr = truth.correlation(run(doubled, layout(a), layout(b)).numpy())
        np.testing.assert_allclose(corr, expected, rtol=0, atol=1e-9)
    samples = [x.T.reshape(2, 512, 8).transpose(0, 1) for x in (a, b)]  # (512, 2, 8)
    corr = truth.correlation(run(doubled, *samples, pool=True).numpy())
    np.testing.assert_allclose(corr, truth.correlation(true_moments(*samples)), rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:(invalid value|overflow|divide by zero|All-NaN):RuntimeWarning")  # NumPy's
def test_what_two_float32_cannot_hold_is_summed_in_float64(doubled):
    """Squares that overflow, vanish or lose digits; what is not finite stays in its channel."""
    a, b, _ = feature_pair((12, 8, 5), F32)
    for channel, scale in enumerate((1e30, 1e-12, 1e-16, 1e-22, 1e-35)):
        a[:, channel], b[:, channel] = a[:, channel] * scale, b[:, channel] * scale
    a[:, 5], a[3, 6, 2], b[4, 7, 1] = 0.1, torch.nan, torch.inf
    for pool in (True, False):
        moments = run(doubled, a, b, pool=pool)
        expected = truth.correlation(true_moments(a, b, pool=pool))
        np.testing.assert_allclose(truth.correlation(moments.numpy()), expected, rtol=0, atol=1e-10)
        assert (moments[[3, 5], 0, 5] == 0).all() and np.isnan(expected[0, 6:]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("target", "most"), {"sm_86": 740, "sm_89": 740, "sm_103": 450}.items())
def test_float64_is_left_to_the_ends_of_loops(target, most):
    """Eight pairs of float32 take 96 of its instructions elsewhere, each of which takes as long here as 64 others."""
    from sdfast.kernels import comoments

    size = 392
    x = torch.empty(2000, 64, size)
    for features, pool in ((x, False), (x, True), (x.bfloat16(), True), (channels_last(x), False)):
        with compiling_for(target) as compiled:
            comoments(features, features, None, 1, 1, pool)
        kernel = compiled[0]
        assert spilled(kernel) == 0 and not kernel.metadata.enable_fp_fusion
        assert not narrow(loads_in_loops(kernel)) and not DOUBLE.search("\n".join(reading_loop(kernel)))
        if features is x and not pool:
            number, bytes_read = instructions(kernel)
            tile = next(v for v in kernel.src.constants.values() if hasattr(v, "p_times"))
            assert number * 64 / bytes_read * (-(-size // tile.p) * tile.p) / size <= most
