"""The CUDA pairwise correlation against NumPy float64, on an emulated GPU everywhere and on a real one."""

import itertools

import numpy as np
import pytest
import torch

from tests import truth
from tests.support.cuda_modes import MODES, emulated, ready
from tests.support.features import contiguous, strided, transposed
from tests.support.tolerances import PRODUCT

pytestmark = pytest.mark.slow  # the emulator is built first

# Less than a vector, than a tile; whole tiles; several tiles and splits of the samples.
SHAPES = [(2, 1, 1), (9, 3, 5), (300, 8, 4), (40, 128, 64), (17, 130, 6), (1500, 5, 132)]
DTYPES = [torch.float32, torch.float64]


@pytest.fixture(params=MODES)
def kernels(request):
    with ready(request.param) as made:
        yield made


def sample_matrices(samples, channels_a, channels_b, dtype):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(samples, channels_a, generator=generator)
    b = torch.randn(samples, channels_b, generator=generator) + a[:, :1]
    return (3 * a + 2).to(dtype), b.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_numpy_in_every_layout(kernels, shape, dtype):
    a, b = sample_matrices(*shape, dtype)
    expected = truth.pairwise_correlation(a, b)
    for i, (layout_a, layout_b) in enumerate(itertools.product((contiguous, transposed, strided), repeat=2)):
        kernels.use((1, 40)[i % 2], order=i)
        matrix = kernels.pairwise_correlation(layout_a(a), layout_b(b))
        assert matrix.dtype == dtype and matrix.shape == expected.shape
        np.testing.assert_allclose(matrix.numpy(), expected, rtol=0, atol=PRODUCT[dtype])


def test_large_means_lose_nothing(kernels):
    a, b = sample_matrices(700, 6, 5, torch.float32)
    a, b = a + 1e4, b - 1e4
    np.testing.assert_allclose(
        kernels.pairwise_correlation(a, b).numpy(), truth.pairwise_correlation(a, b), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dead_channels_are_zero_and_spoilt_ones_spoil_their_own(kernels, dtype):
    a, b = sample_matrices(50, 5, 6, dtype)
    a[:, 1], b[:, 2] = 0.1, 0.1
    a[7, 3], b[8, 4] = torch.nan, torch.inf
    matrix = kernels.pairwise_correlation(a, b)
    whole_a, whole_b = torch.tensor([0, 1, 2, 4]), torch.tensor([0, 1, 2, 3, 5])
    assert matrix[3].isnan().all() and matrix[:, 4].isnan().all()
    assert (matrix[1, whole_b] == 0).all() and (matrix[whole_a, 2] == 0).all()
    alive_a, alive_b = torch.tensor([0, 2, 4]), torch.tensor([0, 1, 3, 5])
    expected = truth.pairwise_correlation(a[:, alive_a], b[:, alive_b])
    np.testing.assert_allclose(matrix[alive_a][:, alive_b].numpy(), expected, rtol=0, atol=PRODUCT[dtype])


def test_correlations_stay_within_one_and_runs_repeat(kernels):
    a, _ = sample_matrices(1000, 20, 1, torch.float32)
    runs = []
    for order in range(3):
        kernels.use(40, order)
        runs.append(kernels.pairwise_correlation(a, -a))
    assert all(torch.equal(matrix, runs[0]) for matrix in runs)
    assert (runs[0].abs() <= 1).all() and (runs[0].diagonal() < -1 + 1e-6).all()


@pytest.mark.parametrize("shape", [(9000, 3, 5), (9000, 130, 6)], ids=str)
def test_more_samples_than_a_float32_sums_well_come_in_several_launches(shape):
    """In parts that are added up and in parts of their own, too."""
    module, (a, b) = emulated(), sample_matrices(*shape, torch.float32)
    module.set_processors(1)
    before = module.launches()
    matrix = module.pairwise_correlation(a, b)
    np.testing.assert_allclose(matrix.numpy(), truth.pairwise_correlation(a, b), rtol=0, atol=PRODUCT[torch.float32])
    few = module.launches()
    module.pairwise_correlation(a[:4000], b[:4000])
    assert few - before > module.launches() - few


def test_the_workspace_does_not_grow_with_the_samples():
    """Twice seven tiles a block in parts, of 64 KiB each; and the moments."""
    for samples, channels in itertools.product((1000, 10**6, 10**9), (1, 100, 2000, 5000, 30000)):
        assert emulated().pairwise_correlation_workspace(samples, channels, 132) <= 2 * 7 * 2 * 132 * 4 * 128**2 + 2**24


def test_what_does_not_fit_is_refused():
    correlate = emulated().pairwise_correlation
    a = torch.ones(4, 3)
    for wrong in (a[:3], a.double(), a[0], torch.ones(4, 0), a.half(), a.numpy()):
        with pytest.raises(ValueError, match="arguments refused"):
            correlate(a, wrong)
    with pytest.raises(ValueError, match="arguments refused"):
        correlate(a[:1], a[:1])
