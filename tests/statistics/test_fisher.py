"""Fisher's intervals of correlations, also where there are too few pairs for one."""

import numpy as np
import pytest
import scipy.stats
import torch

from sdfast.statistics import estimator_of
from sdfast.statistics.fisher import fisher_interval


def moments_of(count: int, corr: float) -> torch.Tensor:
    return torch.tensor([count, 0.0, 0.0, 2.0, 2.0, 2 * corr], dtype=torch.float64).view(6, 1, 1)


@pytest.mark.parametrize(("kind", "lost"), [("pearson", 3), ("intraclass", 1.5)])
def test_intervals_are_normal_in_z(kind, lost):
    low, high = fisher_interval(moments_of(40, 0.3), estimator_of(kind), 0.9).flatten().tolist()
    reach = scipy.stats.norm.ppf(0.95) / (40 - lost) ** 0.5
    np.testing.assert_allclose([low, high], np.tanh(np.arctanh(0.3) + reach * np.array([-1, 1])), rtol=1e-12)


@pytest.mark.parametrize(("kind", "count"), [("pearson", 2), ("pearson", 3)])
def test_too_few_pairs_leave_every_correlation_open(kind, count):
    assert fisher_interval(moments_of(count, 0.3), estimator_of(kind), 0.9).flatten().tolist() == [-1, 1]


@pytest.mark.parametrize("count", [0, 1])
def test_below_two_pairs_there_is_no_interval(count):
    assert fisher_interval(moments_of(count, 0.0), estimator_of("pearson"), 0.9).isnan().all()
