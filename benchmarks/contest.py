"""One comparison: check every answer, then time those that are right, in turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.features import PEER_TOLERANCE, TOLERANCE, FeaturePair, largest_error
from benchmarks.scoreboard import Beside, Judged, Scoreboard
from benchmarks.targets import Target
from benchmarks.timing import MIN_ROUNDS, Rounds, Spread, interleave

OURS = "sdfast"
PROBE = "read probe"
_SMALL = 1.0  # MB; below it a call is all that the read probe would time


@dataclass(frozen=True)
class Peer:
    """An opponent: a call that returns (mi, corr), and the correlations that it should find."""

    run: Callable[[], tuple]
    truth: np.ndarray


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
        """Note how our speed over that of a candidate meets a target."""
        note = self.notes.get(OURS) or self.notes.get(candidate, "")
        scoreboard.judged.append(Judged(target, self.shape, self.over_ours(candidate), note))

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


def hold(
    benchmark,
    case: str,
    feats: FeaturePair,
    ours: Callable[[], tuple],
    truth: np.ndarray,
    peers: Mapping[str, Peer],
    *,
    settle: Callable[[], object] | None = None,
) -> Contest:
    """Check and time ours, the read probe and the peers.

    A peer that gives a wrong answer, or cannot run here, is named as such and not timed.
    """
    errors, notes, right = {}, {}, {}
    errors[OURS] = largest_error(ours()[1], truth)
    tolerance = TOLERANCE[feats.feats_a.dtype]
    with torch.no_grad():
        for name, peer in peers.items():
            try:
                errors[name] = largest_error(peer.run()[1], peer.truth)
            except Exception as error:
                notes[name] = f"cannot run: {type(error).__name__}"
                continue
            if errors[name] > PEER_TOLERANCE:
                notes[name] = "WRONG"
            else:
                right[name] = peer.run
        if errors[OURS] > tolerance:
            notes[OURS] = f"WRONG: error {errors[OURS]:.0e}, at most {tolerance:.0e}"
            return Contest(case, feats.shape, None, errors, notes)
        limit = {PROBE: feats.read} if feats.megabytes > _SMALL else {}
        rounds = interleave({**limit, OURS: ours, **right}, settle=settle)
        # Its own rounds are for the record that pytest-benchmark keeps; what is judged are those above.
        benchmark.pedantic(ours, rounds=MIN_ROUNDS, warmup_rounds=1)
    contest = Contest(case, feats.shape, rounds, errors, notes)
    benchmark.extra_info.update(
        case=case,
        megabytes=round(feats.megabytes, 3),
        errors=errors,
        times_ours={name: contest.over_ours(name).to_dict() for name in rounds.seconds if name != OURS},
    )
    return contest
