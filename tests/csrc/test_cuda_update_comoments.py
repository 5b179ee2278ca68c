"""The running state on GPUs, by the CUDA kernels: a batch merged by the kernel that ends its sums, as NumPy would."""

import pytest
import torch

from tests.support.cuda_modes import MODES, emulated, ready
from tests.support.features import LAYOUTS, contiguous, feature_pair
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import MOMENTS

pytestmark = pytest.mark.slow  # the emulator is built first

GROUPS, FACTORS = 3, 2


@pytest.fixture(params=MODES)
def kernels(request):
    with ready(request.param) as made:
        yield made


def pairs(shape, dtype=torch.float32):
    """Return features, labels of which some are of no factor, and sources."""
    a, b, labels = feature_pair(shape, dtype)
    labels[::5] = 2
    return a, b, labels, torch.arange(shape[0]) * 7 % 5 + 2**40


def update(kernels, state, a, b, labels, source, pool, layout=contiguous):
    for batch in (slice(0, 1), slice(1, 9), slice(9, None)):
        factor, cut_from = (None if x is None else x[batch] for x in (labels, source))
        state = kernels.update_comoments(state, layout(a[batch]), layout(b[batch]), factor, cut_from, 1, pool)
    return state


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("shape", [(20, 5), (14, 3, 7), (90, 8, 400)], ids=str)
def test_batches_add_up_to_all_pairs(kernels, shape, pool):
    """In one launch and after a merge; with labels, and with sources too."""
    for i, dtype in enumerate(MOMENTS):
        kernels.use((1, 40)[i % 2], order=i)
        a, b, labels, source = pairs(shape, dtype)
        known, layout = labels < FACTORS, LAYOUTS[i % 4]
        state = torch.zeros(6, FACTORS, shape[1], dtype=torch.float64)
        found = update(kernels, state, a, b, labels, None, pool, layout)
        assert_moments(found, true_moments(a[known], b[known], labels[known], pool=pool), MOMENTS[dtype])
        alone = torch.zeros(6, 1, shape[1], dtype=torch.float64)
        found = update(kernels, alone, a, b, None, None, pool, layout)
        assert_moments(found, true_moments(a, b, pool=pool), MOMENTS[dtype])
        grouped = torch.zeros(6, GROUPS, FACTORS, shape[1], dtype=torch.float64)
        rows = (source % GROUPS * FACTORS + labels)[known]
        expected = true_moments(a[known], b[known], rows, num_factors=GROUPS * FACTORS, pool=pool)
        found = update(kernels, grouped, a, b, labels, source, pool, layout)
        assert_moments(found.flatten(1, 2), expected, MOMENTS[dtype])


def test_groups_without_labels_have_rows_of_their_own(kernels):
    a, b, _, source = pairs((20, 5, 6))
    found = update(kernels, torch.zeros(6, GROUPS, 1, 5, dtype=torch.float64), a, b, None, source, True)
    expected = true_moments(a, b, source % GROUPS, num_factors=GROUPS)
    assert_moments(found.flatten(1, 2), expected, MOMENTS[a.dtype])


def test_rows_of_no_pair_are_not_touched_and_gaps_are_refused():
    module = emulated()
    a, b, _, source = pairs((4, 5))
    state = torch.full((6, GROUPS, FACTORS, 5), torch.nan, dtype=torch.float64)
    state[:, 1, 0] = 0
    before = module.launches()
    assert module.update_comoments(state, a, b, torch.tensor([0, 9, -1, 0]), source * 0 + 1, 1, True) is state
    assert module.launches() == before + 1
    assert state[:, 1, 0].isfinite().all() and (state[0, 1, 0] == 2).all()
    state[:, 1, 0] = torch.nan
    assert state.isnan().all()
    wide = torch.zeros(6, 1, 10, dtype=torch.float64)
    assert module.update_comoments(wide[..., ::2], a, b, None, None, 1, True) is None and (wide == 0).all()
    for moments, cut_from in ((wide, None), (wide[..., :5].contiguous(), source), (wide[:, None], None)):
        with pytest.raises(ValueError, match="arguments refused"):
            module.update_comoments(moments, a, b, None, cut_from, 1, True)
