"""measure by copula and by nearest neighbours: what channel_bias says of all pooled features at once."""

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.report import save_reports
from sdfast.statistics import KeptSamples
from tests.support.processes import on_two

PAIRS = 60


class Pairs(torch.utils.data.Dataset):
    """Clips of which the second is the square of the first, with noise: no correlation tells."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at

    def __len__(self):
        return PAIRS

    def __getitem__(self, index):
        if index == self.fails_at:
            raise InterruptedError
        x, noise = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(index))
        return x, x.square() + 0.3 * noise, index % 2, index // 4


def measured(rank=0, pairs=None, **settings):
    settings = {"batch_size": 7, "progress": False, "estimator": "kraskov", **settings}
    model = nn.Sequential(nn.Identity(), nn.LeakyReLU(0.5))
    return sdfast.measure(model, Pairs() if pairs is None else pairs, ["*"], channel_dim=1, **settings)


def informed(rank, **settings):
    return {name: report.mi.tolist() for name, report in measured(rank, **settings).items()}


def at_once(estimator, **settings):
    pairs = [Pairs()[index] for index in range(PAIRS)]
    a, b, factor, _ = (torch.stack([torch.as_tensor(x) for x in each]) for each in zip(*pairs, strict=True))
    return sdfast.channel_bias(a, b, factor, estimator=estimator, **settings)


@pytest.mark.parametrize("settings", [{"estimator": "copula"}, {}, {"neighbors": 5}], ids=str)
@pytest.mark.parametrize("in_a_file", [False, True])
def test_equals_channel_bias_of_all_pairs(settings, in_a_file, tmp_path):
    report = measured(**settings, keep_in=tmp_path if in_a_file else None)["0"]
    expected = at_once(**{"estimator": "kraskov", **settings})
    torch.testing.assert_close(report.mi, expected.mi, rtol=0, atol=1e-3)  # samples are kept in float32
    gaussian = measured(estimator="gaussian")["0"]
    assert report.labels == gaussian.labels and torch.equal(report.corr, gaussian.corr)
    assert (report.mi - gaussian.mi).abs().max() > 0.03 and report.mi_corrected.isnan().all()
    assert report.to_dict()["estimator"] == report.estimator == settings.get("estimator", "kraskov")
    assert not list(tmp_path.iterdir()), "the file has no name"


def test_two_processes_say_the_same():
    alone = informed(0)
    for found in on_two(informed):
        for name in alone:
            np.testing.assert_allclose(found[name], alone[name], rtol=0, atol=1e-12)


def test_a_run_goes_on_with_the_samples_of_the_one_before(tmp_path):
    whole = measured()
    with pytest.raises(InterruptedError):
        measured(pairs=Pairs(fails_at=40), resume=tmp_path)
    for name, report in measured(resume=tmp_path).items():
        assert torch.equal(report.mi, whole[name].mi)
    with pytest.raises(ValueError, match="of another job: state"):
        measured(resume=tmp_path, estimator="gaussian")


def test_the_room_it_takes_is_said_first(capsys, tmp_path):
    measured(progress=True, pairs=Stopped(), until=0.04)
    assert "kraskov: the features of at most 600 pairs take" in capsys.readouterr().err
    measured(progress=True)
    assert "kraskov: the features of 60 pairs take 0.0287 MB in memory" in capsys.readouterr().err
    measured(progress=True, estimator="copula", keep_in=tmp_path)
    assert f"copula: the features of 60 pairs take 0.0287 MB in a file in {tmp_path}" in capsys.readouterr().err


class Stopped(Pairs):
    """Enough of them, of 150 sources, to stop at some."""

    def __len__(self):
        return 600


def stopped(rank=0, **settings):
    """Return count, information and moments of measurements that stop when shares are known to ± 4 %."""
    reports = measured(rank, **{"pairs": Stopped(), "until": 0.04, **settings})
    return {
        name: [report.count.tolist(), report.mi.tolist(), report.moments.tolist()] for name, report in reports.items()
    }


@pytest.mark.parametrize("estimator", ["copula", "kraskov"])
def test_it_stops_where_the_sums_say_and_is_of_the_pairs_until_then(estimator):
    found, sums = stopped(estimator=estimator), stopped(estimator="gaussian")
    number = sum(found["0"][0])
    assert 80 <= number < 600
    pairs = [Stopped()[index] for index in range(number)]
    a, b, factor, _ = (torch.stack([torch.as_tensor(x) for x in each]) for each in zip(*pairs, strict=True))
    for name, (count, mi, moments) in found.items():
        assert count == sums[name][0] and moments == sums[name][2]
        feats = (a, b) if name == "0" else [nn.functional.leaky_relu(x, 0.5) for x in (a, b)]
        expected = sdfast.channel_bias(*feats, factor, estimator=estimator).mi
        np.testing.assert_allclose(mi, expected, rtol=0, atol=1e-3)  # samples are kept in float32


def test_a_look_at_the_shares_copies_and_sends_no_samples(monkeypatch):
    """Two processes stop together, and send their samples once, at the end."""
    sent = []
    state_dict = KeptSamples.state_dict
    monkeypatch.setattr(
        KeptSamples, "state_dict", lambda kept: (sent.extend(kept.count.nonzero()[:1]), state_dict(kept))[1]
    )
    monkeypatch.setattr(KeptSamples, "__deepcopy__", lambda *_: pytest.fail("samples were copied"), raising=False)

    def run(rank):
        return stopped(rank), len(sent)

    (first, all_of_it), (second, own) = on_two(run)
    assert first == second and all_of_it == own == 2, "a layer each"
    assert sum(first["0"][0]) < 600


def test_neighbours_have_to_be_there_before_it_stops():
    same = [(x, x, index % 2, index) for index, (x, *_) in enumerate(map(Pairs().__getitem__, range(PAIRS)))]
    for neighbors in (3, 14, 25):
        counts = measured(pairs=same, until=0.5, neighbors=neighbors)["0"].count
        assert counts.min() > neighbors and counts.sum() < max(21, 2 * neighbors + 2) + 7


def test_reports_come_back_and_do_not_merge(tmp_path):
    reports = measured(estimator="copula")
    save_reports(reports, tmp_path, {})
    back = sdfast.load_reports(tmp_path)["1"]
    assert back.estimator == "copula" and torch.equal(back.mi, reports["1"].mi)
    assert "MI by chance" in back.summary() and "MI by chance" not in measured()["0"].summary()
    with pytest.raises(ValueError, match="estimator: reports of 'copula' cannot be merged"):
        back.merge(back)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "ksg"}, "estimator: expected one of gaussian, copula, kraskov, got 'ksg'"),
        ({"kind": "intraclass"}, "kind: expected 'pearson' with estimator='kraskov', got 'intraclass'"),
        ({"neighbors": 0}, "neighbors: expected a positive integer, got 0"),
        ({"neighbors": 30}, "neighbors"),
    ],
)
def test_what_does_not_fit_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        measured(**settings)


def test_a_report_has_the_information_of_its_estimator():
    moments = torch.from_numpy(np.ones((6, 2, 3)))
    with pytest.raises(ValueError, match="information: expected that of estimator='copula', got None"):
        sdfast.BiasReport(moments, estimator="copula")
    with pytest.raises(ValueError, match=r"information: expected shape \(2, 3\), got \(3,\)"):
        sdfast.BiasReport(moments, estimator="copula", information=torch.ones(3))
