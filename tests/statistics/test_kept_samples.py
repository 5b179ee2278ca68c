"""Samples that are kept: what they say is that of all pairs at once, in any split, order and process."""

import copy
import gc
import os

import numpy as np
import pytest
import torch

import sdfast
from sdfast.statistics import KeptSamples, PairState
from sdfast.statistics.growing_rows import CHUNK, GrowingRows
from tests import truth
from tests.support import laws
from tests.support.grouped import as_tensors
from tests.support.processes import on_two

PAIRS, CHANNELS = 600, 70  # three chunks, two blocks of channels


def drawn(pairs=PAIRS, channels=CHANNELS, seed=0, law=laws.relu_pair):
    """Return features a and b (N, C) float64 whose digits float32 holds, factors and sources (N,)."""
    rng = np.random.default_rng(seed)
    a, b = (x.astype(np.float32).astype(np.float64) for x in law(rng, (pairs, channels)))
    return as_tensors(a, b, np.arange(pairs) % 3 // 2, np.arange(pairs) // 4)


def filled(arrays, sizes=(), **options):
    state = KeptSamples(arrays[0].shape[1], **options)
    for part in zip(*(x.tensor_split(np.cumsum(sizes).tolist()) for x in arrays), strict=True):
        state.update(*part)
    return state


def assert_same(state, other):
    """Compare what two states say, and the sources they know, to the last bit."""
    assert torch.equal(state.count, other.count) and state.num_sources == other.num_sources
    for estimator in ("copula", "kraskov"):
        for x, y in zip(state.information(estimator), other.information(estimator), strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize(
    ("estimator", "law"),
    [("copula", laws.normal_pair), ("copula", laws.relu_pair), ("kraskov", laws.normal_pair)],  # without ties
)
def test_information_is_that_of_all_pairs_at_once(estimator, law):
    arrays = drawn(law=law)
    mi, corr = filled(arrays, [7] * 80).information(estimator)
    bias = sdfast.channel_bias(*arrays[:3], estimator=estimator)
    torch.testing.assert_close(corr, bias.corr, rtol=0, atol=1e-12)
    torch.testing.assert_close(mi, bias.mi, rtol=0, atol=1e-12)


def test_equal_samples_are_parted_by_where_they_are_sorted_to():
    arrays = drawn(40, 3, law=laws.sparse_pair)
    state = filled(arrays)
    for factor in range(2):
        a, b, _ = state.samples(factor)
        np.testing.assert_allclose(
            state.information("kraskov")[0][factor], truth.kraskov(a.numpy(), b.numpy()), atol=1e-12
        )


@pytest.mark.parametrize("sizes", [[], [1] * 599, [7] * 85, [1, 500, 2]], ids=["N", "1", "7", "uneven"])
def test_any_split_says_the_same(sizes):
    arrays = drawn()
    assert_same(filled(arrays, sizes), filled(arrays))


def test_order_and_merging_make_no_difference():
    arrays = drawn()
    expected = filled(arrays)
    order = torch.randperm(PAIRS, generator=torch.Generator().manual_seed(0))
    parts = [filled([x[own] for x in arrays], [11] * 10) for own in order.split([300, 180, 120])]
    for first, *others in ((0, 1, 2), (2, 0, 1)):
        merged = copy.deepcopy(parts[first])
        for i in others:
            merged.merge(parts[i])
        assert_same(merged, expected)


def test_samples_come_with_their_sources_in_one_order():
    arrays = drawn(20, 3)
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    for found, same in zip(filled(arrays).samples(0), filled([x[shuffled] for x in arrays]).samples(0), strict=True):
        assert torch.equal(found, same)
    a, b, source = filled(arrays).samples(1, 1, 2)
    rows = {(x, y, s) for x, y, s in zip(a[:, 0].tolist(), b[:, 0].tolist(), source.tolist(), strict=True)}
    own = arrays[2] == 1
    expected = zip(*(x.tolist() for x in (arrays[0][own, 1], arrays[1][own, 1], arrays[3][own])), strict=True)
    assert rows == set(expected) and a.dtype == torch.float64


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("shape, channel_dim", [((9, 3, 2, 4), 1), ((9, 5, 3), -1)])
def test_layouts_and_pooling(shape, channel_dim, pool):
    a, b = np.random.default_rng(1).normal(size=(2, *shape))
    state = KeptSamples(3, num_factors=1, dtype=torch.float64)
    state.update(*as_tensors(a, b), channel_dim=channel_dim, pool=pool)
    expected = [truth.pooled_samples(x, channel_dim, pool) for x in (a, b)]
    found = state.samples(0)
    for x, y in zip(found, expected, strict=False):
        np.testing.assert_allclose(np.sort(x, axis=0), np.sort(y, axis=0), rtol=0, atol=1e-12)
    assert state.count.tolist() == [len(expected[0])] and state.num_sources == 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("law", [laws.normal_pair, laws.ring])
def test_rounding_changes_nothing_that_counts(dtype, law):
    a, b = as_tensors(*law(np.random.default_rng(2), (1000, 4)))
    state = filled([a, b], num_factors=1, dtype=dtype)
    for estimator, tolerance in (("copula", 1e-5), ("kraskov", 1e-3)):
        expected = sdfast.channel_bias(a, b, estimator=estimator).mi
        tolerance = tolerance if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(state.information(estimator)[0][0], expected, rtol=0, atol=tolerance)


def test_memory_is_what_was_said():
    arrays = drawn()
    for dtype in (torch.float32, torch.float64):
        state = filled(arrays, [50] * 11, dtype=dtype)
        taken = sum(chunk.nbytes for rows in (state._bits, state._labels) for chunk in rows._chunks)
        assert taken == KeptSamples.num_bytes(PAIRS, CHANNELS, dtype)


def test_nothing_that_is_kept_moves():
    state = filled(drawn())
    before = [block.data_ptr() for block in state._bits.blocks()]
    state.update(*drawn(2000, seed=1))
    assert [block.data_ptr() for block in state._bits.blocks()][: len(before)] == before


def test_a_file_keeps_the_same_and_goes_with_the_state(tmp_path):
    arrays = drawn()
    state = filled(arrays, [7] * 80, folder=tmp_path)
    assert_same(state, filled(arrays))
    assert not list(tmp_path.iterdir())  # it has no name
    assert state._bits._file.seek(0, os.SEEK_END) == GrowingRows.num_bytes(PAIRS, CHANNELS)
    number = state._bits._file.fileno()
    del state
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_full_disk_is_an_error_and_adds_nothing(tmp_path, monkeypatch):
    arrays = drawn()
    state = filled([x[:CHUNK] for x in arrays], folder=tmp_path)
    expected = state.information("copula")

    class Full:
        def seek(self, start):
            pass

        def write(self, content):
            raise OSError("No space left on device")

    monkeypatch.setattr(state._bits, "_file", Full())
    with pytest.raises(OSError, match="No space left"):
        state.update(*(x[CHUNK:] for x in arrays))
    assert state.count.sum() == CHUNK and torch.equal(state.information("copula")[0], expected[0])


@pytest.mark.parametrize("options", [{}, dict(dtype=torch.float64)], ids=["float32", "float64"])
def test_checkpoint(options):
    arrays = drawn()
    state = filled([x[:300] for x in arrays], [40], **options)
    state.update(*(x[300:400] for x in arrays[:3]))
    saved = state.state_dict()
    assert all(x.dtype == torch.int64 for x in saved.values())
    resumed = KeptSamples(CHANNELS, **options)
    resumed.update(*arrays)  # is forgotten
    resumed.load_state_dict(saved)
    for each in (state, resumed):
        each.update(*(x[400:] for x in arrays[:3]))
    assert_same(resumed, state)
    assert state.num_sources == 75 + 300 and saved["count"].sum() == 400
    state.reduce()
    assert_same(resumed, state)


def test_settings_show_in_the_shapes_of_an_empty_checkpoint():
    """A journal tells by them whether a state file is of the same job."""
    options = ({}, dict(num_factors=3), dict(dtype=torch.float64))
    shapes = [{name: x.shape for name, x in KeptSamples(1, **each).state_dict().items()} for each in options]
    assert all(shapes.count(each) == 1 for each in shapes)


def reduced(rank, folder):
    arrays = drawn()
    own = slice(0, 350) if rank == 0 else slice(350, None)
    state = KeptSamples(CHANNELS, folder=folder).to("cpu")
    state.update(*(x[own] for x in arrays))
    state.update(*(x[:10] for x in drawn(seed=rank + 1)[:3]))  # of sources without numbers
    state.reduce()
    found = *state.information("kraskov"), state.count, state.state_dict()["bits"][::50, 0]  # in order
    return [x.numpy() for x in found], state.num_sources


@pytest.mark.parametrize("in_file", [False, True], ids=["memory", "file"])
def test_processes_end_with_all_pairs(in_file, tmp_path):
    first, second = on_two(reduced, tmp_path if in_file else None)
    expected = filled(drawn())
    for seed in (1, 2):
        expected.update(*(x[:10] for x in drawn(seed=seed)[:3]))
    assert all((x == y).all() for x, y in zip(first[0], second[0], strict=True))
    mi, corr, count, _ = (torch.from_numpy(x) for x in first[0])
    for found, said in zip((mi, corr), expected.information("kraskov"), strict=True):
        torch.testing.assert_close(found, said, rtol=0, atol=1e-12)
    assert torch.equal(count, expected.count) and first[1] == second[1] == 150 + 20


def reduced_without_pairs(rank):
    state = KeptSamples(3)
    if rank == 1:
        state.update(*drawn(20, 3))
    state.reduce()
    return state.count.tolist()


def test_a_process_without_pairs_takes_part():
    assert all(count == [14, 6] for count in on_two(reduced_without_pairs))


def test_pairs_without_sources_stay_apart():
    a, b, factor, source = drawn(20, 3)
    first, second = filled([a, b, factor]), filled([a, b, factor], [8])
    second.update(a, b, factor, source)
    assert (first.num_sources, second.num_sources) == (20, 25)
    first.merge(second)
    assert first.num_sources == 45 and first.count.sum() == 60
    first.update(a, b, factor)
    assert first.num_sources == 65


def test_it_is_a_state_of_pairs():
    state = KeptSamples(3)
    assert isinstance(state, PairState) and state.to("cpu") is state
    assert state.count.tolist() == [0, 0] and state.num_sources == 0
    mi, corr = state.information("kraskov")
    assert mi.shape == corr.shape == (2, 3) and mi.isnan().all() and corr.isnan().all()
    assert repr(state) == "KeptSamples(num_channels=3, num_factors=2, count=[0, 0])"


def test_features_that_require_grad_leave_no_graph():
    a, b, factor, _ = drawn(20, 3)
    state = KeptSamples(3)
    state.update(a.requires_grad_(), b, factor)
    assert not state.information("kraskov")[0].requires_grad


def test_dead_and_broken_channels_stay_alone():
    a, b, factor, source = drawn(60, 4)
    clean = filled([a, b, factor, source]).information("copula")[0]
    a[:, 0], b[2, 1] = 0.5, torch.nan
    mi = filled([a, b, factor, source]).information("copula")[0]
    assert (mi[:, 0] == 0).all() and mi[:, 1].isnan().tolist() == [False, True]
    torch.testing.assert_close(mi[:, 2:], clean[:, 2:], rtol=0, atol=1e-12)


A, B, FACTOR, SOURCE = drawn(6, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(feats_a=None), TypeError, "feats_a: expected a torch.Tensor"),
        (dict(feats_b=B[:, :1]), ValueError, "feats_b: expected shape"),
        (dict(feats_a=A[:, :1], feats_b=B[:, :1]), ValueError, "feats_a: expected 2 channels along dimension 1"),
        (dict(factor=None), ValueError, "factor: expected one label from 0 to 1 a pair, got None"),
        (dict(factor=FACTOR + 5), ValueError, "factor: expected labels from 0 to 1, got 6"),
        (dict(source=SOURCE.double()), TypeError, "source: expected an integer dtype, got torch.float64"),
        (dict(source=SOURCE[:3]), ValueError, r"source: expected shape \(6,\)"),
        (dict(source=SOURCE - 9), ValueError, "source: expected numbers from 0 on, got -9"),
        (dict(pool="no"), TypeError, "pool: expected True or False"),
    ],
)
def test_bad_pairs_name_the_argument_and_add_nothing(change, error, message):
    state = KeptSamples(2)
    with pytest.raises(error, match=message):
        state.update(**{"feats_a": A, "feats_b": B, "factor": FACTOR, "source": SOURCE, **change})
    assert state.count.sum() == 0


