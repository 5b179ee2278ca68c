"""The one merge: against NumPy, in any order, with empty, constant and broken channels."""

import numpy as np
import pytest
import torch

import sdfast
from sdfast.statistics import GroupedCoMoments, KeptSamples, SampledCoMoments
from sdfast.statistics.state import CoMoments, merge
from tests import truth

# Where sums of another order differ in the last bits, relative to the largest of a row.
ORDER = 1e-12


def batches(sizes, num_channels=5, offset=0.0, seed=0):
    """Return paired float64 features with labels, cut into batches of the given sizes."""
    rng = np.random.default_rng(seed)
    number = sum(sizes)
    common = rng.normal(size=(number, num_channels))
    a = offset + common + 0.5 * rng.normal(size=common.shape)
    b = offset / 2 + common - 0.5 * rng.normal(size=common.shape)
    factor = rng.integers(0, 2, number)
    cuts = np.cumsum(sizes)[:-1]
    return [tuple(map(torch.from_numpy, part)) for part in zip(*(np.split(x, cuts) for x in (a, b, factor)))]  # noqa: B905


def true_moments(parts):
    return truth.comoments(*(torch.cat(x).numpy() for x in zip(*parts, strict=True)))


def states(parts):
    return torch.stack([torch.from_numpy(truth.comoments(*(x.numpy() for x in part))) for part in parts])


def assert_close(moments, expected, tolerance=ORDER):
    """Compare row by row, relative to the row's largest value."""
    moments, expected = torch.as_tensor(moments), torch.as_tensor(expected)
    scale = expected.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-300)
    torch.testing.assert_close(moments / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["centred", "mean/std 1e4"])
@pytest.mark.parametrize("sizes", [[60], [1] * 60, [7] * 8 + [4], [1, 50, 2, 7]], ids=["N", "1", "7", "uneven"])
def test_merge_equals_one_pass(sizes, offset):
    parts = batches(sizes, offset=offset)
    # Means of 1e4 have a last bit of 2e-12, so their own products can be no better than 1e-11.
    assert_close(merge(states(parts)), true_moments(parts), tolerance=1e-12 if offset == 0 else 1e-11)


@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["centred", "mean/std 1e4"])
@pytest.mark.parametrize("seed", range(5))
def test_merge_does_not_depend_on_order_or_grouping(seed, offset):
    parts = states(batches([1, 2, 3, 5, 8, 13, 21, 1, 40], offset=offset, seed=seed))
    expected = merge(parts)
    order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(seed))
    shuffled = parts[order]
    one_by_one = shuffled[0]
    for part in shuffled[1:]:
        one_by_one = merge(torch.stack([one_by_one, part]))
    as_a_tree = merge(torch.stack([merge(shuffled[:4]), merge(shuffled[4:])]))
    for moments in (merge(shuffled), one_by_one, as_a_tree):
        assert_close(moments, expected)


def test_merge_ignores_empty_sets_wherever_they_stand():
    parts = states(batches([6, 9], offset=1e4))
    empty = torch.zeros_like(parts[:1])
    expected = merge(parts)
    for stacked in ([empty, parts], [parts, empty], [parts[:1], empty, empty, parts[1:]]):
        assert torch.equal(merge(torch.cat(stacked)), expected)
    assert torch.equal(merge(torch.cat([empty, empty])), empty[0])


def test_merge_of_one_factor_only():
    (a, b, _), (c, d, _) = batches([5, 6])
    first = states([(a, b, torch.zeros(5, dtype=torch.long))])
    second = states([(c, d, torch.ones(6, dtype=torch.long))])
    merged = merge(torch.cat([first, second]))
    assert torch.equal(merged[:, 0], first[0, :, 0])
    assert torch.equal(merged[:, 1], second[0, :, 1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_channel_stays_broken_and_alone(bad):
    parts = batches([7, 7, 7], num_channels=4)
    clean = CoMoments(4)
    broken = CoMoments(4)
    for i, (a, b, factor) in enumerate(parts):
        clean.update(a, b, factor)
        a = a.clone()
        if i == 1:
            a[3, 2] = bad
        broken.update(a, b, factor)
    others = [0, 1, 3]
    assert torch.equal(broken.moments[:, :, others], clean.moments[:, :, others])
    hit = int(parts[1][2][3])
    assert broken.moments[3, hit, 2].isnan() and broken.moments[5, hit, 2].isnan()
    assert torch.equal(broken.moments[:, 1 - hit, 2], clean.moments[:, 1 - hit, 2])


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e20])
def test_constant_channel_keeps_zero_variance(value):
    one = torch.zeros(6, 2, 1, dtype=torch.float64)
    one[0], one[1:3] = 3, value
    merged = merge(torch.stack([one * torch.tensor([k, 1, 1, 1, 1, 1]).view(6, 1, 1) for k in (1, 2, 5, 9)]))
    assert torch.equal(merged[1:3], one[1:3])
    assert torch.count_nonzero(merged[3:]) == 0


