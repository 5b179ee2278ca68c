"""Grouped co-moments: against raw samples, in any split, order and process, and what they cost."""

import copy

import numpy as np
import pytest
import torch

from sdfast.statistics import CoMoments, GroupedCoMoments, PairState, add_to_groups
from tests import truth
from tests.support.grouped import as_tensors, clustered_pairs, grouped_truth

ORDER = 1e-12


def assert_close(moments, expected, tolerance=ORDER):
    """Compare row by row, relative to the row's largest value."""
    moments, expected = torch.as_tensor(moments), torch.as_tensor(expected)
    scale = expected.abs().amax(dim=tuple(range(1, expected.ndim)), keepdim=True).clamp(min=1e-300)
    torch.testing.assert_close(moments / scale, expected / scale, rtol=0, atol=tolerance)


def filled(parts, channels=3, groups=8):
    state = GroupedCoMoments(channels, groups=groups)
    for part in parts:
        state.update(*as_tensors(*part))
    return state


def cut(arrays, sizes):
    """Cut (N, ...) arrays into batches of these sizes, and the rest."""
    cuts = np.cumsum(sizes)
    return list(zip(*(np.split(array, cuts) for array in arrays), strict=True))


@pytest.mark.parametrize("sizes", [[], [1] * 59, [7] * 8, [1, 50, 2]], ids=["N", "1", "7", "uneven"])
def test_any_split_equals_raw_samples(sizes):
    arrays = clustered_pairs()
    state = filled(cut(arrays, sizes))
    assert_close(state.moments, grouped_truth(*arrays, groups=8))
    assert_close(state.total, truth.comoments(*arrays[:3]))
    assert state.count.tolist() == [30, 30] and state.num_sources == 12


@pytest.mark.parametrize("seed", range(3))
def test_order_and_merging_make_no_difference(seed):
    arrays = clustered_pairs()
    shuffled = np.random.default_rng(seed).permutation(60)
    parts = cut([array[shuffled] for array in arrays], [9, 30])
    states = [filled([part]) for part in parts]
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = copy.deepcopy(states[order[0]])
        for i in order[1:]:
            merged.merge(states[i])
        assert_close(merged.moments, filled([arrays]).moments)
        assert merged.num_sources == 12


def test_total_is_what_the_plain_state_keeps():
    arrays = as_tensors(*clustered_pairs())
    plain = CoMoments(3)
    plain.update(*arrays[:3])
    grouped = GroupedCoMoments(3)
    grouped.update(*arrays)
    assert_close(grouped.total, plain.moments)
    assert torch.equal(grouped.count, plain.count)


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_large_means_keep_their_digits(offset):
    a, b, factor, source = clustered_pairs()
    a, b = a + offset, b - offset
    # Features so large have themselves a last bit of offset * 2e-16 only, and what is compared is of the size 1.
    assert_close(filled(cut((a, b, factor, source), [7] * 8)).moments, grouped_truth(a, b, factor, source, 8), 1e-9)


def test_without_sources_every_pair_is_one_and_numbered_on():
    a, b, factor, _ = clustered_pairs()
    state = GroupedCoMoments(3, groups=8)
    for part in cut((a, b, factor), [7, 1, 30]):
        state.update(*as_tensors(*part))
    assert_close(state.moments, grouped_truth(a, b, factor, np.arange(60), 8))
    assert state.num_sources == 60


def test_number_of_sources_is_merged():
    arrays = clustered_pairs(videos=20)
    first, second = filled([[x[:40] for x in arrays]]), filled([[x[30:] for x in arrays]])
    assert (first.num_sources, second.num_sources) == (8, 20)  # numbers without gaps: 20 is the last that it saw
    first.merge(second)
    assert first.num_sources == 20
    first.update(*as_tensors(*(x[:3] for x in arrays[:3])))
    assert first.num_sources == 23


@pytest.mark.parametrize("shape, channel_dim", [((9, 3, 2, 4), 1), ((9, 5, 3), -1)])
@pytest.mark.parametrize("pool", [True, False])
def test_layouts_and_pooling(shape, channel_dim, pool):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, *shape))
    factor, source = np.arange(9) % 2, np.arange(9) // 3
    state = GroupedCoMoments(3, groups=2)
    state.update(*as_tensors(a, b, factor, source), channel_dim=channel_dim, pool=pool)
    for g in range(2):
        mine = source % 2 == g
        expected = truth.comoments(a[mine], b[mine], factor[mine], channel_dim=channel_dim, pool=pool)
        assert_close(state.moments[:, g], expected)


def test_rows_on_other_devices_are_the_same():
    """The way of a GPU, which merges all rows, on a device that this machine has: numbers that only say so."""

    class Elsewhere(torch.Tensor):
        @property
        def is_cpu(self):
            return False

    a, b, factor, source = as_tensors(*clustered_pairs())
    moments = GroupedCoMoments(3, groups=8).moments
    add_to_groups(moments, a, b, factor, source.as_subclass(Elsewhere))
    assert_close(moments, grouped_truth(*clustered_pairs(), groups=8))


def test_only_rows_of_the_batch_are_touched():
    arrays = as_tensors(*clustered_pairs())
    state = filled([clustered_pairs()])
    before = state.moments.clone()
    state.update(*(x[:4] for x in arrays))  # of source 0
    assert torch.equal(state.moments[:, 1:], before[:, 1:]) and not torch.equal(state.moments[:, 0], before[:, 0])