def test_bad_settings_name_the_argument(tmp_path):
    for options, message in (
        (dict(num_channels=0), "num_channels: expected a positive integer, got 0"),
        (dict(num_channels=2, num_factors=0), "num_factors: expected a positive integer, got 0"),
        (
            dict(num_channels=2, dtype=torch.float16),
            "dtype: expected torch.float32 or torch.float64, got torch.float16",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            KeptSamples(**options)
    with pytest.raises(FileNotFoundError):
        KeptSamples(2, folder=tmp_path / "missing")
    state = KeptSamples(2)
    with pytest.raises(ValueError, match=r"other: expected channels, factors and dtype \(2, 2, torch.float32\)"):
        state.merge(KeptSamples(2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"state_dict: expected bits of shape \(0, 2\), got \(0, 3\)"):
        state.load_state_dict(KeptSamples(3).state_dict())
    with pytest.raises(ValueError, match=r"state_dict: expected count of shape \(2,\), got \(3,\)"):
        state.load_state_dict(KeptSamples(2, num_factors=3).state_dict())
    with pytest.raises(KeyError, match="labels"):
        state.load_state_dict({"bits": torch.zeros(0, 2, dtype=torch.int64)})
    with pytest.raises(ValueError, match="neighbors: expected fewer than the number of samples, 4, got 4"):
        filled((A, B, FACTOR, SOURCE)).information("kraskov", 4)
    with pytest.raises(ValueError, match="estimator: expected one of copula, kraskov, got 'gaussian'"):
        state.information("gaussian")
