"""The benchmarks: peers compute the same, ratios are of one round, and what is wrong is neither timed nor passed."""

import itertools
import json

import numpy as np
import pytest
import torch

from benchmarks import features
from benchmarks.allocator import compete_warm
from benchmarks.contest import OURS, Candidate, Contest, Lineup, compete, hold
from benchmarks.features import TOLERANCE, draw, estimate
from benchmarks.peers import TorchMetrics, authors_numpy
from benchmarks.scoreboard import Judged, Scoreboard, columns
from benchmarks.targets import CALL, MEASURE, PAIRWISE, POOLED, TARGETS, Target
from benchmarks.test_channel_bias import eager_lineup
from benchmarks.test_pairwise import centred as centred_product
from benchmarks.test_pairwise import corrcoef, numpy_corrcoef
from sdfast.bench import timing
from sdfast.bench.features import largest_error
from sdfast.bench.formulas import centred, one_pass
from sdfast.bench.timing import MIN_ROUNDS, Rounds, Spread, interleave


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(timing, "MAX_ROUNDS", MIN_ROUNDS)


class Recorder:
    """Stands in for pytest-benchmark."""

    def __init__(self):
        self.extra_info, self.runs = {}, 0

    def pedantic(self, run, **_):
        self.runs += 1
        run()


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize(
    ("shape", "layout", "channel_dim"),
    [
        ((40, 6), "contiguous", 1),
        ((20, 6, 3, 5), "contiguous", 1),
        ((20, 6, 3, 5), "channels_last", 1),
        ((20, 15, 6), "contiguous", -1),
    ],
)
def test_peers_compute_the_same(shape, layout, channel_dim, pool):
    feats = draw(shape, torch.float32, layout, channel_dim)
    args = (feats.feats_a, feats.feats_b, channel_dim, pool)
    for peer in (one_pass, centred, TorchMetrics(6)):
        mi, corr = peer(*args)
        truth = feats.truth(pool)
        assert largest_error(corr, truth) < 1e-4
        np.testing.assert_allclose(mi, -0.5 * np.log1p(-truth * truth), atol=1e-3)
    if pool:
        _, corr = authors_numpy(feats.feats_a.numpy(), feats.feats_b.numpy(), channel_dim)
        assert largest_error(corr, feats.truth(pool, "intraclass")) < 1e-4


def test_truth_is_the_same_in_pieces(monkeypatch):
    feats = draw((20, 7, 5), torch.bfloat16)
    whole = feats.truth(pool=False)
    monkeypatch.setattr(features, "_CHUNK", 300)
    np.testing.assert_allclose(feats.truth(pool=False), whole, rtol=0, atol=1e-14)
    assert whole.shape == (7,)


def test_nan_is_the_largest_error():
    assert largest_error(np.array([0.0, np.nan]), np.zeros(2)) == np.inf


def test_candidates_are_timed_in_turn():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "AB"}
    rounds = interleave(candidates, settle=lambda: calls.append("settle"))
    first = calls.index("settle")
    turns = [name for name, _ in itertools.groupby(calls[first:])]
    assert turns == ["settle", "A", "settle", "B"] * MIN_ROUNDS
    assert all(len(seconds) == MIN_ROUNDS for seconds in rounds.seconds.values())


def test_ratios_are_taken_round_by_round():
    rounds = Rounds({"slow": (2.0, 30.0, 400.0), "fast": (1.0, 10.0, 100.0)})
    assert rounds.ratio("slow", "fast").values == (2.0, 3.0, 4.0)
    assert rounds.ratio("slow", "fast").median == 3.0


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.84, 0.85, 0.86), "reached"),
        ((0.97, 0.98, 0.99), "aim"),
        ((0.70, 0.71, 0.72), "missed"),
        ((0.79, 0.81, 0.82), "reached"),  # the rounds agree well enough for the median to decide
        ((0.30, 0.81, 0.99), "noise"),
        ((0.30, 0.70, 0.99), "noise"),
        ((0.85, 0.99, 1.40), "noise"),  # good all through, but what of?
        ((1.20, 1.30, 1.31), "noise"),  # nothing is faster than the limit
    ],
)
def test_verdicts(values, verdict):
    assert Judged(POOLED, "", Spread(values)).verdict == verdict


def test_less_is_better_where_it_is():
    assert CALL.verdict(Spread((1.0, 1.1, 1.2))) == "aim"
    assert CALL.verdict(Spread((2.8, 2.9, 2.95))) == "reached"
    assert CALL.verdict(Spread((3.8, 3.9, 3.95))) == "missed"
    assert MEASURE.verdict(Spread((-0.9, 0.1, 0.8))) == "aim"  # percent: their spread is not a matter of the median
    assert MEASURE.verdict(Spread((-20.0, 0.1, 2.0))) == "noise"


def contest_of(ours, peers):
    feats = draw((20, 6), torch.float32)
    truth = feats.truth(pool=True)
    candidate = estimate(lambda: (None, ours(truth)), truth, TOLERANCE[torch.float32])
    return hold(Recorder(), Lineup("case", feats.shape, candidate, peers(truth)))


