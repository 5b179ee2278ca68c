"""Two processes measure what one does, and one that fails does not leave the other waiting."""

import os
import signal
import time

import pytest
import torch
import torch.distributed as dist
from torch import nn

import sdfast
from sdfast.measurement.processes import PeerError, Processes
from tests.support.processes import on_several, on_two

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def pairs(num_pairs):
    clips = torch.randn(num_pairs, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return [(a, a + b, i % 2) for i, (a, b) in enumerate(clips)]


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5, dtype=torch.float64), nn.ReLU())


class Fragile(nn.Module):
    def __init__(self, breaks):
        super().__init__()
        self.breaks = breaks

    def forward(self, x):
        if self.breaks:
            raise RuntimeError("this one breaks")
        return x


def measured(rank, num_pairs, **settings):
    """Return the moments of every layer, as a list that travels between processes."""
    reports = sdfast.measure(model(), pairs(num_pairs), ["*"], batch_size=4, progress=False, **settings)
    return {name: report.moments.tolist() for name, report in reports.items()}


def empty(rank):
    sdfast.measure(model(), iter([]), ["*"], progress=False)


def one_breaks(rank):
    fragile = nn.Sequential(model(), Fragile(breaks=rank == 1))
    sdfast.measure(fragile, pairs(80), ["*"], batch_size=1, progress=False)


def one_knows_no_such_layer(rank):
    sdfast.measure(model(), pairs(8), ["covn"] if rank == 1 else ["0"], progress=False)


def other_weights(rank):
    sdfast.measure(model(seed=rank), pairs(8), ["0"], progress=False)


def one_vanishes(rank):
    with Processes(timeout=1.0) as processes:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        processes.wait("measured")


def one_is_interrupted(rank):
    with Processes() as processes:
        if rank == 1:
            raise KeyboardInterrupt
        processes.wait("measured")


def one_calls(rank):
    """One process alone cannot share; it goes on by itself, and then all share again."""
    if rank == 0:
        for _ in range(2):
            with pytest.raises(PeerError) as caught:
                measured(rank, 22, distributed=0.3)
            assert str(caught.value) == (
                "measure: 1 of 2 processes began within 0.3 s, without 1: all have to call it, or one with "
                "distributed=False"
            )
        alone = measured(rank, 22, distributed=False)
    dist.barrier()
    together = measured(rank, 22)
    return (alone, together) if rank == 0 else together


def one_has_given_up(rank):
    """Who comes too late for one measurement begins the next, which all share."""
    if rank == 1:
        time.sleep(0.5)
        return measured(rank, 22)
    with pytest.raises(PeerError):
        measured(rank, 22, distributed=0.2)
    return measured(rank, 22)


def survives_a_failure(rank):
    """A failed measurement must not spoil the next one."""
    for breaks in (one_breaks, one_knows_no_such_layer):
        with pytest.raises((RuntimeError, ValueError)):
            breaks(rank)
    return measured(rank, 10)


@pytest.mark.parametrize("num_pairs", [22, 20, 3])  # 6 batches, 5, and one: the second process has none
def test_two_processes_measure_what_one_does(num_pairs):
    alone = measured(0, num_pairs)
    first, second = on_two(measured, num_pairs)
    assert first == second  # bit for bit
    assert list(first) == list(alone)
    for name, moments in alone.items():
        torch.testing.assert_close(torch.tensor(first[name]), torch.tensor(moments), rtol=1e-12, atol=1e-12)


def test_processes_go_on_from_what_any_of_them_has_left(tmp_path):
    plain, _ = on_two(measured, 22)
    on_two(measured, 22, resume=tmp_path)
    left = sorted(tmp_path.glob("state.*.sdfast"))
    left[-1].unlink()  # as if killed before it was written
    assert on_two(measured, 22, resume=tmp_path) == [plain, plain]


def test_no_pairs_is_the_same_error_everywhere():
    for error in on_two(empty):
        assert isinstance(error, ValueError) and str(error) == "pairs: expected at least one pair, got none"


def test_the_others_hear_of_a_failure():
    first, second = on_two(one_breaks)
    assert isinstance(second, RuntimeError) and str(second) == "this one breaks"
    assert isinstance(first, PeerError) and str(first) == "measure: process 1 of 2: this one breaks"


def test_the_others_hear_of_a_failure_before_the_first_batch():
    first, second = on_two(one_knows_no_such_layer)
    assert isinstance(second, ValueError) and isinstance(first, PeerError)
    assert "process 1 of 2: layers: 'covn' matches no layer" in str(first)


