"""How sure a report is: intervals of correlations, scores and shares, open classes, tests, and reports that merge."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

import sdfast
from sdfast.report import LABELS, BiasReport
from sdfast.statistics import Jackknife, bootstrap_interval, estimator_of, sign_flip_test
from tests import truth
from tests.support.grouped import as_tensors, clustered_pairs, grouped_truth

KINDS = ("pearson", "intraclass")


def measured(kind="pearson", videos=12, channels=5, seed=0, **settings):
    pairs = clustered_pairs(videos=videos, pairs=6, channels=channels, seed=seed)
    return BiasReport(torch.from_numpy(grouped_truth(*pairs, groups=16)), kind, sources=videos, **settings)


def ungrouped(kind="pearson"):
    return BiasReport(measured().moments, kind)


def deleted(kind, read):
    """Return what is read of raw samples, of all and without each video."""
    a, b, factor, source = clustered_pairs(videos=12, pairs=6, channels=5)
    found = []
    for keep in [source >= 0, *(source != video for video in range(12))]:
        moments = truth.comoments(a[keep], b[keep], factor[keep])
        found.append(read(BiasReport(torch.from_numpy(moments), kind)).numpy())
    return found


def brute_force(kind, read):
    """Return the interval that leaving out one video after the other gives."""
    value, *without = deleted(kind, read)
    return truth.ends(value, without)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_equal_brute_force(kind):
    report = measured(kind)
    (z, *without), (_, *pearson) = (deleted(each, lambda report: report.corr.atanh()) for each in (kind, "pearson"))
    expected = np.tanh(truth.ends(z, without, pearson=pearson))
    np.testing.assert_allclose(report.interval(), expected, rtol=0, atol=1e-9)
    scores = brute_force(kind, lambda each: each.layer_score)
    np.testing.assert_allclose(report.layer_interval(), scores, rtol=0, atol=1e-9)
    shares = brute_force(kind, lambda each: 100 * each.layer_score.softmax(0))
    np.testing.assert_allclose(report.share_interval(), shares, rtol=0, atol=1e-7)


def test_the_groups_are_kept_and_merged():
    report = measured()
    a, b, factor, _ = clustered_pairs(videos=12, pairs=6, channels=5)
    torch.testing.assert_close(report.moments, torch.from_numpy(truth.comoments(a, b, factor)), rtol=1e-12, atol=1e-12)
    assert report.groups.shape == (6, 16, 2, 5) and report.num_sources == 12 and report.method == "jackknife"
    renamed = dataclasses.replace(report, name="other")
    copied = pickle.loads(pickle.dumps(renamed))
    for twin in (renamed, copied):
        assert torch.equal(twin.groups, report.groups) and torch.equal(twin.moments, report.moments)
        assert torch.equal(twin.interval(), report.interval()) and twin.num_sources == 12
    assert BiasReport(report.groups).num_sources == 12, "as many as groups have pairs"


def test_methods_and_levels_are_passed_on():
    report = measured()
    jackknife = Jackknife(report.groups, estimator_of("pearson"))
    for method in ("bootstrap", "bca"):
        assert torch.equal(report.interval(0.9, method), bootstrap_interval(jackknife, 0.9, method=method))
    assert torch.equal(report.interval(method="fisher"), ungrouped().interval())
    assert torch.equal(measured(level=0.5).interval(), report.interval(0.5))
    assert torch.equal(measured(level=0.5).share_interval(), report.share_interval(0.5))
    for low, high in (report.interval(), report.layer_interval(), report.share_interval()):
        assert (low <= high).all()
    with pytest.raises(ValueError, match="method: expected one of jackknife, bootstrap, bca, fisher, got 'wald'"):
        report.interval(method="wald")
    for ask in (report.interval, report.layer_interval, report.share_interval):
        with pytest.raises(ValueError, match="level: expected a probability between 0 and 1, got 95"):
            ask(95)


def test_channels_whose_interval_holds_the_threshold_are_undetermined():
    report = measured(channels=60, threshold=0.6)
    low, high = report.interval().numpy()
    is_open = ((low <= 0.6) & (high > 0.6)).any(0)
    assert 5 < is_open.sum() < 60
    assert [label == "undetermined" for label in report.labels] == is_open.tolist()
    settled = [(label, point) for label, point in zip(report.labels, report.point_labels, strict=True)
               if label != "undetermined"]  # fmt: skip
    assert all(label == point for label, point in settled)
    assert list(report.classes) == list(LABELS) and sum(report.classes.values()) == 60
    wider = measured(channels=60, threshold=0.6, level=0.999)
    assert wider.classes["undetermined"] > report.classes["undetermined"]


def test_dead_and_broken_channels_are_residual_and_poison_no_other():
    groups = measured(channels=6).groups.clone()
    groups[3:, :, :, 0] = 0
    groups[1:3, :, :, 0] = 0
    groups[3, 2, 1, 1] = torch.nan
    report, whole = BiasReport(groups), measured(channels=6)
    assert report.labels[:2] == ["residual"] * 2 and report.labels[2:] == whole.labels[2:]
    assert torch.equal(report.interval()[..., 2:], whole.interval()[..., 2:])
    assert report.interval()[..., 0].count_nonzero() == 0 and report.interval()[:, 1, 1].isnan().all()
    assert report.share_interval().isfinite().all()


@pytest.mark.parametrize("videos", [0, 1])
def test_one_source_leaves_every_class_open(videos):
    groups = measured().groups.clone()
    groups[:, videos:] = 0
    report = BiasReport(groups)
    assert report.num_sources == videos
    assert report.interval().isnan().all() and report.share_interval()[:, :2].isnan().all()
    assert set(report.labels) == {"undetermined" if videos else "residual"}
    assert report.needed_sources() is None


def test_without_groups_scores_have_no_interval():
    report = ungrouped()
    assert report.method == "fisher" and report.num_sources is None and report.groups is None
    assert report.layer_interval().isnan().all() and report.share_interval().isnan().all()
    assert report.needed_sources() is None and not report.dominated.any()
    with pytest.raises(ValueError, match="groups of sources, which flipped signs need, got none"):
        report.test()
    with pytest.raises(ValueError, match="groups of sources"):
        report.interval(method="jackknife")


def test_corrected_mutual_information_is_near_the_truth():
    rng = np.random.default_rng(3)
    common, x, y = rng.normal(size=(3, 40, 4000))
    a, b = 0.6 * common + 0.8 * x, 0.6 * common + 0.8 * y
    factor, source = np.arange(40) % 2, np.arange(40)
    exact = -0.5 * np.log(1 - 0.36**2)
    report = BiasReport(torch.from_numpy(grouped_truth(a, b, factor, source)))
    assert float(report.mi.mean()) > exact + 0.02
    assert float(report.mi_corrected.mean()) == pytest.approx(exact, abs=0.006)
    assert (report.mi_corrected < 0).any(), "not cut off at 0"


def test_without_groups_mutual_information_is_corrected_by_the_formula():
    special = pytest.importorskip("scipy.special")
    report, number = ungrouped(), 36
    bias = (special.digamma((number - 1) / 2) - special.digamma((number - 2) / 2)) / 2
    np.testing.assert_allclose(report.mi_corrected, report.mi - bias, rtol=0, atol=1e-12)
    assert ungrouped("intraclass").mi_corrected.isnan().all()
    few = report.moments.clone()
    few[0] = 2
    assert BiasReport(few).mi_corrected.isnan().all()


def test_p_values_are_those_of_flipped_signs():
    report = measured(videos=20)
    for adjust in (None, "bh", "maxT"):
        expected = sign_flip_test(report.groups, alternative="greater", adjust=adjust)
        assert torch.equal(report.test("greater", adjust), expected)
    assert report.test().shape == (2, 5) and report.test("greater").amin() < 0.01
    with pytest.raises(ValueError, match="alternative: expected one of"):
        report.test("up")


def test_content_leaves_out_what_distinct_styles_cost():
    report = measured()
    torch.testing.assert_close(report.content_corr(5), (4 * report.corr[0] + 1) / 5)
    with pytest.raises(ValueError, match="num_styles"):
        report.content_corr(1)


def test_a_group_that_carries_the_variance_is_flagged():
    a, b, factor, source = clustered_pairs(videos=40, pairs=6, channels=2)
    a[source == 3, 1] *= 100
    b[source == 3, 1] *= 100
    report = BiasReport(torch.from_numpy(grouped_truth(a, b, factor, source)))
    assert report.dominated.shape == (2, 2) and report.dominated[:, 1].all() and not report.dominated[:, 0].any()


def test_needed_sources_grow_as_the_square_of_the_half_width():
    report = measured()
    low, high = report.share_interval() / 100
    widest = float((high - low).max()) / 2
    assert report.needed_sources() == pytest.approx(12 * (widest / 0.01) ** 2, abs=1)
    assert report.needed_sources(0.02) == pytest.approx(report.needed_sources() / 4, abs=1)
    with pytest.raises(ValueError, match="expected a positive number, got 0"):
        report.needed_sources(0)


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_reports_of_disjoint_pairs_merge(cut):
    a, b, factor, source = clustered_pairs(videos=12, pairs=6, channels=5)
    first = source < cut
    parts = [
        BiasReport(torch.from_numpy(grouped_truth(a[i], b[i], factor[i], source[i], groups=16)), sources=number)
        for i, number in ((first, cut), (~first, 12 - cut))
    ]
    merged, whole = parts[0].merge(parts[1]), measured()
    assert merged.num_sources == 12 and merged.merge(parts[0], sources=12).num_sources == 12
    torch.testing.assert_close(merged.groups, whole.groups, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.interval(), whole.interval(), rtol=0, atol=1e-11)
    alone = BiasReport(parts[0].moments).merge(BiasReport(parts[1].moments))
    torch.testing.assert_close(alone.moments, whole.moments, rtol=1e-12, atol=1e-12)


def test_reports_of_another_kind_do_not_merge():
    report = measured(name="layer4")
    for other, said in (
        (measured("intraclass", name="layer4"), "kind 'pearson' like this report, got 'intraclass'"),
        (measured(threshold=0.4, name="layer4"), "threshold 0.5"),
        (measured(level=0.9, name="layer4"), "level 0.95"),
        (measured(name="layer3"), "name 'layer4'"),
        (measured(channels=4, name="layer4"), r"shape \(6, 16, 2, 5\) like this report, got \(6, 16, 2, 4\)"),
        (BiasReport(report.groups[:, :15], name="layer4"), r"got \(6, 15, 2, 5\)"),
        (BiasReport(report.moments, name="layer4"), r"got \(6, 2, 5\)"),
    ):
        with pytest.raises(ValueError, match=f"other: expected .*{said}"):
            report.merge(other)


def test_errors_name_the_argument():
    report = measured()
    with pytest.raises(ValueError, match=r"moments: expected shape \(6, G, 2, C\), got \(6, 16, 1, 5\)"):
        BiasReport(report.groups[:, :, :1])
    with pytest.raises(ValueError, match=r"groups: expected shape \(6, G, 2, C\), got \(6, 2, 5\)"):
        BiasReport(report.moments, groups=report.moments)
    with pytest.raises(ValueError, match="groups: expected co-moments of the same pairs"):
        dataclasses.replace(report, moments=measured(videos=11).moments)
    with pytest.raises(ValueError, match="sources: expected an integer from 0 on, got -1"):
        BiasReport(report.groups, sources=-1)
    with pytest.raises(ValueError, match="level: expected a probability between 0 and 1, got 95"):
        BiasReport(report.groups, level=95)


def test_a_metric_says_how_sure_it_is():
    a, b, factor, source = as_tensors(*clustered_pairs(videos=12, pairs=6, channels=5))
    metric = sdfast.BiasMetric(5, groups=16)
    for part in torch.arange(72).split(10):
        metric.update(a[part], b[part], factor[part], source[part])
    report = metric.compute()
    assert report.num_sources == 12
    torch.testing.assert_close(report.interval(), measured().interval(), rtol=0, atol=1e-9)