def test_a_wrong_answer_is_printed_as_wrong_and_not_timed():
    contest = contest_of(lambda truth: truth + 1e-3, lambda truth: {"peer": estimate(lambda: (None, truth), truth)})
    assert contest.rounds is None
    board = Scoreboard()
    contest.judge(board, POOLED, "peer")
    contest.compare(board)
    assert [row[-1] for row in board.judged_table()[1:] if row[0] == POOLED.label] == ["WRONG"]
    assert any("WRONG" in row[2] for row in board.beside_table())
    with pytest.raises(AssertionError, match="WRONG"):
        contest.check()


def test_a_peer_that_is_wrong_or_cannot_run_is_named_and_not_timed():
    def broken():
        raise RuntimeError("no compiler")

    contest = contest_of(
        lambda truth: truth,
        lambda truth: {
            "right": estimate(lambda: (None, truth), truth),
            "wrong": estimate(lambda: (None, -truth), truth),
            "broken": estimate(broken, truth),
        },
    )
    contest.check()
    assert set(contest.rounds.seconds) == {OURS, "right"}
    assert contest.notes == {"wrong": "WRONG", "broken": "cannot run: RuntimeError"}
    board = Scoreboard()
    contest.compare(board)
    shown = {row[1]: row[2] for row in board.beside_table()[1:]}
    assert shown["wrong"] == "WRONG" and shown["broken"] == "cannot run: RuntimeError" and "x" in shown["right"]


def test_every_target_has_a_row_and_all_is_kept(tmp_path):
    board = Scoreboard([Judged(POOLED, "(2,3)", Spread((0.9, 0.91, 0.92)))])
    rows = board.judged_table()[1:]
    assert [row[0] for row in rows] == [target.label for target in TARGETS]
    assert [row[-1] for row in rows].count("not run") == len(TARGETS) - 1
    assert len({len(line) for line in columns([("a", "b"), ("ccc", "d")])}) == 1
    board.save(tmp_path)
    (kept,) = json.loads((tmp_path / "latest.json").read_text())["judged"]
    assert kept["measured"]["median"] == 0.91 and kept["verdict"] == "reached"
    assert "(2,3)" in (tmp_path / "latest.md").read_text()


def test_small_figures_are_shown_with_their_exponent():
    assert Target("", 1e-6, 1e-9).show(2.5e-10) == "2.5e-10"
    assert Target("", 1.0, 2.0, unit="x").show(1.456) == "1.46x"


def test_where_less_is_wanted_it_is_our_time_over_theirs():
    contest = Contest("case", "(2,3)", Rounds({OURS: (2.0, 4.0), "torch.mm": (1.0, 4.0)}), {}, {})
    board = Scoreboard()
    contest.judge(board, PAIRWISE, "torch.mm")
    contest.judge(board, POOLED, "torch.mm")
    assert [figure.measured.values for figure in board.judged] == [(2.0, 1.0), (0.5, 1.0)]


def test_all_are_settled_before_they_are_checked_and_timed():
    calls = []
    candidates = {
        name: Candidate(lambda name=name: calls.append(name), lambda answer: 0.0, 0.0) for name in ("ours", "peer")
    }
    compete(Lineup("", "", candidates["ours"], {"peer": candidates["peer"]}, settle=lambda: calls.append("settle")))
    assert calls[:4] == ["settle", "ours", "settle", "peer"]
    timed = calls[calls.index("settle", 4) :]
    assert [name for name, _ in itertools.groupby(timed)] == ["settle", "ours", "settle", "peer"] * MIN_ROUNDS


def test_eager_is_timed_in_a_process_that_keeps_its_memory(monkeypatch):
    monkeypatch.setenv("SDFAST_BENCH", "quick")
    contest = compete_warm(eager_lineup, shape=(16, 4, 9), channel_dim=1, pool=False)
    contest.check()
    ratio = contest.over_ours("eager")
    assert len(ratio.values) >= MIN_ROUNDS and min(ratio.values) > 0
    assert contest.shape == "(16,4,9)" and contest.errors[OURS] < 1e-12


def wrong_lineup() -> Lineup:
    return Lineup("case", "(2,3)", Candidate(lambda: None, lambda answer: np.inf, 1e-3))


def test_a_wrong_answer_comes_back_from_the_other_process():
    contest = compete_warm(wrong_lineup)
    assert contest.rounds is None and contest.errors == {OURS: np.inf}
    with pytest.raises(AssertionError, match="WRONG"):
        contest.check()


def test_what_fails_in_the_other_process_is_told():
    with pytest.raises(RuntimeError, match="unexpected keyword argument 'shapes'"):
        compete_warm(eager_lineup, shapes=(16, 4, 9))


def test_pairwise_peers_compute_the_same():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 4, generator=generator), torch.randn(50, 7, generator=generator)
    truth = numpy_corrcoef(a.double().numpy(), b.double().numpy())
    assert truth.shape == (4, 7)
    np.testing.assert_allclose(truth[1, 2], np.corrcoef(a[:, 1], b[:, 2])[0, 1], atol=1e-6)
    for peer in (corrcoef, centred_product):
        assert largest_error(peer(a, b), truth) < 1e-5