def test_counts_are_exact_beyond_32_bits():
    huge = torch.zeros(6, 1, 1, dtype=torch.float64)
    huge[0] = 2**40 + 1
    assert merge(torch.stack([huge] * 3))[0].item() == 3 * (2**40 + 1)


@pytest.mark.parametrize("shape, channel_dim", [((9, 3), 1), ((9, 3, 2, 4), 1), ((9, 5, 3), -1)])
@pytest.mark.parametrize("pool", [True, False])
def test_update_equals_reference(shape, channel_dim, pool):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, *shape)).astype(np.float32)
    factor = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1])
    state = CoMoments(3)
    for part in (slice(0, 4), slice(4, 5), slice(5, 9)):
        arguments = (torch.from_numpy(x[part]) for x in (a, b, factor))
        state.update(*arguments, channel_dim=channel_dim, pool=pool)
    assert_close(state.moments, truth.comoments(a, b, factor, channel_dim=channel_dim, pool=pool), 1e-9)
    positions = 1 if pool else a[0].size // 3
    assert state.count.dtype == torch.int64
    assert state.count.tolist() == [5 * positions, 4 * positions]


@pytest.mark.parametrize("make", [CoMoments, GroupedCoMoments, SampledCoMoments, KeptSamples])
def test_arrays_and_labels_of_any_integer_kind(make):
    a, b, factor = (torch.cat(x) for x in zip(*batches([6, 5]), strict=True))
    source = torch.arange(11) // 2
    expected = make(5)
    expected.update(a, b, factor, source)
    given = [
        (a, b, factor.int(), source.short()),
        (a, b, factor.bool(), source),
        (a, b, factor.numpy().astype("u1"), source.numpy().astype(">i4")),
        (a.numpy()[::-1], b.numpy()[::-1], factor.numpy()[::-1].astype(bool), source.numpy()[::-1]),
        (a.numpy(), b.numpy(), factor, source),
    ]
    for arguments in given:
        state = make(5)
        state.update(*arguments)
        for key, values in expected.state_dict().items():
            found = state.state_dict()[key]
            if key.endswith(("bits", "labels")):  # in the order they came in
                found, values = (x.sort(0).values for x in (found, values))
            torch.testing.assert_close(found, values, rtol=0, atol=1e-12)
    for wrong in (factor.double(), factor.numpy() / 2, factor.numpy().astype(str)):
        with pytest.raises(TypeError, match="factor: expected integers or bool, got "):
            make(5).update(a, b, wrong, source)
    if make is not CoMoments:  # which does not look at sources
        for wrong in (source.double(), source.bool(), source.numpy().astype(bool), source.tolist()):
            with pytest.raises(TypeError, match=r"source: expected an integer .*, got (torch.float64|.*bool|list)"):
                make(5).update(a, b, factor, wrong)


def test_one_factor_needs_no_labels():
    (a, b, _) = batches([8])[0]
    state = CoMoments(5, num_factors=1)
    state.update(a, b)
    assert state.moments.shape == (6, 1, 5)
    assert_close(state.moments, truth.comoments(a.numpy(), b.numpy()))


def test_features_that_require_grad_leave_no_graph():
    a, b, factor = batches([8])[0]
    state = CoMoments(5)
    state.update(a.requires_grad_(), b, factor)
    assert not state.moments.requires_grad


def test_features_that_no_kernel_takes_are_added_alike():
    """A tensor of a class of its own goes by the operators of torch."""
    (part,) = batches([9])
    plain, other = CoMoments(5), CoMoments(5)
    for _ in range(2):
        plain.update(*part)
        other.update(torch.nn.Parameter(part[0]), torch.nn.Parameter(part[1]), part[2])
    assert_close(other.moments, plain.moments)


