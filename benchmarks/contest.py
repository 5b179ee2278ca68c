"""One comparison: check every answer, then time those that are right, in turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from benchmarks.scoreboard import Beside, Judged, Scoreboard
from benchmarks.targets import Target
from sdfast.bench import MIN_ROUNDS, Rounds, Spread, interleave

OURS = "sdfast"


@dataclass(frozen=True)
class Candidate:
    """A call, how far its answer is from the truth, and how far it may be."""

    run: Callable[[], object]
    error: Callable[[object], float]
    tolerance: float


@dataclass(frozen=True)
class Lineup:
    """What is compared.

    Args:
        case, shape: what it is called in the tables.
        ours: must be right for anything to be timed.
        peers: one that gives a wrong answer, or cannot run here, is named as such and not timed.
        limits: calls that answer nothing, and show what the machine can do.
        settle: called before each call that is checked and each that is timed, as `interleave` does.
    """

    case: str
    shape: str
    ours: Candidate
    peers: Mapping[str, Candidate] = field(default_factory=dict)
    limits: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    settle: Callable[[], None] | None = None


@dataclass(frozen=True)
class Contest:
    """What came of a comparison; `rounds` is None where our own answer was wrong, and nothing was timed."""

    case: str
    shape: str
    rounds: Rounds | None
    errors: Mapping[str, float]
    notes: Mapping[str, str]  # why a candidate was not timed

    def over_ours(self, candidate: str) -> Spread | None:
        """Return how many times our seconds a candidate takes, or None where either was not timed."""
        if self.rounds is None or candidate not in self.rounds.seconds:
            return None
        return self.rounds.ratio(candidate, OURS)

    def judge(self, scoreboard: Scoreboard, target: Target, candidate: str) -> None:
        """Note how our speed over that of a candidate, or our time where less of it is wanted, meets a target."""
        note = self.notes.get(OURS) or self.notes.get(candidate, "")
        measured = self.over_ours(candidate)
        if measured is not None and target.less:
            measured = measured.map(lambda ratio: 1 / ratio)
        scoreboard.judged.append(Judged(target, self.shape, measured, note))

    def compare(self, scoreboard: Scoreboard) -> None:
        """Note every candidate beside ours."""
        timed = self.rounds.seconds if self.rounds is not None else ()
        for name in dict.fromkeys([*timed, *self.errors, *self.notes]):
            error, note = self.errors.get(name), self.notes.get(name, "")
            ratio = None if name == OURS else self.over_ours(name)
            if name == OURS and self.rounds is not None:
                note = f"{self.rounds.of(OURS).median * 1e3:.3f} ms"
            scoreboard.beside.append(Beside(self.case, name, ratio, error, note))

    def check(self) -> None:
        """Fail the test whose answer was wrong."""
        assert self.rounds is not None, f"{self.case}: {self.notes[OURS]}"


@torch.no_grad()
def compete(lineup: Lineup) -> Contest:
    """Check all candidates and time those that are right."""
    errors, notes, right = {}, {}, {}
    errors[OURS] = _error(lineup, lineup.ours)
    for name, peer in lineup.peers.items():
        try:
            errors[name] = _error(lineup, peer)
        except Exception as error:
            notes[name] = f"cannot run: {type(error).__name__}"
            continue
        if errors[name] > peer.tolerance:
            notes[name] = "WRONG"
        else:
            right[name] = peer.run
    if errors[OURS] > lineup.ours.tolerance:
        notes[OURS] = f"WRONG: error {errors[OURS]:.0e}, at most {lineup.ours.tolerance:.0e}"
        return Contest(lineup.case, lineup.shape, None, errors, notes)
    rounds = interleave({**lineup.limits, OURS: lineup.ours.run, **right}, settle=lineup.settle)
    return Contest(lineup.case, lineup.shape, rounds, errors, notes)


def hold(benchmark, lineup: Lineup) -> Contest:
    """Check and time all candidates, and have pytest-benchmark keep how it went."""
    contest = compete(lineup)
    if contest.rounds is not None:
        # Its own rounds are for the record that pytest-benchmark keeps; what is judged are those above.
        with torch.no_grad():
            benchmark.pedantic(lineup.ours.run, setup=lineup.settle, rounds=MIN_ROUNDS, warmup_rounds=1)
        benchmark.extra_info.update(
            case=contest.case,
            errors=contest.errors,
            times_ours={name: contest.over_ours(name).to_dict() for name in contest.rounds.seconds if name != OURS},
        )
    return contest


def _error(lineup: Lineup, candidate: Candidate) -> float:
    if lineup.settle is not None:
        lineup.settle()
    return candidate.error(candidate.run())