def test_the_others_hear_of_an_interrupt_by_its_name():
    first, second = on_two(one_is_interrupted)
    assert isinstance(second, KeyboardInterrupt)
    assert isinstance(first, PeerError) and str(first) == "measure: process 1 of 2: KeyboardInterrupt"


def test_other_weights_elsewhere_are_an_error():
    first, second = on_two(other_weights)
    assert isinstance(second, ValueError) and "expected process 1 to measure what process 0 does" in str(second)
    assert isinstance(first, (PeerError, ValueError))


def test_a_process_that_vanished_is_not_waited_for_for_ever():
    first, _ = on_several(2, one_vanishes, killed=[1])
    assert isinstance(first, PeerError) and "process 1 of 2 has given no sign of life for 1 s" in str(first)


def test_a_failed_measurement_does_not_spoil_the_next():
    first, second = on_two(survives_a_failure)
    assert first == second and isinstance(first, dict)


def test_one_process_alone_is_an_error_in_time_or_measures_alone():
    (alone, first), second = on_two(one_calls)
    assert first == second and alone == measured(0, 22)


def test_a_process_that_comes_too_late_joins_the_next_measurement():
    first, second = on_two(one_has_given_up)
    assert first == second == on_two(measured, 22)[0]


@pytest.mark.parametrize(("distributed", "error"), [("yes", TypeError), (0, ValueError), (float("nan"), ValueError)])
def test_distributed_is_a_bool_or_seconds(distributed, error):
    with pytest.raises(error, match="distributed: expected a bool or"):
        measured(0, 4, distributed=distributed)


def test_torchrun_gives_the_report_of_one_process(command, video_folder):
    job = ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 18, "--batch-size", 4, "--workers", 0]
    alone = command(*job, "--out", "one")
    assert alone.returncode == 0, alone.stderr
    both = command(*job, "--out", "two", launch=TORCHRUN)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("wrote two/report.json") == 1 and both.stderr.count("18/18") >= 1  # rank 0 speaks
    one, two = command.report("one"), command.report("two")
    assert one["settings"].pop("processes") == 1 and two["settings"].pop("processes") == 2
    assert one.pop("sums") != two.pop("sums"), "of other last bits"
    assert_same(two, one)
    assert not list((command.folder / "two").glob("state*"))


@pytest.mark.slow
def test_torchrun_makes_a_probe_set_once(command, video_folder):
    job = ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 18, "--batch-size", 4, "--workers", 0]
    assert command(*job, "--out", "alone").returncode == 0
    both = command(*job, "--out", "kept", "--probe", "probe", launch=TORCHRUN)
    assert both.returncode == 0, both.stderr
    assert both.stderr.count("probe set: 100%") == 1, both.stderr
    assert_same(command.report("kept")["layers"], command.report("alone")["layers"])


def test_torchrun_after_kill_9_resumes_to_the_identical_report(command, video_folder):
    job = ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 22, "--batch-size", 4, "--workers", 0]
    assert command(*job, "--out", "whole", launch=TORCHRUN).returncode == 0
    killed = command(*job, "--out", "cut", launch=TORCHRUN, TOY_KILL="3")
    assert killed.returncode != 0 and "SIGKILL" in killed.stderr
    assert list((command.folder / "cut").glob("state.*.sdfast"))
    resumed = command(*job, "--out", "cut", "--resume", launch=TORCHRUN)
    assert resumed.returncode == 0, resumed.stderr
    assert command.report("cut") == command.report("whole")


@pytest.mark.slow
def test_torchrun_starts_a_run_anew_and_it_goes_on(command, video_folder):
    """A process is killed at its third batch: after a restart too few are left for that."""
    job = ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 22, "--batch-size", 4, "--workers", 0]
    assert command(*job, "--out", "whole", launch=TORCHRUN).returncode == 0
    restarted = command(*job, "--out", "cut", launch=[*TORCHRUN, "--max-restarts", "3"], TOY_KILL="3")
    assert restarted.returncode == 0, restarted.stderr
    assert "taken over from a run that is gone" in restarted.stderr or "SIGKILL" in restarted.stderr
    assert command.report("cut") == command.report("whole")
    assert not list((command.folder / "cut").glob("state*"))


def test_torchrun_ends_when_one_process_fails(command, video_folder):
    job = ["measure", "--model", "toy:make", "--videos", video_folder, "--pairs", 40, "--batch-size", 4, "--workers", 0]
    failed = command(*job, launch=TORCHRUN, TOY_RAISE="1:2")
    assert failed.returncode != 0
    assert "sdfast: error: RuntimeError: the toy broke" in failed.stderr


def assert_same(found, wanted):
    """The same tree, its numbers to 1e-12."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    else:
        assert found == wanted
