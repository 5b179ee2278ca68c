"""Two models on the same pairs: differences with paired intervals, and reports that cannot be compared."""

import json

import numpy as np
import pytest
import torch

import sdfast
from sdfast.report import BiasReport, format_differences
from sdfast.statistics import compare_groups, estimator_of
from tests.support.grouped import clustered_pairs, grouped_truth


def two_models(channels=(6, 6), videos=20):
    """Return reports of two models that see the same, one with some noise of its own."""
    a, b, factor, source = clustered_pairs(videos=videos, pairs=6, channels=max(channels))
    noise = 0.4 * np.random.default_rng(9).normal(size=(2, *a.shape))
    seen = ((a, b), (a + noise[0], b + noise[1]))
    return [
        BiasReport(torch.from_numpy(grouped_truth(x[:, :c], y[:, :c], factor, source)), name=name, sources=videos)
        for (x, y), c, name in zip(seen, channels, ("layer4", "other"), strict=True)
    ]


def test_differences_are_those_of_the_reports():
    one, two = two_models()
    found = sdfast.compare(one, two)
    torch.testing.assert_close(found.layer_score, one.layer_score - two.layer_score)
    torch.testing.assert_close(found.percent, one.percent - two.percent, rtol=0, atol=0.11)  # these are rounded
    torch.testing.assert_close(found.corr, one.corr - two.corr)
    expected = compare_groups(one.groups, two.groups, estimator_of("pearson"))
    assert torch.equal(found.layer_interval, expected.scores.interval(0.95))
    assert torch.equal(found.share_interval, 100 * expected.shares.interval(0.95))
    assert torch.equal(found.interval, expected.correlation.interval(0.95))
    assert (found.names, found.sources, found.level) == (("layer4", "other"), 20, 0.95)


def test_pairing_narrows_the_interval():
    one, two = two_models()
    (low, high), apart = sdfast.compare(one, two).share_interval, [x.share_interval() for x in (one, two)]
    unpaired = sum((x[1] - x[0]).square() for x in apart).sqrt()
    assert (high - low < unpaired).all()


def test_a_report_does_not_differ_from_itself_and_differences_turn_round():
    one, two = two_models()
    same = sdfast.compare(one, one)
    for values in (same.layer_score, same.layer_interval, same.share_interval, same.corr, same.interval):
        assert values.count_nonzero() == 0
    assert not same.differing.any()
    there, back = sdfast.compare(one, two), sdfast.compare(two, one)
    torch.testing.assert_close(there.share_interval, -back.share_interval.flip(0))
    assert torch.equal(there.differing, back.differing)


def test_text_says_what_differs():
    one, two = two_models()
    found = sdfast.compare(one, two)
    text = found.summary()
    assert text.startswith("layer4 less other: 20 sources")
    low, high = found.share_interval
    first = f"dynamic {found.percent[0]:.2f} ± {(high - low)[0] / 2:.2f}" + "*" * bool(low[0] > 0 or high[0] < 0)
    assert first in text and "*" in text and "one in 20 has a star by chance" in text
    dynamic, static = found.differing.sum(1).tolist()
    assert f"{dynamic} dynamic and {static} static correlations of 6 differ" in text
    table = format_differences({"layer3": found, "layer4": found}).splitlines()
    assert [line.split()[0] for line in table[2:4]] == ["layer3", "layer4"]
    assert len({len(line) for line in table[:4]}) == 1 and max(map(len, table)) <= 120
    assert table[2].endswith(f"{int(found.differing.any(0).sum())} of 6")


def test_values_are_plain():
    found = sdfast.compare(*two_models())
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["names"] == ["layer4", "other"] and (values["num_sources"], values["level"]) == (20, 0.95)
    assert values["percent"]["static"] == found.percent[1].item()
    assert values["share_interval"]["static"] == found.share_interval[:, 1].tolist()
    assert values["layer_score"]["dynamic"] == found.layer_score[0].item()
    assert values["layer_interval"]["dynamic"] == found.layer_interval[:, 0].tolist()
    for key, rows in (("corr", found.corr), ("corr_low", found.interval[0]), ("corr_high", found.interval[1])):
        assert [values["channels"][f"{key}_{factor}"] for factor in ("dynamic", "static")] == rows.tolist()
    assert sdfast.compare(*two_models(channels=(6, 4))).to_dict()["channels"] is None


def test_layers_of_other_widths_are_compared_but_for_their_channels():
    found = sdfast.compare(*two_models(channels=(6, 4)))
    assert found.corr is None and found.interval is None and found.differing is None
    assert found.layer_interval.isfinite().all()
    assert "not compared: the layers have not as many" in found.summary()
    assert format_differences({"layer": found}).splitlines()[2].endswith("-")


def test_what_does_not_match_is_refused():
    one, _ = two_models()
    fewer, _ = two_models(videos=19)
    for other, said in (
        (BiasReport(one.groups, "intraclass", sources=20), "kind 'pearson' like report_a, got 'intraclass'"),
        (BiasReport(one.groups, level=0.9, sources=20), "level 0.95 like report_a, got 0.9"),
        (fewer, "number of sources 20 like report_a, got 19"),
        (BiasReport(fewer.groups, sources=20), "the pairs of report_a in the same groups"),
        (BiasReport(one.groups[:, :32], sources=20), "the pairs of report_a in the same groups"),
        (BiasReport(one.moments, sources=20), "a report with groups of sources, got one without"),
    ):
        with pytest.raises(ValueError, match=f"report_b: expected {said}"):
            sdfast.compare(one, other)