def test_merge_of_states_and_checkpoint():
    parts = batches([8, 5, 3])
    first, second = CoMoments(5), CoMoments(5)
    first.update(*parts[0])
    saved = first.state_dict()
    for part in parts[1:]:
        second.update(*part)
    first.merge(second)
    assert_close(first.moments, true_moments(parts))
    resumed = CoMoments(5)
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.moments, saved["moments"])
    resumed.merge(second)
    assert torch.equal(resumed.moments, first.moments)
    assert not torch.equal(saved["moments"], first.moments), "a checkpoint does not follow the state"


def test_a_state_from_a_checkpoint_is_float64_and_its_own():
    kept = {"moments": torch.tensor([4.0, 1.0, 1.0, 2.0, 2.0, 1.0]).view(6, 1, 1)}
    resumed = CoMoments(1, 1).to("meta")
    resumed.load_state_dict(kept)
    assert resumed.moments.is_meta, "it stays where it is"
    resumed = CoMoments(1, 1)
    resumed.load_state_dict(kept)
    assert resumed.moments.dtype == torch.float64 and torch.equal(resumed.moments, kept["moments"].double())
    resumed.load_state_dict(doubled := {"moments": kept["moments"].double()})
    doubled["moments"].zero_()
    assert resumed.count.item() == 4


def test_reduce_without_processes_changes_nothing():
    state = CoMoments(5)
    state.update(*batches([8])[0])
    before = state.moments.clone()
    state.reduce()
    assert torch.equal(state.moments, before)


def test_size_does_not_grow():
    state = CoMoments(5)
    for part in batches([1] * 40):
        state.update(*part)
    assert state.moments.shape == (6, 2, 5)
    assert state.moments.untyped_storage().nbytes() == 6 * 2 * 5 * 8


def test_errors_name_the_argument():
    a, b, factor = batches([8])[0]
    state = CoMoments(4)
    with pytest.raises(ValueError, match=r"feats_a: expected 4 channels along dimension 1, got \(8, 5\)"):
        state.update(a, b, factor)
    with pytest.raises(ValueError, match=r"factor: expected one label from 0 to 1 a pair, got None"):
        CoMoments(5).update(a, b)
    with pytest.raises(ValueError, match=r"feats_b: expected shape \(8, 5\) like feats_a, got \(7, 5\)"):
        CoMoments(5).update(a, b[:7], factor)
    with pytest.raises(ValueError, match=r"factor: expected labels from 0 to 1, got 2"):
        CoMoments(5).update(a, b, factor + 1)
    with pytest.raises(ValueError, match=r"feats_a: expected device meta like the state, got cpu"):
        CoMoments(5, device="meta").update(a, b, factor)
    with pytest.raises(ValueError, match=r"other: expected moments of shape \(6, 2, 4\), got \(6, 2, 5\)"):
        state.merge(CoMoments(5))
    with pytest.raises(ValueError, match=r"state_dict: expected moments of shape \(6, 2, 4\), got \(6, 1, 4\)"):
        state.load_state_dict(CoMoments(4, 1).state_dict())
    for size in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="num_channels: expected a positive integer"):
            CoMoments(size)
    with pytest.raises(ValueError, match="num_factors: expected a positive integer, got 0"):
        CoMoments(4, 0)


def test_a_failed_update_leaves_the_state_as_it_was():
    a, b, factor = batches([8])[0]
    state = CoMoments(5)
    state.update(a, b, factor)
    before = state.moments.clone()
    with pytest.raises(ValueError):
        state.update(a, b[:, :4], factor)
    with pytest.raises(ValueError):
        state.update(a, b, factor - 1)
    assert torch.equal(state.moments, before)


def test_state_and_channel_bias_agree():
    a, b, factor = batches([30])[0]
    state = CoMoments(5)
    state.update(a, b, factor)
    bias = sdfast.channel_bias(a, b, factor)
    report = sdfast.BiasReport(state.moments)
    torch.testing.assert_close(report.corr, bias.corr, rtol=0, atol=1e-12)
    torch.testing.assert_close(report.mi, bias.mi, rtol=1e-9, atol=1e-12)
    assert torch.equal(report.count, bias.count)
