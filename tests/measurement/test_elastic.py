"""Runs that any number of processes finish, and processes that are gone, stuck or late: an error that names them."""

import os
import signal
import time

import pytest
import torch
import torch.distributed as dist
from torch import nn

import sdfast
from sdfast.measurement import PeerError
from tests import kills
from tests.support.processes import on_several, on_two

LAYERS = ["*"]


class Pairs(torch.utils.data.Dataset):
    """Random pairs; from one of them on something happens in the process with this rank, or in all."""

    def __init__(self, length=46, at=None, rank=None, happens=None):
        self.length, self.at, self.rank, self.happens = length, at, rank, happens

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index >= self.length:
            raise IndexError
        if self.at is not None and index >= self.at and self.rank in (None, _rank()):
            self.happens()
        clips = torch.randn(2, 4, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        return clips[0], clips[0] + clips[1], index % 2, index // 2


def _rank():
    return dist.get_rank() if dist.is_initialized() else 0


def interrupted():
    raise InterruptedError


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def stalled():
    time.sleep(60)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5, dtype=torch.float64), nn.ReLU())


def reports(rank=0, pairs=None, iterable=False, **settings):
    pairs = Pairs() if pairs is None else pairs
    pairs = iter(pairs) if iterable else pairs
    return sdfast.measure(model(), pairs, LAYERS, **{"batch_size": 2, "progress": False, **settings})


def measured(rank=0, pairs=None, iterable=False, **settings):
    """Return what every layer's report says, as lists that travel between processes."""
    found = reports(rank, pairs, iterable, **settings)
    return {name: [report.groups.tolist(), report.mi.tolist(), report.num_sources] for name, report in found.items()}


def assert_close(found, wanted):
    for name, (groups, mi, sources) in wanted.items():
        torch.testing.assert_close(torch.tensor(found[name][0]), torch.tensor(groups), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(torch.tensor(found[name][1]), torch.tensor(mi), rtol=1e-12, atol=1e-12)
        assert found[name][2] == sources


@pytest.mark.parametrize("settings", [{}, {"estimator": "copula"}, {"until": 1e-6}, {"iterable": True}])
@pytest.mark.filterwarnings("ignore:until")
def test_any_number_of_processes_goes_on_with_what_others_have_left(tmp_path, settings):
    alone, two = measured(**settings), on_two(measured, **settings)
    assert_close(two[0], alone)
    broken = Pairs(at=19, happens=interrupted)
    first = on_several(3, measured, broken, resume=tmp_path, **settings)
    assert isinstance(first[0], (InterruptedError, PeerError))
    with pytest.raises(InterruptedError):
        measured(pairs=Pairs(at=33, happens=interrupted), resume=tmp_path, **settings)
    for _ in range(2):  # the second time nothing is left
        found = on_two(measured, resume=tmp_path, **settings)
        assert found[0] == found[1]
        assert_close(found[0], alone)
    untouched = Pairs(at=0 if not settings.get("iterable") else None, happens=interrupted)
    assert_close(measured(pairs=untouched, resume=tmp_path, **settings), alone)


def slow_first(rank):
    time.sleep(0.05 * (rank == 0))
    return measured(rank)


def test_who_measures_what_changes_no_bit():
    wanted = on_two(measured)
    for _ in range(2):
        assert on_two(slow_first) == wanted


@pytest.mark.slow
def test_sixty_four_processes_find_what_one_does(tmp_path):
    pairs, alone = Pairs(1000), measured(pairs=Pairs(1000))
    found = on_several(64, measured, pairs, resume=tmp_path, within=300, distributed=120.0)
    assert all(one == found[0] for one in found)
    assert_close(found[0], alone)
    assert_close(measured(pairs=Pairs(1000, at=0, happens=interrupted), resume=tmp_path), alone)


@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_is_killed_is_named(dies):
    """Without torchrun nobody tells the others; process 0 keeps the store of all."""
    found = on_several(2, measured, Pairs(at=8, rank=dies, happens=killed), killed=[dies], timeout=1.5)
    survivor = found[1 - dies]
    assert isinstance(survivor, PeerError) and f"process {dies} of 2" in str(survivor)


def dies_among_collectives(rank):
    """Process 1 is gone when 0 wants to have its state."""
    from sdfast.measurement import accumulation

    if rank == 1:
        accumulation.merged = lambda *_: killed()
    return measured(rank, timeout=1.5)


def test_a_process_that_dies_when_states_are_sent_is_named():
    first, _ = on_several(2, dies_among_collectives, killed=[1])
    assert isinstance(first, PeerError) and "process 1 of 2" in str(first)


@pytest.mark.parametrize("world", [1, 2])
def test_a_file_system_that_stalls_is_an_error_in_time(world):
    """The process that waits for it says so itself, and the others name it."""
    pairs = Pairs(at=16 if world == 1 else 30, rank=world - 1, happens=stalled)
    if world == 1:
        with pytest.raises(TimeoutError, match=r"this process has been loading batch 8 for \d+ s; a longer timeout="):
            measured(pairs=pairs, timeout=0.5)
        assert measured(timeout=0.5) == measured()
        return
    first, second = on_two(measured, pairs, timeout=1.0)
    assert isinstance(second, TimeoutError) and "process 1 of 2 has been loading batch" in str(second)
    assert isinstance(first, PeerError) and "process 1 of 2 has been loading batch" in str(first)


def with_a_loader(rank):
    try:
        measured(pairs=Pairs(at=8, happens=killed), num_workers=1)
    except RuntimeError as error:
        return str(error)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would say it again and again


def test_a_loader_that_is_killed_is_an_error():
    assert "DataLoader worker" in on_several(1, with_a_loader)[0]


def test_what_is_slow_is_not_stuck():
    """A batch may take longer than the timeout when others have taken nearly as long."""
    pairs = Pairs(12, at=0, happens=lambda: time.sleep(0.3))
    found = measured(pairs=pairs, timeout=0.2)
    assert found == measured(pairs=Pairs(12))


@pytest.mark.parametrize(("timeout", "name"), [(0, "timeout"), (-1.0, "timeout"), (True, "timeout"), ("x", "timeout")])
def test_the_timeout_is_a_number_of_seconds(timeout, name):
    with pytest.raises(ValueError, match=f"{name}: expected a positive number of seconds"):
        measured(timeout=timeout)


def test_the_timeout_of_the_environment(monkeypatch):
    monkeypatch.setenv("SDFAST_TIMEOUT", "soon")
    with pytest.raises(ValueError, match="SDFAST_TIMEOUT: expected a positive number of seconds, got 'soon'"):
        measured()


def test_two_runs_in_one_folder_are_refused_by_name(tmp_path):
    with sdfast.foundation.FolderLock(tmp_path):
        found = on_several(1, measured, resume=tmp_path)
    assert isinstance(found[0], OSError) and f"process {os.getpid()} on" in str(found[0])


@pytest.mark.slow
def test_runs_that_are_killed_again_and_again_report_the_same(capsys):
    kills.check(kills=6, seed=0)
