"""Wrong answers are found, peers compute the same, and what they are judged by is the truth."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import checks, inputs, loading, pairwise_correlation, resampling, rivals
from benchmarks.activations import BACKWARD, BOTH, FORWARD, IN_PLACE, Activations, Guidance, P
from benchmarks.contest import Run
from benchmarks.device import Device, Rehearsal
from benchmarks.growth import one_pass_double, peak_bytes
from benchmarks.information import normal_pairs
from benchmarks.inputs import FeaturePairs
from benchmarks.logbook import Logbook
from benchmarks.static_dropout import bytes_kept
from benchmarks.targets import COMPILED, F_DROPOUT
from sdfast.backends import load
from sdfast.bench import centred, centred_product, draw_pair, largest_error, one_pass
from sdfast.pairs.styles import STYLES, apply_style
from tests import truth
from tests.truth import information

CPU = Device()
PAIRS = ((40, 6), "contiguous", 1), ((20, 6, 3, 5), "channels_last", 1), ((20, 15, 6), "contiguous", -1)


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize(("shape", "layout", "channel_dim"), PAIRS)
def test_peers_compute_the_same(shape, layout, channel_dim, pool):
    pairs = FeaturePairs.draw(CPU, shape, layout=layout, channel_dim=channel_dim)
    (expected,) = pairs.truth(pool)
    for peer in (one_pass, centred, rivals.torchmetrics_pearson):
        mi, corr = peer(*pairs.sets[0], channel_dim, pool)
        assert largest_error(corr, expected) < 1e-4
        np.testing.assert_allclose(mi, -0.5 * np.log1p(-expected * expected), atol=1e-3)
    if pool:
        _, corr = rivals.authors_numpy(*pairs.as_arrays().sets[0], channel_dim)
        assert largest_error(corr, pairs.truth(pool, "intraclass")[0]) < 1e-4


def test_peers_on_samples_compute_the_same():
    pytest.importorskip("sklearn")
    a, b = draw_pair((300, 5), torch.float32)
    expected = np.corrcoef(a.double(), b.double(), rowvar=False)[:5, 5:]
    np.testing.assert_allclose(inputs.pairwise_truth(a, b), expected, atol=1e-12)
    for peer in (pairwise_correlation.corrcoef, centred_product):
        assert largest_error(peer(a, b), expected) < 1e-5
    known, arrays = expected.diagonal(), (a.numpy(), b.numpy())
    assert largest_error(pairwise_correlation.numpy_corrcoef(*arrays), expected) < 1e-5
    assert largest_error(rivals.scipy_pearsonr(*arrays)[1], known) < 1e-4
    assert largest_error(one_pass_double(a, b)[1], known) < 1e-12
    nats = rivals.sklearn_information(*arrays)
    assert nats[0] > nats[2] and nats[4] > nats[2]
    arrays = normal_pairs(300, 2).as_arrays().sets[0]
    assert largest_error(rivals.sklearn_information(*arrays), information.kraskov(*arrays).clip(min=0)) < 1e-9
    scored = truth.correlation(truth.comoments(*map(information.normal_scores, arrays)))[0]
    assert largest_error(rivals.scipy_copula(*arrays), truth.mutual_information(scored)) < 1e-9
    pytest.importorskip("frites")
    assert largest_error(rivals.frites_copula(*arrays), truth.mutual_information(scored)) < 1e-9


@pytest.mark.parametrize("key", resampling.MAKERS)
def test_what_is_resampled_is_right_by_all_and_what_is_wrong_is_found(key, monkeypatch):
    monkeypatch.setattr(resampling, "DRAWS", 300)
    torch.manual_seed(0)
    pairs, others = (draw_pair((100, 8), torch.float32, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    (ours, peers), (elsewhere, _) = (resampling.MAKERS[key][0](*each) for each in (pairs, others))
    for name, candidate in {"ours": ours, **peers}.items():
        answer = candidate.calls[0]()
        assert candidate.error(answer) <= candidate.tolerance, name
        getattr(answer, "corr", answer)[..., -1] = torch.nan
        assert candidate.error(answer) == math.inf, name
    assert ours.error(elsewhere.calls[0]()) > ours.tolerance


@pytest.mark.parametrize("labelled", [False, True])
def test_the_truth_is_that_of_all_channels_in_pieces(labelled, monkeypatch):
    pairs = FeaturePairs.draw(Rehearsal(), (20, 7, 5), torch.bfloat16, num_factors=2 if labelled else 1)
    whole = pairs.truth(False)
    a, b = (x.double().numpy() for x in pairs.sets[0])
    labels = pairs.labels.numpy() if labelled else None
    np.testing.assert_array_equal(whole, truth.correlation(truth.comoments(a, b, labels, pool=False)))
    monkeypatch.setattr(inputs, "_CHUNK", 300)
    np.testing.assert_allclose(pairs.truth(False), whole, rtol=0, atol=1e-14)
    assert whole.shape == (2 if labelled else 1, 7) and not torch.equal(pairs.sets[0][0], pairs.sets[1][0])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A quick run on a device that has the reference alone, at sizes of a rehearsal."""
    monkeypatch.setattr(Rehearsal, "ours", {"reference": None, "triton": "no GPU"})
    return Run(Rehearsal(), Logbook(tmp_path / "log"), 5, 0.0, True)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of answers that are infinite
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (None, None),
        ("comoments", lambda right: lambda *a: right(*a).roll(1, dims=0)),
        ("comoments", lambda right: lambda *a: torch.empty_like(right(*a))),  # written by nobody
        ("comoments", lambda right: lambda *a: right(*a) * (1 + 1e-4)),
        ("static_dropout", lambda right: lambda x, out, *a: right(x, out, a[0] + 1, *a[1:])),
        ("static_dropout", lambda right: lambda x, out, *a: right(x[:1], out[:1], *a) if a[2] is None else None),
    ],
)
def test_checks_find_what_is_wrong_and_only_that(name, answer, run, monkeypatch):
    """A backend that is changed is wrong in each check that it serves; unchanged it is right in all."""
    by_moments = ["comoments", "channel_bias", "pairwise_correlation"]
    served = {None: list(checks.MAKERS), "static_dropout": ["static_dropout"]}.get(name, by_moments)
    if name is not None:
        reference = load("reference")
        monkeypatch.setattr(reference, name, answer(getattr(reference, name)))
    for operation in served:
        checks.hold(checks.MAKERS[operation](torch.float32, run), run)
    found = [each["status"] for each in run.log.of("check") if each["candidate"] == "reference"]
    assert found == ["right" if name is None else "WRONG"] * len(served)


