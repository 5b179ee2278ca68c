"""The outputs of the authors' code on fixed inputs, however the pairs are fed."""

from pathlib import Path

import numpy as np
import pytest
import torch

import sdfast

DATA = sorted((Path(__file__).parent / "data").glob("*.npz"))
TOLERANCE = 1e-6


def load(path):
    with np.load(path) as arrays:
        return dict(arrays)


def reports(case, batch_size, order):
    """Feed the pairs in batches, in an order, and return both kinds of report."""
    a, b, factor = (torch.from_numpy(case[name])[order] for name in ("feats_a", "feats_b", "factor"))
    state = sdfast.CoMoments(a.shape[1])
    for part in zip(a.split(batch_size), b.split(batch_size), factor.split(batch_size), strict=True):
        state.update(*part)
    return {kind: sdfast.BiasReport(state.moments, kind=kind) for kind in ("pearson", "intraclass")}


def assert_equals_authors(found, case):
    """Compare reports of both kinds with the arrays of one case."""
    assert_intraclass(found["intraclass"], case)
    assert_pearson(found["pearson"], case)


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


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
@pytest.mark.parametrize("batch_size", [1, 7, None], ids=["1", "7", "N"])
@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "shuffled"])
def test_equals_authors_code(path, batch_size, shuffled):
    case = load(path)
    number = len(case["factor"])
    order = torch.randperm(number, generator=torch.Generator().manual_seed(3)) if shuffled else torch.arange(number)
    assert_equals_authors(reports(case, batch_size or number, order), case)


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_factors_one_after_the_other(path):
    case = load(path)
    order = torch.from_numpy(case["factor"]).argsort(stable=True)
    assert_equals_authors(reports(case, 7, order), case)


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["pearson", "intraclass"])
def test_metric_equals_authors_code(path, kind):
    case = load(path)
    metric = sdfast.BiasMetric(case["feats_a"].shape[1], kind=kind)
    metric.update(*(torch.from_numpy(case[name]) for name in ("feats_a", "feats_b", "factor")))
    compare = assert_pearson if kind == "pearson" else assert_intraclass
    compare(metric.compute(), case)


def test_the_cases_are_there():
    assert {path.stem for path in DATA} >= {"case_11", "case_12", "case_13", "case_14", "quirks"}
    assert all(set(load(path)) >= {"unit", "layer", "dims", "percent", "pearson", "mi"} for path in DATA)


def test_quirks_are_told_apart():
    found = reports(load(DATA[-1]), 50, torch.arange(400))
    assert DATA[-1].stem == "quirks"
    # b = a, 2a, a + 1 are the same information to Pearson; b = -a is as informative, with the sign kept in corr.
    assert found["pearson"].labels == ["joint"] * 3 + ["residual"] * 3
    assert found["pearson"].dead.tolist() == [False] * 5 + [True]
    np.testing.assert_allclose(found["intraclass"].corr[:, 1], 0.8, atol=0.02)
    np.testing.assert_allclose(found["intraclass"].corr[:, 2], 0.6, atol=0.02)
