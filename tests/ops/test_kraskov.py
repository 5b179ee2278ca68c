"""Kraskov's estimator against all distances of all points in NumPy, scikit-learn, and laws whose truth is known."""

import numpy as np
import pytest
import torch

import sdfast
from sdfast.backends import table as backends
from sdfast.ops import kraskov
from tests import truth
from tests.support import laws

_C = backends.load("cpu")


def atom_and_column(rng, shape):
    """One coordinate is 0 for half of the points, while the other varies on a scale of its own."""
    x, y = laws.normal_pair(rng, shape)
    return x, np.where(rng.random(shape) < 0.5, 0, 100 * np.abs(y))


def grid(rng, shape):
    """Few values in both: hundreds of points share a place but for their jitter."""
    return tuple(rng.integers(0, 4, shape).astype(np.float64) for _ in range(2))


def far_from_zero(rng, shape):
    return tuple(1e4 + z for z in laws.normal_pair(rng, shape))


def corner(rng, shape):
    """Nearly all points on two arms, the others far from both: along either axis, thousands seem near them."""
    along = rng.random(shape)
    on_x = rng.random(shape) < 0.5
    x, y = np.where(on_x, along, 1e-3 * along**2), np.where(on_x, 1e-3 * along**2, along)
    alone = rng.random(shape) < 0.02
    return np.where(alone, 0.5 + along, x), np.where(alone, 0.5 + rng.random(shape), y)


LAWS = [
    laws.normal_pair,
    laws.parabola,
    laws.ring,
    laws.student,
    laws.uniform_with_noise,
    laws.relu_pair,
    laws.sparse_pair,
    atom_and_column,
    grid,
    far_from_zero,
    corner,
]


def estimate(a, b, *args, **kwargs) -> np.ndarray:
    return kraskov(torch.from_numpy(a), torch.from_numpy(b), *args, **kwargs).numpy()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("size", [4, 5, 37, 300])