def test_an_answer_of_nan_is_wrong_and_one_that_fails_is_told(run):
    for dtype, error in ((torch.float32, lambda: math.nan), (torch.float16, lambda: 1 / 0)):
        checks.hold(checks.Check("comoments", dtype, 1.0, [("good", lambda: 0.5), ("bad", error)]), run)
    wrong, absent, failed, _ = run.log.of("check")
    assert wrong["status"] == "WRONG" and wrong["where"] == failed["where"] == "bad"
    assert failed["status"] == "failed" and "ZeroDivisionError" in failed["note"]
    assert absent["status"] == "absent" and "no GPU" in absent["note"]
    assert largest_error(np.array([0.0, np.nan]), np.zeros(2)) == np.inf


def test_features_far_from_zero_are_where_sums_in_float32_fail(run):
    errors = [error for _, error in checks.far_from_zero(torch.float32, run).variants]
    assert len(errors) == 15 and any((error.args[0] == 2e4).any() for error in errors)
    for error in errors:
        assert error.args[0].mean() > 9e3 and error() < 1e-6
        assert not partial(error.func, *error.args[:2], one_pass)() < 1e-6


GUIDANCES = {
    "plain": Guidance(),
    "without rescaling": Guidance(rescale=False),
    "half": Guidance(0.5),
    "in pieces": Guidance(0.2, pieces=3),
    "by channel": Guidance(0.5, granularity="channel"),
    "by region": Guidance(0.5, granularity="region", rescale=False),
    "finer mask": Guidance(0.5, grid=(8, 20, 20)),
}
TOKENS = {"shape": (2, 400, 6), "channel_dim": -1, "grid": (4, 10, 10)}


