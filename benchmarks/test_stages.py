"""The stages of a worker as tests, so that pytest-benchmark keeps its JSON of what is measured on the CPU."""

from pathlib import Path

import pytest
import torch

from benchmarks.contest import Contest
from benchmarks.device import OURS, in_turn
from sdfast.bench import MIN_ROUNDS

RESULTS = Path(__file__).parent / "results"


class _Stages:
    """A plugin that has a test for each stage that is due."""

    def __init__(self, worker):
        self.worker = worker

    def pytest_generate_tests(self, metafunc):
        tests = [pytest.param(self.worker, stage, id=stage.name) for stage in self.worker.due()]
        metafunc.parametrize(("worker", "stage"), tests)


def go_on_with_record(worker) -> int:
    """Hold all stages that are due and return 0, whatever has failed in them: the logbook says so."""
    how = ["-q", "--no-header", "--no-summary", "-s", "-p", "no:cacheprovider", "-W", "ignore"]
    kept = ["--benchmark-autosave", f"--benchmark-storage={RESULTS.as_uri()}", "--benchmark-quiet"]
    code = pytest.main([__file__, *how, *kept], plugins=[_Stages(worker)])
    return 0 if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else int(code)


def test_stage(worker, stage, request):
    """What is judged are the rounds of the contest; those of pytest-benchmark are for its record."""
    contest = worker.go(stage)
    if isinstance(contest, Contest) and contest.rounds is not None:
        benchmark, case = request.getfixturevalue("benchmark"), contest.case
        rounds = min(MIN_ROUNDS, 1 + int(1 / contest.rounds.of(OURS).median))  # a second or so
        with torch.set_grad_enabled(case.grad):
            benchmark.pedantic(in_turn(case.ours.calls), setup=case.settle, rounds=rounds)
        over = {name: contest.rounds.ratio(name, OURS).to_dict() for name in contest.rounds.seconds}
        benchmark.extra_info.update(case=case.name, errors=contest.errors, times_ours=over)