def test_a_broken_channel_stays_alone():
    a, b, factor, source = clustered_pairs()
    clean = filled([(a, b, factor, source)])
    a = a.copy()
    a[7, 1] = np.nan
    broken = filled([(a, b, factor, source)])
    assert torch.equal(broken.moments[..., [0, 2]], clean.moments[..., [0, 2]])
    assert broken.moments[:, source[7] % 8, factor[7], 1].isnan().any()
    assert broken.moments.isnan().any(0).sum() == 1


def test_checkpoint():
    arrays = clustered_pairs()
    state = filled([arrays])
    state.update(*as_tensors(*arrays[:3]))
    saved = state.state_dict()
    resumed = GroupedCoMoments(3, groups=8)
    resumed.load_state_dict(saved)
    for each in (state, resumed):
        each.update(*as_tensors(*arrays[:3]))
    assert torch.equal(resumed.moments, state.moments)
    assert resumed.num_sources == state.num_sources == 12 + 60 + 60
    assert saved["groups"].tolist() == list(range(8))
    assert not torch.equal(saved["moments"], state.moments), "a checkpoint does not follow the state"
    resumed.reduce()
    assert torch.equal(resumed.moments, state.moments), "without processes there is nothing to do"


def test_a_checkpoint_holds_the_groups_that_have_pairs():
    a, b, factor, source = (x[:10] for x in as_tensors(*clustered_pairs()))
    state = GroupedCoMoments(3, groups=8)
    state.update(a, b, factor, 3 * source)
    saved = state.state_dict()
    assert saved["groups"].tolist() == [0, 3] and saved["moments"].shape == (6, 2, 2, 3)
    resumed = filled([clustered_pairs()])
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.moments, state.moments), "what was there before is gone"


def test_features_that_require_grad_leave_no_graph():
    a, b, factor, source = as_tensors(*clustered_pairs())
    state = GroupedCoMoments(3)
    state.update(a.requires_grad_(), b, factor, source)
    assert not state.moments.requires_grad


def test_one_factor_needs_no_labels_and_sources_any_integers():
    a, b, _, source = as_tensors(*clustered_pairs())
    state = GroupedCoMoments(3, num_factors=1)
    state.update(a, b, source=source.to(torch.int16) + 1000)
    assert state.moments.shape == (6, 64, 1, 3) and state.count.tolist() == [60]


def test_errors_name_the_argument_and_add_nothing():
    a, b, factor, source = as_tensors(*clustered_pairs())
    state = filled([clustered_pairs()])
    before = state.moments.clone()
    for message, error, arguments in (
        (r"source: expected numbers from 0 on, got -1", ValueError, (a, b, factor, source - 1)),
        (r"source: expected shape \(60,\), one number a pair, got \(59,\)", ValueError, (a, b, factor, source[1:])),
        (r"source: expected an integer dtype, got torch.float64", TypeError, (a, b, factor, source.double())),
        (r"source: expected an integer torch.Tensor, got list", TypeError, (a, b, factor, source.tolist())),
        (r"factor: expected labels from 0 to 1, got 2", ValueError, (a, b, factor + 1, source)),
        (r"factor: expected shape \(60,\), one label a pair, got \(59,\)", ValueError, (a, b, factor[1:], source)),
        (r"factor: expected integers or bool, got torch.float64", TypeError, (a, b, factor.double(), source)),
        (r"factor: expected one label from 0 to 1 a pair, got None", ValueError, (a, b, None, source)),
        (r"feats_b: expected shape \(60, 3\) like feats_a, got \(60, 2\)", ValueError, (a, b[:, :2], factor, source)),
        (r"feats_a: expected 3 channels", ValueError, (a[:, :2], b[:, :2], factor, source)),
        (r"feats_a: expected a torch.Tensor, got list", TypeError, (a.tolist(), b, factor, source)),
    ):
        with pytest.raises(error, match=message):
            state.update(*arguments)
    assert torch.equal(state.moments, before) and state.num_sources == 12
    with pytest.raises(ValueError, match="feats_a: expected device meta like the state, got cpu"):
        GroupedCoMoments(3, device="meta").update(a, b, factor, source)
    with pytest.raises(ValueError, match=r"other: expected moments of shape \(6, 8, 2, 3\), got \(6, 64, 2, 3\)"):
        state.merge(GroupedCoMoments(3))
    with pytest.raises(ValueError, match=r"state_dict: expected 8 groups, got 64"):
        state.load_state_dict(GroupedCoMoments(3).state_dict())
    with pytest.raises(ValueError, match=r"state_dict: expected moments of shape \(6, 0, 2, 3\), got \(6, 0, 2, 4\)"):
        state.load_state_dict(GroupedCoMoments(4, groups=8).state_dict())
    with pytest.raises(ValueError, match="groups: expected a positive integer, got 0"):
        GroupedCoMoments(3, groups=0)


def test_it_is_a_state_that_a_measurement_may_keep():
    state = GroupedCoMoments(3, groups=4)
    assert isinstance(state, PairState) and state.num_channels == 3
    state.update(torch.rand(4, 3), torch.rand(4, 3), torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 5]))
    assert state.to("cpu") is state and state.num_sources == 3  # 0, 1, and of group 1 another one
    assert state.to("meta").moments.is_meta and state.numbered.is_meta
