"""The update of grouped co-moments in place against NumPy float64, on every instruction set."""

import itertools
import threading

import pytest
import torch

from sdfast.backends import load
from tests.support.features import LAYOUTS, feature_pair
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import MOMENTS

_C = load("cpu")

# Rows of positions, columns, single samples; more channels than a vector; enough for several threads.
SHAPES = [(60, 1), (60, 70), (61, 5, 40), (40, 16, 2, 3, 4), (24, 130, 8, 7)]
ROWS = 23


def pairs(shape, dtype=torch.float32):
    """Return features and the row of each pair: of few pairs halves know the variance badly, so many or one."""
    a, b, _ = feature_pair(shape, dtype)
    rows = torch.tensor([3, 11, 22])[torch.randint(0, 3, shape[:1], generator=torch.Generator().manual_seed(1))]
    rows[:2] = torch.tensor([7, 0])
    return a, b, rows


def empty_state(channels, rows=ROWS):
    return torch.zeros(6, rows, channels, dtype=torch.float64)


def updated(a, b, rows, batches, pool):
    """Return the state after updates with the pairs of each batch, given as indices, laid out in turn."""
    state = empty_state(a.shape[1])
    for batch, layout in zip(batches, itertools.cycle(LAYOUTS)):
        assert _C.update_comoments(state, layout(a[batch]), layout(b[batch]), rows[batch], None, 1, pool) is state
    return state


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_numpy_however_the_pairs_come(isa, shape, dtype):
    """At once, one by one, in pieces, in other orders."""
    a, b, rows = pairs(shape, dtype)
    shuffled = torch.randperm(shape[0], generator=torch.Generator().manual_seed(1))
    pieces = list(shuffled.split([1, 7, 2, shape[0] - 10]))
    for pool in (True, False):
        expected = true_moments(a, b, rows, num_factors=ROWS, pool=pool)
        for batches in ([shuffled], shuffled.split(1), pieces, pieces[::-1]):
            assert_moments(updated(a, b, rows, batches, pool), expected, MOMENTS[dtype])


def test_channels_may_be_last(isa):
    a, b, rows = pairs((30, 6, 50))
    state = empty_state(50)
    for half in (slice(0, 20), slice(20, 30)):
        _C.update_comoments(state, a[half], b[half], rows[half], None, -1, False)
    expected = true_moments(a, b, rows, num_factors=ROWS, channel_dim=2, pool=False)
    assert_moments(state, expected, MOMENTS[a.dtype])


def test_without_rows_all_pairs_are_of_the_only_one(isa):
    a, b, _ = pairs((33, 6, 20))
    state = empty_state(6, rows=1)
    for half in (slice(0, 20), slice(20, 33)):
        _C.update_comoments(state, a[half], b[half], None, None, 1, False)
    assert_moments(state, true_moments(a, b, pool=False), MOMENTS[a.dtype])


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("labelled", [True, False], ids=["factors", "one factor"])
def test_sources_go_to_their_groups(isa, labelled, dtype):
    """Those of one group lie anywhere, also beyond 32 bits."""
    a, b, rows = pairs((40, 16, 6), dtype)
    source = rows + 7 * torch.arange(40).fmod(3) * 2**40
    factor, factors = (torch.arange(40) % 3, 3) if labelled else (None, 1)
    state = torch.zeros(6, 7, factors, 16, dtype=torch.float64)
    for batch in torch.arange(40).split(9):
        labels = None if factor is None else factor[batch]
        _C.update_comoments(state, a[batch], b[batch], labels, source[batch], 1, False)
    together = (rows % 7) * factors + (0 if factor is None else factor)
    expected = true_moments(a, b, together, num_factors=7 * factors, pool=False)
    assert_moments(state.flatten(1, 2), expected, MOMENTS[dtype])


