"""Stopping when shares are known: where the formulas say, on one process and on two, and the same when resumed."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import sdfast
from sdfast.measurement.stopping import SharesKnown, widest_share
from tests import truth
from tests.support.processes import on_two

BATCH = 4
UNTIL = 0.04


class Pairs(torch.utils.data.Dataset):
    """Pairs that share half of what they are; two of each source, one for each factor. Fails at one, if told to."""

    def __init__(self, length=400, fails_at=None):
        self.length, self.fails_at = length, fails_at

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index >= self.length:
            raise IndexError
        if index == self.fails_at:
            raise InterruptedError
        clips = torch.randn(2, 4, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        return clips[0], clips[0] + clips[1], index % 2, index // 2


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5, dtype=torch.float64), nn.ReLU())


def measured(rank=0, pairs=None, until=UNTIL, **settings):
    pairs = Pairs() if pairs is None else pairs
    return sdfast.measure(model(), pairs, "*", **{"batch_size": BATCH, "progress": False, **settings}, until=until)


def moments(*args, **settings):
    return {name: report.moments.tolist() for name, report in measured(*args, **settings).items()}


def asked():
    """The numbers of batches after which it is looked up: from each to the next a tenth more, at least one."""
    return itertools.accumulate(itertools.repeat(0), lambda done, _: done + max(1, done // 10), initial=1)


def score(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum() / np.sqrt((a**2).sum(0) * (b**2).sum(0)).sum()


def widest_by_hand(a, b, factor, source):
    """Return the widest half-width of a share, from the features of all pairs but those of one group, for each."""

    def share(keep):
        scores = np.array([score(a[keep & (factor == f)], b[keep & (factor == f)]) for f in (0, 1)] + [1.0])
        return np.exp(scores) / np.exp(scores).sum()

    without = [share(source % 64 != group) for group in np.unique(source % 64)]
    low, high = truth.ends(share(np.ones(len(a), dtype=bool)), without)
    return (high - low).max() / 2


@functools.cache
def enough(world=1):
    """Return how many pairs are enough by the formulas, and how wide the widest share was whenever it was looked up."""
    weight, bias = (x.detach().numpy() for x in model()[0].parameters())
    a, b, factor, source = (np.array([np.asarray(x) for x in column]) for column in zip(*Pairs(), strict=True))
    a, b = a @ weight.T + bias, b @ weight.T + bias
    layers = (a, b), (np.maximum(a, 0), np.maximum(b, 0))
    widths = {}
    for pairs in (done * BATCH * world for done in asked()):
        if len(set(source[:pairs])) >= 20:
            widths[pairs] = max(widest_by_hand(x[:pairs], y[:pairs], factor[:pairs], source[:pairs]) for x, y in layers)
            if widths[pairs] <= UNTIL:
                return pairs, widths


def test_it_stops_where_the_formulas_say():
    wanted, widths = enough()
    assert len(widths) > 5
    reports = measured()
    for report in reports.values():
        assert int(report.count.sum()) == wanted and report.num_sources == wanted // 2
    np.testing.assert_allclose(widest_share(reports.values()), widths[wanted], rtol=1e-9)


def test_pairs_that_are_not_needed_are_not_loaded():
    wanted, _ = enough()
    measured(pairs=Pairs(fails_at=wanted))
    with pytest.raises(InterruptedError):
        measured(pairs=Pairs(fails_at=wanted - 1))


def test_twenty_sources_are_the_least():
    """Clips that are the same have shares without doubt from the first sources on."""

    def same(number):
        return [
            (clip, clip, index % 2, index // 2)
            for index, (clip, *_) in enumerate(map(Pairs().__getitem__, range(number)))
        ]

    for report in measured(pairs=same(100)).values():
        assert report.num_sources == 20
    with pytest.warns(UserWarning, match=r"with 19 sources \(fewer than 20 are never enough\)"):
        reports = measured(pairs=same(38))
    assert {report.num_sources for report in reports.values()} == {19}


def test_when_the_pairs_run_out_first_a_warning_says_so():
    with pytest.warns(
        UserWarning, match="until: the pairs ran out before ±0.1 %: with 30 sources the widest share"
    ) as said:
        reports = measured(pairs=Pairs(60), until=0.001)
    assert {int(report.count.sum()) for report in reports.values()} == {60}
    needed = max(report.needed_sources(0.001) for report in reports.values())
    assert f"{100 * widest_share(reports.values()):.2g} %, about {needed:,} sources would do" in str(said[0].message)


def test_shares_that_nobody_knows_never_suffice():
    pairs = [(clip_a, clip_b, 0, source) for clip_a, clip_b, _, source in Pairs(60)]
    with pytest.warns(UserWarning, match="the widest share is not known at all"):
        reports = measured(pairs=pairs)
    assert math.isnan(widest_share(reports.values()))


@pytest.mark.parametrize("fails_at", [5, 50, 70])
def test_a_resumed_run_stops_where_an_uninterrupted_one_does(tmp_path, fails_at):
    whole = moments()
    with pytest.raises(InterruptedError):
        measured(pairs=Pairs(fails_at=fails_at), resume=tmp_path)
    assert moments(resume=tmp_path) == whole
    assert moments(pairs=Pairs(fails_at=0), resume=tmp_path) == whole  # which was enough, and still is


def test_a_stricter_wish_goes_on_from_there(tmp_path):
    measured(resume=tmp_path)
    assert moments(until=0.035, resume=tmp_path) == moments(until=0.035)


def test_two_processes_stop_together():
    first, second = on_two(moments)
    assert first == second  # bit for bit
    wanted, _ = enough(world=2)
    alone = measured(pairs=Pairs(wanted), until=None)
    for name, report in alone.items():
        np.testing.assert_allclose(first[name], report.moments, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:until")
@pytest.mark.parametrize("length", [84, 86, 92])  # 21 batches, 22 and 23: the last rounds may be one process's only
def test_no_process_waits_for_one_that_has_no_pairs_left(length):
    first, second = on_two(moments, pairs=Pairs(length), until=1e-6)
    assert first == second and sum(row[0] for row in first["0"][0]) == length


def resumed_apart(rank, folder):
    """The second process was killed later than the first."""
    with pytest.raises((InterruptedError, RuntimeError)):
        measured(pairs=Pairs(fails_at=28 if rank == 1 else None), resume=folder)
    if rank == 0:
        (folder / "state.0.sdfast").unlink()  # so this one starts over
    return moments(resume=folder)


def test_processes_that_resume_from_different_batches_stop_together(tmp_path):
    first, second = on_two(resumed_apart, tmp_path)
    assert first == second == on_two(moments)[0]


def of_an_iterable(rank, length):
    return moments(pairs=iter(torch.utils.data.DataLoader(Pairs(length), batch_size=BATCH)), until=1e-6)


@pytest.mark.filterwarnings("ignore:until")
def test_iterables_end_when_they_end():
    first, second = on_two(of_an_iterable, 84)
    assert first == second and sum(row[0] for row in first["0"][0]) == 84


def different_wishes(rank):
    measured(until=0.01 if rank else 0.02)


def test_processes_with_different_wishes_are_an_error():
    _, second = on_two(different_wishes)
    assert isinstance(second, ValueError) and "got other ['until']" in str(second)


def one_breaks_later(rank):
    measured(pairs=Pairs(fails_at=61), until=1e-6)


def test_the_others_hear_of_a_failure_at_a_check():
    found = on_two(one_breaks_later)
    assert {type(error).__name__ for error in found} == {"InterruptedError", "PeerError"}


def test_it_is_looked_up_whenever_there_is_a_tenth_more():
    asks = list(itertools.takewhile(lambda done: done < 2000, SharesKnown(0.01).checks()))
    assert asks == list(itertools.takewhile(lambda done: done < 2000, asked()))
    assert asks[:20] == [*range(1, 21)] and len(asks) < 75


def test_the_bar_shows_how_wide_the_widest_share_is(capsys):
    reports = measured(progress=True)
    assert f"widest share ±{100 * widest_share(reports.values()):.2g} %" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("until", [0, 1, -0.01, math.nan, "1%", True])
def test_bad_wishes(until):
    with pytest.raises(ValueError, match=r"until: expected a half-width between 0 and 1, such as 0\.01 for ±1 %, got"):
        measured(until=until)
