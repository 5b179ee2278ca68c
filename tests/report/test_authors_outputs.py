"""The outputs of the authors' code on fixed inputs, however the pairs are fed."""

import numpy as np
import pytest

import sdfast
from tests.support.authors import (
    DATA,
    assert_equals_authors,
    assert_intraclass,
    assert_pearson,
    fed,
    load,
    pairs_of,
    shuffled,
)
from tests.support.paths import is_unpacked


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
@pytest.mark.parametrize("num_batches", [1, 7, None], ids=["1", "7", "N"])
@pytest.mark.parametrize("arrange", [list, shuffled], ids=["in order", "shuffled"])
def test_equals_authors_code(path, num_batches, arrange):
    case = load(path)
    assert_equals_authors(fed(arrange(pairs_of(case)), num_batches), case)


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_factors_one_after_the_other(path):
    case = load(path)
    *_, factor = pairs = pairs_of(case)
    order = factor.argsort(stable=True)
    assert_equals_authors(fed([x[order] for x in pairs], 7), case)


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["pearson", "intraclass"])
def test_metric_equals_authors_code(path, kind):
    case = load(path)
    metric = sdfast.BiasMetric(case["feats_a"].shape[1], kind=kind)
    metric.update(*pairs_of(case))
    compare = assert_pearson if kind == "pearson" else assert_intraclass
    compare(metric.compute(), case)


def test_the_cases_are_there():
    found = {path.stem for path in DATA}
    assert found >= {"case_12", "quirks"}
    assert all(set(load(path)) >= {"unit", "layer", "dims", "percent", "pearson", "mi"} for path in DATA)
    missing = {"case_11", "case_13", "case_14"} - found
    if missing and is_unpacked():
        pytest.skip(f"the source distribution leaves out {', '.join(sorted(missing))}")
    assert not missing


def test_quirks_are_told_apart():
    assert DATA[-1].stem == "quirks"
    moments = fed(pairs_of(load(DATA[-1])), 8)
    found = {kind: sdfast.BiasReport(moments, kind) for kind in ("pearson", "intraclass")}
    # b = a, 2a, a + 1 are the same information to Pearson; b = -a is as informative, with the sign kept in corr.
    assert found["pearson"].labels == ["joint"] * 3 + ["residual"] * 3
    assert found["pearson"].dead.tolist() == [False] * 5 + [True]
    np.testing.assert_allclose(found["intraclass"].corr[:, 1], 0.8, atol=0.02)
    np.testing.assert_allclose(found["intraclass"].corr[:, 2], 0.6, atol=0.02)