def test_only_rows_of_the_batch_are_touched():
    """Whatever the others hold; and the gaps of a state that is part of another."""
    a, b, _ = pairs((5, 9))
    whole = torch.full((6, 2 * ROWS, 12), torch.nan, dtype=torch.float64)
    state, rows = whole[:, ::2, :9], torch.tensor([3, 20, 3, 11, 20])
    touched = torch.zeros_like(whole, dtype=torch.bool)
    touched[:, ::2, :9][:, rows] = True
    state[:, rows] = 0
    _C.update_comoments(state, a, b, rows, None, 1, True)
    assert torch.equal(whole.isnan(), ~touched)
    expected = true_moments(a, b, rows, num_factors=ROWS)
    assert_moments(state[:, [3, 11, 20]], expected[:, [3, 11, 20]], MOMENTS[a.dtype])


def test_an_empty_row_takes_what_the_batch_has_bit_by_bit():
    a, b, rows = pairs((16, 40, 9))
    state = updated(a, b, rows, [torch.arange(16)], True)
    assert torch.equal(state, _C.comoments(a, b, rows, ROWS, 1, True))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_bad_value_stays_in_its_row_and_channel(isa, bad):
    a, b, rows = pairs((16, 40, 9))
    clean = updated(a, b, rows, torch.arange(16).split(4), True)
    a[6, 3, 5] = bad
    state = updated(a, b, rows, torch.arange(16).split(4), True)
    spoilt = torch.zeros(ROWS, 40, dtype=torch.bool)
    spoilt[rows[6], 3] = True
    assert state[1][spoilt].isfinite().logical_not().all() and state[3][spoilt].isnan().all()
    assert torch.equal(state[:, ~spoilt], clean[:, ~spoilt])


def test_threads_that_update_one_state_lose_nothing():
    a, b, rows = pairs((16, 64, 100))
    state = empty_state(64)

    def work():
        for _ in range(20):
            _C.update_comoments(state, a, b, rows, None, 1, True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(state[0, :, 0], 80 * torch.bincount(rows, minlength=ROWS).double())


def test_what_does_not_fit_is_refused_and_nothing_is_written():
    a, b, rows = pairs((8, 5, 4))
    x = torch.ones(8, 6, 4)
    state = empty_state(5)
    wrong = [
        (state, a, b, torch.full((8,), ROWS)),
        (state, a, b, torch.tensor([0, 1, 2, 3, 4, 5, 6, -1])),
        (state, a, b, torch.tensor([0, 1, 2, 3, 4, 5, 6, 2**62])),
        (state, a, b, rows[:7]),
        (state, a, b, rows.int()),
        (state, a, b, rows[None]),
        (state, a, b, None),
        (state, a, b[:7], rows),
        (state, a, b.double(), rows),
        (state, x, x, rows),
        (state.float(), a, b, rows),
        (state[:5], a, b, rows),
        (state[0], a, b, rows),
        (state[0, 0, 0], a, b, rows),
        (state[:, :0], a, b, rows),
        (empty_state(10)[..., ::2], a, b, rows),
        (state[:, :1].expand(-1, ROWS, -1), a, b, rows),
        (state[:1].expand(6, -1, -1), a, b, rows),
        (state.numpy(), a, b, rows),
    ]
    for case in wrong:
        with pytest.raises(ValueError, match="arguments refused"):
            _C.update_comoments(*case, None, 1, True)
    for channel_dim in (0, 3):
        with pytest.raises(ValueError, match="arguments refused"):
            _C.update_comoments(state, a, b, rows, None, channel_dim, True)
    grouped, factor = torch.zeros(6, 4, 2, 5, dtype=torch.float64), rows % 2
    for wrong, source in [
        (grouped, rows - 1),
        (grouped, rows.int()),
        (grouped, rows[1:]),
        (grouped, None),
        (grouped[:, :1, 0], rows),
        (grouped[:, :1].expand(-1, 4, -1, -1), rows),
        (grouped.transpose(1, 2), rows),
        (grouped[:, 0], rows),
    ]:
        with pytest.raises(ValueError, match="arguments refused"):
            _C.update_comoments(wrong, a, b, factor, source, 1, True)
    assert not state.any() and not grouped.any()
