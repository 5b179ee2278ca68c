"""Normal scores against ranks counted one by one, and against others' inverse of the normal distribution."""

import numpy as np
import pytest
import torch

import sdfast
from sdfast.backends import table as backends
from sdfast.ops import comoments, normal_scores
from tests import truth

_C = backends.load("cpu")


def normal(rng, shape):
    return rng.standard_normal(shape)


def relu(rng, shape):
    return np.maximum(rng.standard_normal(shape), 0)


def sparse(rng, shape):
    return np.maximum(rng.standard_normal(shape) - 1.645, 0)


def few_values(rng, shape):
    return rng.integers(0, 5, shape).astype(np.float64)


def cauchy(rng, shape):
    return rng.standard_cauchy(shape)


def of_all_sizes(rng, shape):
    """Numbers whose spacing is wild at every scale: what no even bins can sort."""
    return rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-300, 300, shape)


def one_far_away(rng, shape):
    """Next to one sample all others seem equal."""
    samples = rng.standard_normal(shape)
    samples[0] = 1e12
    return samples


def nearly_equal(rng, shape):
    """Neighbouring numbers, few to choose from."""
    return 1 + rng.integers(0, 50, shape) * 2.0**-52


def smallest(rng, shape):
    return rng.integers(-9, 9, shape) * 5e-324


def plateau(rng, shape):
    """Half of the samples have one value in the middle of the others."""
    return np.where(rng.random(shape) < 0.5, 0.3, rng.standard_normal(shape))


LAWS = [
    normal,
    relu,
    sparse,
    few_values,
    cauchy,
    of_all_sizes,
    one_far_away,
    nearly_equal,
    smallest,
    plateau,
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 63), (9, 2), (100, 9), (1000, 5)], ids=str)
def test_scores_equal_ranks_counted_one_by_one(runs_on, shape, law):
    samples = law(np.random.default_rng(0), shape)
    scores = normal_scores(torch.from_numpy(samples))
    np.testing.assert_allclose(scores, truth.normal_scores(samples), rtol=1e-12, atol=1e-15)


def test_any_strides_and_many_channels():
    samples = torch.from_numpy(relu(np.random.default_rng(1), (50, 1000)))
    expected = normal_scores(samples)
    wide = torch.full((100, 2000), torch.nan, dtype=torch.float64)
    wide[::2, 1::2] = samples
    for view in (wide[::2, 1::2], samples.T.contiguous().T):
        assert torch.equal(normal_scores(view), expected)
    assert torch.equal(normal_scores(samples[:1].expand(20, -1)), torch.zeros(20, 1000, dtype=torch.float64))


@pytest.mark.parametrize("size", [2, 10, 999, 100_000, 1_000_000])
def test_quantiles_are_exact(size):
    """Half of the samples at least share their ranks in pairs: ranks and those halfway between."""
    special = pytest.importorskip("scipy.special")
    samples = torch.arange(size, dtype=torch.float64)
    for values, ranks in ((samples, samples + 1), (samples // 2, (samples // 2) * 2 + 1.5)):
        if size % 2 and values is not samples:
            ranks[-1] = size
        found = normal_scores(values[:, None])[:, 0].numpy()
        lower = (ranks <= (size + 1) / 2).numpy()  # above, 1 - p has lost digits that the scores have not
        expected = special.ndtri(ranks.numpy() / (size + 1))
        np.testing.assert_allclose(found[lower], expected[lower], rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(found, -found[::-1] if values is samples or size % 2 == 0 else found, rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_value_stays_in_its_channel(backend, bad):
    samples = torch.from_numpy(normal(np.random.default_rng(2), (40, 20)))
    clean = normal_scores(samples)
    samples[3, 5] = bad
    with sdfast.use_backend(backend):
        scores = normal_scores(samples)
    others = [c for c in range(20) if c != 5]
    assert scores[:, 5].isnan().all()
    torch.testing.assert_close(scores[:, others], clean[:, others], rtol=1e-12, atol=1e-15)


def test_any_increasing_map_leaves_them_alone():
    samples = torch.from_numpy(normal(np.random.default_rng(3), (300, 4)))
    assert torch.equal(normal_scores(samples.exp()), normal_scores(samples))
    assert torch.equal(normal_scores(-samples), -normal_scores(samples))


def test_equal_samples_in_a_row_are_no_correlation():
    """In argsort order the zeros of both would be ranked alike: 0.3 nats of nothing."""
    rng = np.random.default_rng(4)
    a, b = (normal_scores(torch.from_numpy(sparse(rng, (1000, 50)))) for _ in range(2))
    corr = truth.correlation(comoments(a, b).numpy())
    assert truth.mutual_information(corr).mean() < 0.002


def test_threads_change_nothing():
    samples = torch.from_numpy(relu(np.random.default_rng(5), (3000, 17)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(normal_scores(samples))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(scores, found[0]) for scores in found)


def test_operator_passes_opcheck():
    samples = torch.from_numpy(normal(np.random.default_rng(6), (8, 3)))
    torch.library.opcheck(torch.ops.sdfast.normal_scores, (samples,))


SAMPLES = torch.zeros(4, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (None, TypeError, "samples: expected a torch.Tensor, got NoneType"),
        (SAMPLES.float(), TypeError, "samples: expected dense torch.float64 samples, got torch.float32"),
        (SAMPLES.to_sparse(), TypeError, "samples: expected dense torch.float64 samples"),
        (SAMPLES[0], ValueError, r"samples: expected shape \(N, C\) without an empty dimension, got \(2,\)"),
        (SAMPLES[:0], ValueError, r"samples: expected shape \(N, C\) without an empty dimension, got \(0, 2\)"),
        (SAMPLES[:1].expand(2**29, -1), ValueError, "samples: expected fewer than 2\\*\\*29 samples, got 536870912"),
        (SAMPLES.clone().requires_grad_(), ValueError, "samples: expected no tensor that requires grad"),
    ],
)
def test_bad_input_names_the_argument(samples, error, message):
    with pytest.raises(error, match=message):
        normal_scores(samples)


def test_samples_of_a_trained_network_are_fine_without_grad_mode():
    samples = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        assert not normal_scores(samples).requires_grad
    with torch.inference_mode():
        normal_scores(samples)
