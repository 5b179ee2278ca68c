"""Means and standard errors over several runs, against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from sdfast.report import BiasReport, format_seeds, over_seeds
from sdfast.statistics import student_within
from tests import truth


def runs(number, kind="intraclass", layers=("a", "b")):
    rng = np.random.default_rng(0)
    found, raw = [], []
    for _ in range(number):
        features = {name: rng.normal(size=(3, 40, 6)) for name in layers}
        moments = {
            name: truth.comoments(common + a, common + b, np.arange(40) % 2)
            for name, (common, a, b) in features.items()
        }
        raw.append(moments)
        found.append({name: BiasReport(torch.from_numpy(x), kind) for name, x in moments.items()})
    return found, raw


@pytest.mark.parametrize("number", [2, 5])
def test_equals_numpy(number):
    found, raw = runs(number)
    for name in ("a", "b"):
        scores = np.array([truth.layer_score(run[name]) for run in raw])
        for row, values in ((0, scores), (1, 100 * scipy.special.softmax(scores, axis=1))):
            mean, error = (x[row].numpy() for x in over_seeds(found)[name])
            np.testing.assert_allclose(mean, values.mean(0), rtol=1e-12)
            np.testing.assert_allclose(error, 1.96 * scipy.stats.sem(values, axis=0), rtol=1e-9, atol=1e-14)


def test_the_table_says_how_much_it_is_worth():
    table = format_seeds(runs(3)[0])
    assert len(table.splitlines()) == 7 and table.count("±") == 11
    assert "over 3 runs, which hold the truth in 81 % of cases" in table
    assert "95 % intervals (Student's t) are 2.20 times as wide" in table


@pytest.mark.parametrize("freedom", [1, 2, 5, 30])
def test_probabilities_equal_scipy(freedom):
    expected = scipy.stats.t.cdf(1.96, freedom) - scipy.stats.t.cdf(-1.96, freedom)
    assert student_within(1.96, freedom) == pytest.approx(expected, rel=1e-12)


def test_what_does_not_fit_is_refused():
    found, _ = runs(2)
    with pytest.raises(ValueError, match="runs: expected two or more, got 1"):
        over_seeds(found[:1])
    with pytest.raises(ValueError, match="runs: expected layers a, b in each, got a in run 1"):
        over_seeds([found[0], {"a": found[1]["a"]}])
    with pytest.raises(ValueError, match="runs: expected one kind of correlation, got another in run 2"):
        over_seeds([*found, runs(1, "pearson")[0][0]])