def test_estimates_equal_all_distances(isa, law, size):
    a, b = law(np.random.default_rng(size), (size, 5))
    for seed, neighbors in ((0, 3), (2**40 + 7, 1), (1, 2), (5, size - 1), (6, min(7, size - 1))):
        found = estimate(a, b, neighbors, seed)
        np.testing.assert_allclose(found, truth.kraskov(a, b, neighbors, seed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("neighbors", [3, 5, 30])
@pytest.mark.parametrize("law", LAWS)
def test_many_points_equal_all_distances(law, neighbors):
    a, b = law(np.random.default_rng(7), (1500, 2))
    np.testing.assert_allclose(estimate(a, b, neighbors), truth.kraskov(a, b, neighbors), rtol=0, atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_the_reference_backend_says_the_same(law):
    a, b = law(np.random.default_rng(8), (200, 4))
    with sdfast.use_backend("reference"):
        found = estimate(a, b, 3, 9)
    np.testing.assert_allclose(found, truth.kraskov(a, b, 3, 9), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [200, 1000])
@pytest.mark.parametrize("law", [laws.normal_pair, laws.parabola, laws.ring, laws.student, laws.uniform_with_noise])
def test_scikit_learn_says_the_same(law, size):
    found_by = pytest.importorskip("sklearn.feature_selection._mutual_info", reason="scikit-learn is not installed")
    a, b = law(np.random.default_rng(9), (size, 3))
    for neighbors in (3, 5):
        found = estimate(a, b, neighbors)
        for c in range(3):
            theirs = found_by._compute_mi_cc(a[:, c] / a[:, c].std(), b[:, c] / b[:, c].std(), neighbors)
            assert theirs == pytest.approx(max(0, found[c]), abs=1e-9)


def test_it_is_not_clipped_at_zero():
    a, b = laws.normal_pair(np.random.default_rng(10), (200, 200), 0.0)
    found = estimate(a, b)
    assert (found < 0).mean() > 0.3 and abs(found.mean()) < 0.01


def test_units_and_order_do_not_matter():
    a, b = laws.parabola(np.random.default_rng(11), (500, 3))
    expected = estimate(a, b)
    np.testing.assert_allclose(estimate(1e6 * a, 1e-6 * b), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(estimate(b, a), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(estimate(a[::-1].copy(), b[::-1].copy()), expected, rtol=0, atol=1e-12)


def test_any_strides():
    a, b = (torch.from_numpy(x) for x in laws.relu_pair(np.random.default_rng(12), (60, 40)))
    wide = torch.full((120, 80), torch.nan, dtype=torch.float64)
    wide[::2, 1::2] = a
    expected = kraskov(a, b)
    assert torch.equal(kraskov(wide[::2, 1::2], b.T.contiguous().T), expected)


def test_threads_and_neighbouring_channels_change_nothing():
    """Two threads share 17 channels, or the points of one."""
    a, b = (torch.from_numpy(x) for x in laws.sparse_pair(np.random.default_rng(13), (3000, 17)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(torch.cat([kraskov(a, b), kraskov(a[:, :1], b[:, :1])]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, found[0]) for x in found) and found[0][0] == found[0][-1]


@pytest.mark.parametrize("neighbors", [3, 7])
def test_instruction_sets_change_nothing(neighbors):
    a, b = (torch.from_numpy(x) for x in laws.relu_pair(np.random.default_rng(19), (1000, 9)))
    before, found = _C.isa(), []
    try:
        for isa in _C.available_isas():
            _C.set_isa(isa)
            found.append(kraskov(a, b, neighbors))
    finally:
        _C.set_isa(before)
    assert all(torch.equal(x, found[0]) for x in found)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_value_stays_in_its_channel(backend, bad):
    a, b = (torch.from_numpy(x) for x in laws.normal_pair(np.random.default_rng(14), (50, 9)))
    with sdfast.use_backend(backend):
        clean = kraskov(a, b)
        a[3, 5], b[7, 6], b[0, 2] = bad, bad, bad
        a[:, 2] = 1.0
        found = kraskov(a, b)
    assert found[[2, 5, 6]].isnan().all()
    others = [0, 1, 3, 4, 7, 8]
    torch.testing.assert_close(found[others], clean[others], rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_channel_that_never_varies_has_no_information(backend):
    a, b = (torch.from_numpy(x) for x in laws.normal_pair(np.random.default_rng(15), (50, 4)))
    a[:, 0], b[:, 1], a[:, 2], b[:, 2] = 0.1, 0.0, 7.0, -1e300
    with sdfast.use_backend(backend):
        found = kraskov(a, b)
    assert (found[:3] == 0).all() and found[3] != 0


def median_time(a, b, repeats=5) -> float:
    import time

    spent = []
    for _ in range(repeats):
        begin = time.perf_counter()
        kraskov(a, b)
        spent.append(time.perf_counter() - begin)
    return sorted(spent)[repeats // 2]


@pytest.mark.slow
@pytest.mark.parametrize("law", [laws.relu_pair, laws.sparse_pair, atom_and_column, grid, corner])
def test_no_law_is_much_slower_than_normal_features(law):
    """Thousands of ties in both, in one, and points far from all: a ratio, timed in turn, the best of three."""
    shape = (10_000, 4)
    normal = [torch.from_numpy(x) for x in laws.normal_pair(np.random.default_rng(16), shape)]
    hard = [torch.from_numpy(x) for x in law(np.random.default_rng(16), shape)]
    assert min(median_time(*hard) / median_time(*normal) for _ in range(3)) < 2


def test_operator_passes_opcheck():
    a, b = (torch.from_numpy(x) for x in laws.normal_pair(np.random.default_rng(17), (20, 3)))
    torch.library.opcheck(torch.ops.sdfast.kraskov, (a, b, 3, 0))


SAMPLES = torch.arange(8, dtype=torch.float64).view(4, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(a=None), TypeError, "a: expected a torch.Tensor, got NoneType"),
        (dict(b=SAMPLES.float()), TypeError, "b: expected dense torch.float64 samples, got torch.float32"),
        (dict(a=SAMPLES[:, 0]), ValueError, r"a: expected shape \(N, C\) without an empty dimension, got \(4,\)"),
        (dict(b=SAMPLES[:, :1]), ValueError, r"b: expected shape \(4, 2\) like a, got \(4, 1\)"),
        (dict(b=SAMPLES.to("meta")), ValueError, "b: expected device cpu like a, got meta"),
        (dict(neighbors=4), ValueError, "neighbors: expected fewer than the number of samples, 4, got 4"),
        (dict(neighbors=0), ValueError, "neighbors: expected a positive integer, got 0"),
        (dict(neighbors=1.5), ValueError, r"neighbors: expected a positive integer, got 1\.5"),
        (dict(seed=-1), ValueError, "seed: expected an integer from 0 to 9223372036854775807, got -1"),
        (dict(seed=2**63), ValueError, "seed: expected an integer from 0"),
        (dict(b=SAMPLES.clone().requires_grad_()), ValueError, "b: expected no tensor that requires grad"),
    ],
)
def test_bad_input_names_the_argument(change, error, message):
    with pytest.raises(error, match=message):
        kraskov(**{"a": SAMPLES, "b": SAMPLES, **change})


def test_a_backend_without_the_operation_leaves_it_to_torch(monkeypatch):
    a, b = (torch.from_numpy(x) for x in laws.normal_pair(np.random.default_rng(18), (20, 3)))
    expected = kraskov(a, b)
    monkeypatch.setattr("sdfast.backends.composed.run", lambda *_: None)
    torch.testing.assert_close(kraskov(a, b), expected, rtol=0, atol=1e-12)
