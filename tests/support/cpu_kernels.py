"""What the kernels of the CPU have to pass, built for this machine or, under an emulator, for another."""

import itertools

import numpy as np
import torch

import sdfast
from sdfast.ops import GRANULARITIES, comoments
from tests import truth
from tests.support.dropout import SEED, features, grid_mask, true_dropout
from tests.support.features import LAYOUTS, contiguous, feature_pair, large_mean, transposed
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import CORRELATION, MOMENTS

# C = 1, 63, 1000; N = 1, 2; runs below, at and beyond a vector; several position dimensions.
COMOMENTS_SHAPES = [
    (1, 1),
    (2, 1),
    (7, 63),
    (33, 1000),
    (300, 70),
    (5, 3, 1),
    (9, 16, 17),
    (17, 33, 15),
    (3, 2, 1000),
    (2, 1, 5000),
    (4, 65, 7, 7),
    (40, 24, 3, 4),
    (3, 40, 2, 3, 5),
    (2, 5, 4, 8, 8),
]
# No positions, one, a run that is no multiple of eight draws, several dimensions, more than a block.
DROPOUT_SHAPES = [
    (1, 1),
    (5, 37),
    (5, 64),
    (32, 512),
    (4, 9, 1),
    (3, 5, 50),
    (2, 3, 4, 5, 7),
    (2, 3, 3000),
    (2, 70, 2, 4),
]


def assert_comoments_of_all_layouts(shape, dtype):
    a, b, labels = feature_pair(shape, dtype)
    for pool, factor in itertools.product((True, False), (None, labels)):
        expected = true_moments(a, b, factor, pool=pool)
        for layout_a, layout_b in itertools.product(LAYOUTS, LAYOUTS):
            moments = comoments(layout_a(a), layout_b(b), factor, pool=pool)
            assert_moments(moments, expected, MOMENTS[dtype])


def assert_large_means_lose_nothing(dtype, outlier_first):
    a, b = large_mean(dtype, outlier_first)
    expected = truth.correlation(true_moments(a, b))
    for layout in (contiguous, transposed):  # columns and runs
        corr = truth.correlation(comoments(layout(a), layout(b)).numpy())
        np.testing.assert_allclose(corr, expected, rtol=0, atol=1e-9)


def assert_an_outlier_does_not_spoil_halves(dtype, layout):
    """The shift starts at the first sample; here it is 200 standard deviations off."""
    a, b, _ = feature_pair((20000, 8), dtype, seed=2)
    a[0], b[0] = 400, -400
    corr = truth.correlation(comoments(layout(a), layout(b)).numpy())
    np.testing.assert_allclose(corr, truth.correlation(true_moments(a, b)), rtol=0, atol=CORRELATION[dtype])


def assert_a_bad_value_stays_in_its_channel(dtype, bad):
    for shape, pool in itertools.product([(20, 70), (3, 40, 37)], (True, False)):
        a, b, _ = feature_pair(shape, dtype)
        clean = comoments(a, b, pool=pool)
        for layout in LAYOUTS:
            spoilt = a.clone()
            spoilt[(-1, 5, *(-1,) * (a.ndim - 2))] = bad
            moments = comoments(layout(spoilt), layout(b), pool=pool)
            assert np.isnan(truth.correlation(moments.numpy())[0, 5]) and moments[3, 0, 5].isnan()
            others = [c for c in range(shape[1]) if c != 5]
            torch.testing.assert_close(moments[..., others], clean[..., others], rtol=1e-5, atol=1e-5)


def assert_constant_channels_have_no_variance(dtype):
    for shape, pool in itertools.product([(21, 50), (6, 50, 7, 7), (9, 3, 100)], (True, False)):
        a, b, _ = feature_pair(shape, dtype)
        a[:, 1] = 0.1
        for layout in LAYOUTS:
            moments = comoments(layout(a), layout(b), pool=pool)
            assert (moments[[3, 5], 0, 1] == 0).all()