def small(name, shape=(2, 6, 4, 10, 10), grid=None, **settings):
    guidance = replace(GUIDANCES[name], grid=GUIDANCES[name].grid or grid)
    return Activations(CPU, shape, guidance=guidance, seed=20240924, **settings)


@pytest.mark.parametrize("way", [IN_PLACE, FORWARD, BACKWARD, BOTH])
@pytest.mark.parametrize("name", GUIDANCES)
def test_our_dropout_passes(name, way):
    for settings in ({}, {"dtype": torch.bfloat16}, {} if name == "finer mask" else TOKENS):
        feats = small(name, way=way, **settings)
        for _ in range(2):
            feats.refill()
            assert feats.ours.error(feats.ours.calls[0]()) == 0
        feats.refill()
        assert torch.equal(feats.xs[0], feats.source) and bool(feats.source.all()), "zeros are what was dropped"


@pytest.mark.parametrize("name", ["plain", "half", "by region"])
def test_a_wrong_bit_or_a_wrong_rate_is_wrong(name):
    feats = small(name, way=FORWARD)
    changes = [
        lambda y: y[0, 0, 0, 0].add_(1e-6),  # in the sample that is compared
        lambda y: y[0].mul_(1 + 1e-6),
        lambda y: y[1, 0].fill_(torch.nan),  # beyond it
    ]
    if name != "by region":  # where chance decides the rate of a few samples
        changes += [lambda y: y.copy_(feats.source), lambda y: y[1].zero_(), lambda y: y[1].fill_(1.0)]
    for change in changes:
        wrong = feats.ours.calls[0]()
        change(wrong)
        assert feats.wrong_share(wrong) > 0


@pytest.mark.parametrize("name", ["plain", "half"])
@pytest.mark.parametrize("sizes", [None, (8, 20, 20)], ids=["video", "tokens"])
def test_dropout_peers_drop_what_they_should(sizes, name, monkeypatch):
    monkeypatch.setattr(Device, "compiled", lambda self, formula: formula)
    torch.manual_seed(0)
    shape = {"shape": (8, 3200, 6), "channel_dim": -1, "grid": sizes} if sizes else {"shape": (8, 32, 8, 20, 20)}
    feats = small(name, way=FORWARD, **shape)
    assert feats.rate == P if name == "plain" else 0 < feats.rate < P
    names = F_DROPOUT, rivals.F_DROPOUT3D, rivals.DROPBLOCK, rivals.NAIVE, COMPILED
    found = rivals.dropout_rivals(names, feats)
    assert len(found) == (3 if sizes else 5)
    for peer, candidate in found.items():
        assert candidate.error(candidate.calls[0]()) <= candidate.tolerance, peer
        assert candidate.error(feats.source) > candidate.tolerance, peer


def test_bytes_are_counted():
    x, factor = torch.ones(8, requires_grad=True), torch.full((8,), 2.0)
    kept = [bytes_kept(lambda: x * factor, (held,)) for held in (factor, None)]
    assert [*kept, bytes_kept(lambda: x * factor.clone(), (factor,))] == [0, 32, 32]
    assert peak_bytes(lambda: torch.ones(10_000_000)) > 30_000_000
    assert peak_bytes(lambda: factor.sum()) < 5_000_000


def test_styles_of_opencv_are_those_of_the_package():
    """At strengths drawn alike, so that both are asked for the same picture."""
    pytest.importorskip("cv2")
    clip = np.repeat(np.random.default_rng(0).integers(0, 256, (2, 12, 160, 3), dtype=np.uint8), 8, axis=1)
    others = loading.opencv_styles()
    assert set(others) == set(STYLES) - {"colormap"}  # which is OpenCV's here, too
    for name, style in others.items():
        theirs, ours = (make(clip, np.random.default_rng(3)) for make in (style, partial(apply_style, name)))
        assert np.mean(theirs != ours) < 0.01
