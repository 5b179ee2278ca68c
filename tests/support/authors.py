"""The outputs of the authors' code on fixed inputs, the ways to feed those inputs, and how near reports come."""

import numpy as np
import torch

import sdfast
from tests.support import paths

DATA = sorted(paths.DATA.glob("*.npz"))
TOLERANCE = 1e-6


def load(path):
    with np.load(path) as arrays:
        return dict(arrays)


def pairs_of(case):
    """Return feats_a, feats_b and factor as tensors."""
    return [torch.from_numpy(case[name]) for name in ("feats_a", "feats_b", "factor")]


def shuffled(pairs):
    """Return the same pairs in another order."""
    order = torch.randperm(len(pairs[0]), generator=torch.Generator().manual_seed(3))
    return [x[order] for x in pairs]


def feed(update, pairs, num_batches):
    """Call `update` with the pairs in so many batches; None for one a pair."""
    for batch in zip(*(x.tensor_split(num_batches or len(x)) for x in pairs), strict=True):
        update(*batch)


def fed(pairs, num_batches):
    """Return the co-moments of the pairs, fed in batches."""
    state = sdfast.CoMoments(pairs[0].shape[1])
    feed(state.update, pairs, num_batches)
    return state.moments


def assert_equals_authors(moments, case):
    """Compare reports of both kinds with the arrays of one case."""
    assert_intraclass(sdfast.BiasReport(moments, "intraclass"), case)
    assert_pearson(sdfast.BiasReport(moments, "pearson"), case)


def assert_intraclass(report, case):
    # The authors' code says NaN of a dead channel; here it is 0.
    np.testing.assert_allclose(report.corr, np.nan_to_num(case["unit"]), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(report.layer_score, case["layer"], rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(report.dims, case["dims"])
    np.testing.assert_array_equal(report.percent, case["percent"])
    np.testing.assert_array_equal(report.dead, np.isnan(case["unit"]).any(axis=0))


def assert_pearson(report, case):
    corr, mi = np.nan_to_num(case["pearson"]), np.where(np.isnan(case["mi"]), 0, case["mi"])
    np.testing.assert_allclose(report.corr, corr, rtol=0, atol=TOLERANCE)
    # At |rho| = 1 the last bit of rho decides between 18 nats and infinity, so there "very large" is all to ask for.
    regular = 1 - corr * corr > 1e-9
    np.testing.assert_allclose(report.mi[regular], mi[regular], rtol=TOLERANCE, atol=TOLERANCE)
    assert (report.mi[~regular] > 15).all()
