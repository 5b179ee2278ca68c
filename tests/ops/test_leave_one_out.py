"""What is left without a group, against the others merged from raw samples, on every instruction set."""

import numpy as np
import pytest
import torch

import sdfast
from sdfast.backends import BackendError, load
from sdfast.ops import correlations_without, leave_one_out
from sdfast.statistics import KINDS
from tests import truth
from tests.support.grouped import clustered_pairs, grouped_truth

_C = load("cpu")
EXACT = 1e-12


def without_each(arrays, number):
    a, b, factor, source = arrays
    return [truth.comoments(*(x[source != g] for x in (a, b, factor))) for g in range(number)]


@pytest.mark.parametrize("channels", [1, 7, 33, 100])
@pytest.mark.parametrize("number", [2, 3, 9, 64])
def test_equals_brute_force(runs_on, number, channels):
    arrays = clustered_pairs(videos=number, channels=channels)
    grouped = torch.from_numpy(grouped_truth(*arrays, groups=number))
    expected = without_each(arrays, number)
    np.testing.assert_allclose(leave_one_out(grouped).movedim(1, 0), expected, rtol=EXACT, atol=EXACT)
    for kind in KINDS:
        found = correlations_without(grouped, kind == "pearson")
        if found is None:  # composed of others
            continue
        total, corr = found
        np.testing.assert_allclose(total, truth.comoments(*arrays[:3]), rtol=EXACT, atol=EXACT)
        every = [*expected, truth.comoments(*arrays[:3])]
        np.testing.assert_allclose(corr, [truth.correlation(m, kind) for m in every], rtol=0, atol=EXACT)


def test_strides_and_empty_groups_make_no_difference(runs_on):
    arrays = clustered_pairs(videos=5, channels=20)
    grouped = torch.from_numpy(grouped_truth(*arrays, groups=8))  # three groups are empty
    expected = leave_one_out(grouped)
    wide = torch.full((6, 16, 2, 50), torch.nan, dtype=torch.float64)
    wide[:, ::2, :, ::2][..., :20] = grouped
    assert torch.equal(leave_one_out(wide[:, ::2, :, ::2][..., :20]), expected)
    assert torch.equal(leave_one_out(grouped.transpose(2, 3)).transpose(2, 3), expected)
    whole = torch.from_numpy(truth.comoments(*arrays[:3]))
    torch.testing.assert_close(expected[:, 6], whole, rtol=EXACT, atol=EXACT)
    assert (leave_one_out(grouped[:, :1]) == 0).all(), "nothing is left of a single group"


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_bit(threads):
    grouped = torch.from_numpy(grouped_truth(*clustered_pairs(videos=64, channels=500), groups=64))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = leave_one_out(grouped), *correlations_without(grouped, True)
    finally:
        torch.set_num_threads(before)
    few = grouped[..., :9]
    for x, part in zip(found, (leave_one_out(few), *correlations_without(few, True)), strict=True):
        assert torch.equal(x[..., :9], part)


def test_nothing_is_left_where_one_group_fires(runs_on):
    a, b, factor, source = clustered_pairs(videos=12)
    silent = (source != 4)[:, None]
    arrays = *(0.1 * np.where(silent, 0, np.abs(x)) for x in (a, b)), factor, source
    grouped = torch.from_numpy(grouped_truth(*arrays, groups=12))
    assert (leave_one_out(grouped)[1:, 4] == 0).all()
    found = correlations_without(grouped, True)
    assert found is None or ((found[1][4] == 0).all() and (found[1][5] != 0).all())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_channel(runs_on, bad):
    a, b, factor, source = clustered_pairs(videos=6, channels=20)
    a[source == 2, 7] = bad
    with np.errstate(invalid="ignore"):
        grouped = torch.from_numpy(grouped_truth(a, b, factor, source, groups=6))
    others = [c for c in range(20) if c != 7]
    assert leave_one_out(grouped)[..., others].isfinite().all()
    found = correlations_without(grouped, True)
    if found is not None:
        assert found[1][..., others].isfinite().all() and found[1][[0, 1, 3, 4, 5, 6], :, 7].isnan().all()


def test_few_samples_have_no_correlation(runs_on):
    grouped = torch.zeros(6, 3, 1, 1, dtype=torch.float64)
    grouped[0] = torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1)
    grouped[1] = grouped[2] = grouped[0]
    found = correlations_without(grouped, True)
    if found is not None:
        total, corr = found
        assert corr.isnan().flatten().tolist() == [True, True, False, False] and (corr[2:] == 0).all()
        assert total[0].item() == 2


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match=r"grouped: expected a torch\.Tensor of float64, got torch\.float32"):
        leave_one_out(torch.zeros(6, 2, 3))
    with pytest.raises(TypeError, match=r"grouped: expected a torch\.Tensor of float64, got list"):
        correlations_without([], True)
    for shape in ((5, 2, 3), (6,), (6, 0, 3)):
        with pytest.raises(ValueError, match=r"grouped: expected shape \(6, G, ...\)"):
            leave_one_out(torch.zeros(shape, dtype=torch.float64))


def test_on_devices_without_kernels_plain_torch_runs():
    grouped = torch.zeros(6, 3, 2, dtype=torch.float64, device="meta")
    with pytest.raises(BackendError, match="meta"):
        leave_one_out(grouped)
    with sdfast.use_backend("reference"):
        assert leave_one_out(grouped).shape == grouped.shape