def assert_equal_features_correlate_exactly(dtype):
    for shape in [(50, 40), (5, 20, 7, 7)]:
        a, _, _ = feature_pair(shape, dtype)
        moments = comoments(a, a.clone(), pool=False)
        assert torch.equal(moments[3], moments[5]) and torch.equal(moments[4], moments[5])


def drop(x, **kwargs):
    return sdfast.static_dropout(x, seed=SEED, **kwargs)


def assert_dropout_of_all_layouts(shape, dtype):
    x = features(shape, dtype)
    weight = torch.rand(shape[1], generator=torch.Generator().manual_seed(1))
    weight[0] = 0
    cases = itertools.product(GRANULARITIES, (None, "coarse", "fine", "bool", "uint8", "double"), (None, weight))
    for i, (granularity, kind, w) in enumerate(cases):
        mask = None if kind is None else grid_mask(shape, kind)
        rescale = i % 2 == 0 or kind is None
        expected = true_dropout(x, SEED, 0.7, mask, w, granularity, rescale)
        settings = dict(p=0.7, mask=mask, channel_weight=w, granularity=granularity, rescale=rescale)
        for layout in LAYOUTS:
            assert torch.equal(drop(layout(x), **settings), expected)
            inside = layout(x.clone())
            assert drop(inside, inplace=True, **settings) is inside
            assert torch.equal(inside, expected)


def assert_what_a_mask_leaves_out_stays(dtype, kind):
    """Rows that are worked on in several runs, with gaps of all lengths in between."""
    x = features((2, 3, 6, 41, 29), dtype)
    generator = torch.Generator().manual_seed(5)
    centres = torch.rand((2, 6, 41, 29), generator=generator)
    mask = torch.nn.functional.max_pool2d((centres > 0.995).float(), 5, 1, 2)  # spots of 5 x 5
    if kind == "frames":
        mask = torch.zeros_like(mask).index_fill_(1, torch.tensor([1, 4]), 1.0)
    if kind == "fractions":
        mask *= torch.rand(mask.shape, generator=generator)
    weight = torch.tensor([1.0, 0.0, 0.7])
    for rescale in (False, True):
        guidance = {"mask": mask, "channel_weight": weight, "rescale": rescale, "granularity": "element"}
        expected = true_dropout(x, SEED, 0.6, mask, weight, "element", rescale)
        assert torch.equal(sdfast.static_dropout(x, 0.6, seed=torch.tensor(SEED), **guidance), expected)
        x_in_place = x.clone()
        sdfast.static_dropout(x_in_place, 0.6, seed=torch.tensor(SEED), inplace=True, **guidance)
        assert torch.equal(x_in_place, expected)


def assert_dropout_keeps_what_is_not_finite_or_makes_it_zero(dtype):
    x = features((3, 40, 33), dtype)
    x[0, 0], x[1, 1], x[2, 2, ::2] = torch.nan, torch.inf, -torch.inf
    gone, _ = truth.dropped(x.shape, SEED, 0.5)
    gone = torch.from_numpy(gone.copy())
    for rescale in (False, True):
        y = drop(x, rescale=rescale)
        assert (y[gone] == 0).all()
        assert torch.equal(y[~gone].isnan(), x[~gone].isnan()) and torch.equal(y[~gone].isinf(), x[~gone].isinf())
    assert torch.equal(drop(x, rescale=False)[~gone].nan_to_num(), x[~gone].nan_to_num())


def assert_dropout_depends_on_no_number_of_threads():
    x, mask = features((4, 64, 4, 28, 28)), grid_mask((4, 64, 4, 28, 28), "coarse")
    expected = true_dropout(x, SEED, 0.5, mask, granularity="element")
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for layout in LAYOUTS[:2]:
                assert torch.equal(drop(layout(x), mask=mask, granularity="element"), expected)
    finally:
        torch.set_num_threads(before)
