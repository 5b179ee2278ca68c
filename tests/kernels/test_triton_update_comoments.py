"""The running state on GPUs: a batch merged by the kernel that ends its sums, as NumPy would have it."""

import pytest
import torch

import sdfast
from sdfast.statistics import GroupedCoMoments
from tests.support.features import LAYOUTS, contiguous, feature_pair
from tests.support.gpu_modes import at
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import MOMENTS
from tests.support.triton_modes import launching

GROUPS = 3
SHAPES = [(20, 5), (14, 3, 7), (11, 2, 40)]


def pairs(shape, dtype=torch.float32):
    """Return features, labels of which some are of no factor, and sources."""
    a, b, labels = feature_pair(shape, dtype)
    labels[::5] = 2
    return a, b, labels, torch.arange(shape[0]) * 7 % 5 + 2**40


def update(kernels, state, a, b, labels, source, pool, layout=contiguous):
    for batch in (slice(0, 1), slice(1, 9), slice(9, None)):
        factor, cut_from = (None if x is None else x[batch] for x in (labels, source))
        args = layout(a[batch]), layout(b[batch]), factor, cut_from, 1, pool
        assert kernels.update_comoments(state, *args) is state
    return state


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batches_add_up_to_all_pairs(kernels, shape, pool):
    for i, dtype in enumerate(MOMENTS if len(shape) == 2 else (torch.float32, torch.bfloat16)):
        a, b, labels, _ = pairs(shape, dtype)
        known = labels < 2
        state = torch.zeros(6, 2, shape[1], dtype=torch.float64)
        update(kernels, state, a, b, labels, None, pool, LAYOUTS[i % 4])
        expected = true_moments(a[known], b[known], labels[known], pool=pool)
        assert_moments(state, expected, MOMENTS[dtype])
        alone = torch.zeros(6, 1, shape[1], dtype=torch.float64)
        assert_moments(update(kernels, alone, a, b, None, None, pool), true_moments(a, b, pool=pool), MOMENTS[dtype])


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(("shape", "pool"), [(SHAPES[0], True), (SHAPES[2], True), (SHAPES[1], False)], ids=str)
def test_groups_of_sources_have_rows_of_their_own(kernels, shape, pool, labelled):
    a, b, labels, source = pairs(shape)
    known = labels < 2 if labelled else labels >= 0
    factors = 2 if labelled else 1
    rows = (source % GROUPS * factors + (labels if labelled else 0))[known]
    state = torch.zeros(6, GROUPS, factors, shape[1], dtype=torch.float64)
    update(kernels, state, a, b, labels if labelled else None, source, pool)
    expected = true_moments(a[known], b[known], rows, num_factors=GROUPS * factors, pool=pool)
    assert_moments(state.flatten(1, 2), expected, MOMENTS[a.dtype])


def test_rows_of_no_pair_are_not_touched(kernels):
    a, b, labels, source = pairs((6, 5))
    state = torch.full((6, GROUPS, 2, 5), torch.nan, dtype=torch.float64)
    state[:, 1] = 0
    kernels.update_comoments(state, a, b, labels * 0, source * 0 + 1, 1, True)
    assert state[:, 1, 0].isfinite().all() and (state[:, 1, 1] == 0).all()
    assert state[:, 0].isnan().all() and state[:, 2].isnan().all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_equal_batches_have_no_variance_and_bad_values_stay_in_their_channel(kernels):
    a, b, _, _ = pairs((6, 5))
    a[:, 0] = 0.1
    state = torch.zeros(6, 1, 5, dtype=torch.float64)
    for i in range(7):
        a[0, 3] = torch.inf if i == 4 else 1.0
        kernels.update_comoments(state, a[i % 3 :], b[i % 3 :], None, None, 1, True)
    assert (state[3, 0, 0] == 0) and (state[5, 0, 0] == 0)
    assert state[:, 0, [0, 1, 2, 4]].isfinite().all()


def test_a_state_with_gaps_is_left_to_others(kernels):
    a, b, _, _ = pairs((6, 5))
    state = torch.zeros(6, 1, 10, dtype=torch.float64)[..., ::2]
    assert kernels.update_comoments(state, a, b, None, None, 1, True) is None and (state == 0).all()


def test_states_come_here():
    """Both kinds of them, and the numbers are those of the CPU."""
    a, b, labels, source = pairs((12, 4, 6))
    labels %= 2
    with at("cpu", "triton") as place:
        launches = place.launches(lambda: sdfast.CoMoments(4).update(a, b, labels))
        assert launches == ["partial_comoments"]
        states = sdfast.CoMoments(4), GroupedCoMoments(4, groups=2)
        for state in states:
            state.update(a, b, labels, source=source)
    for state, expected in zip(states, (sdfast.CoMoments(4), GroupedCoMoments(4, groups=2)), strict=True):
        expected.update(a, b, labels, source=source)
        torch.testing.assert_close(state.moments, expected.moments, rtol=1e-12, atol=1e-12)


def test_an_update_launches_no_more_than_the_sums_of_a_batch():
    from sdfast import kernels

    for shape, few in (((8, 64), 1), ((32, 64, 4, 7, 7), 1), ((600, 64, 392), 2), ((40000, 64), 2)):
        x, labels = torch.empty(shape, device="meta"), torch.empty(shape[0], dtype=torch.int64, device="meta")
        with launching() as launches:
            kernels.update_comoments(
                torch.empty(6, 2, 64, dtype=torch.float64, device="meta"), x, x, labels, None, 1, True
            )
        assert len(launches) == few, (shape, launches)
