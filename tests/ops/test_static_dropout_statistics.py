"""The statistics of what static_dropout drops. The seeds are fixed, so these fail by a change of code only."""

import itertools
from statistics import NormalDist

import pytest
import torch

import sdfast
from sdfast.ops.static_dropout import GRANULARITIES
from tests.support.dropout import SEED


def dropped(shape, seed=SEED, **kwargs):
    """Return where ones became zero, float64."""
    return (sdfast.static_dropout(torch.ones(shape), seed=seed, **kwargs) == 0).double()


def assert_rate(gone, q):
    error = (q * (1 - q) / gone.numel()) ** 0.5
    assert abs(gone.mean().item() - q) <= 4 * error, (gone.mean().item(), q)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_drop_rates_of_dense_masks(p):
    assert_rate(dropped((8, 16, 4000), p=p), p)
    assert_rate(dropped((8, 16, 4000), p=p, mask=torch.full((8, 7), 0.5), granularity="element"), p / 2)
    assert_rate(dropped((400, 500, 2), p=p, granularity="channel")[..., 0], p)
    assert_rate(dropped((20000, 2, 2), p=p, granularity="region")[:, 0, 0], p)


def test_drop_rates_of_blobs_and_weights():
    mask = torch.zeros(4, 2, 16, 16)
    mask[:, :, 3:9, 4:12] = 1
    mask[:, 1] *= 0.25
    weight = torch.linspace(0, 1, 20)
    gone = dropped((4, 20, 2, 32, 32), p=0.6, mask=mask, channel_weight=weight, granularity="element")
    fine = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for value, c in itertools.product((0.0, 0.25, 1.0), range(0, 20, 3)):
        assert_rate(gone[:, c][fine == value], 0.6 * value * weight[c].item())


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_rescaled_output_has_the_mean_of_the_input(granularity):
    mask, weight = torch.tensor([[0.9, 0.3]]).expand(20000, 2), torch.tensor([1.0, 0.5])
    x = torch.ones(20000, 2, 2)
    guidance = {"mask": mask, "channel_weight": weight, "granularity": granularity}
    y = sdfast.static_dropout(x, 0.6, seed=torch.tensor(SEED), rescale=True, **guidance).double()
    q = 0.6 * mask[0].double() * weight[:, None]
    error = (q / (1 - q) / len(x)).sqrt()  # of a mean of 1 / (1 - q) at probability 1 - q
    assert ((y.mean(0) - 1).abs() <= 4 * error).all()


def chi_square(bits, q):
    """Return the statistic of the joint patterns of k events, (k, samples), for independent ones at rate q."""
    k = len(bits)
    pattern = sum(bit.long() << i for i, bit in enumerate(bits)).bincount(minlength=2**k).double()
    ones = torch.tensor([i.bit_count() for i in range(2**k)])
    expected = bits.shape[1] * q**ones * (1 - q) ** (k - ones)
    return ((pattern - expected).square() / expected).sum().item()


def limit(freedom, probability=1e-4):
    """Return the quantile of the chi-square distribution, by Wilson and Hilferty."""
    v = 2 / (9 * freedom)
    return freedom * (1 - v + NormalDist().inv_cdf(1 - probability) * v**0.5) ** 3


def assert_independent(bits, q):
    assert chi_square(bits, q) < limit(2 ** len(bits) - 1)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_draws_are_independent(p):
    gone = dropped((64, 32, 203), p=p)
    for dim in range(3):  # samples, channels, neighbours
        for step in (1, 2, 8):
            near = torch.stack([gone.narrow(dim, i * step, gone.shape[dim] - 2 * step).flatten() for i in range(3)])
            assert_independent(near, p)
    vectors = dropped((1000, 64), p=p)
    for dim in range(2):
        near = torch.stack([vectors.narrow(dim, i, vectors.shape[dim] - 2).flatten() for i in range(3)])
        assert_independent(near, p)
    seeds = torch.stack([dropped((16, 16, 203), seed=seed, p=p).flatten() for seed in range(100, 104)])
    assert_independent(seeds, p)
    far = torch.stack([dropped((16, 16, 203), seed=7 + (i << 32), p=p).flatten() for i in range(4)])
    assert_independent(far, p)


@pytest.mark.parametrize(("granularity", "shape"), [("channel", (600, 300, 1)), ("region", (100000, 1, 2))])
def test_shared_draws_are_independent(granularity, shape):
    gone = dropped(shape, p=0.3, granularity=granularity)[..., 0]
    assert_independent(torch.stack([gone[i : len(gone) - 2 + i].flatten() for i in range(3)]), 0.3)
    if granularity == "channel":
        assert_independent(torch.stack([gone[:, i : 298 + i].flatten() for i in range(3)]), 0.3)


def test_this_chi_square_can_fail():
    gone = dropped((64, 32, 203), p=0.5)
    same = torch.stack([gone.flatten(), gone.flatten(), gone.roll(1).flatten()])
    assert chi_square(same, 0.5) > 100 * limit(7)
    assert not 26 < limit(7) < 29 and 29 < limit(7) < 31  # tables say 29.88
