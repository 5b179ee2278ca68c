"""States and metrics over two gloo processes. Run as a script, this file is what the processes do."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torchmetrics import MetricCollection

import sdfast
from tests.support.authors import DATA, assert_equals_authors, fed, feed, load, pairs_of, shuffled

CASES = [path.stem for path in DATA]
WORLD = 2
# Name: how the pairs come to the processes, and in how many batches to each (None: one a pair).
STATES = {"1": (list, 1), "7": (list, 7), "N": (list, None), "shuffled": (shuffled, 7)}
METRICS = ("pearson", "intraclass", "forward", "empty-handed")


def share(pairs, rank):
    """Give rank 0 a quarter of the pairs, so that the processes weigh differently."""
    quarter = len(pairs[0]) // 4
    return [x[:quarter] if rank == 0 else x[quarter:] for x in pairs]


def measure(path, rank):
    """Return the co-moments that one process ends up with, by each way there is."""
    pairs = pairs_of(load(path))
    channels = pairs[0].shape[1]
    states = {name: sdfast.CoMoments(channels) for name in STATES}
    for name, (arrange, num_batches) in STATES.items():
        feed(states[name].update, share(arrange(pairs), rank), num_batches)
        states[name].reduce()

    kinds = {kind: sdfast.BiasMetric(channels, kind=kind) for kind in ("pearson", "intraclass")}
    collection = MetricCollection(kinds)
    feed(collection.update, share(pairs, rank), 7)
    reports = collection.compute()

    forward = sdfast.BiasMetric(channels)
    feed(forward, share(pairs, rank), 7)

    empty_handed = sdfast.BiasMetric(channels)  # process 1 gets nothing
    if rank == 0:
        feed(empty_handed.update, pairs, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty_handed = empty_handed.compute()
    return {
        **{name: state.moments for name, state in states.items()},
        "pearson": reports["pearson"].moments,
        "intraclass": reports["intraclass"].moments,
        "forward": forward.compute().moments,
        "empty-handed": empty_handed.moments,
        "own": collection["pearson"].moments,
    }


def process(rank, folder):
    meeting = f"file://{Path(folder) / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORLD)
    torch.save({path.stem: measure(path, rank) for path in DATA}, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert run.returncode == 0, run.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("way", [*STATES, *METRICS])
@pytest.mark.parametrize("case", CASES)
def test_equals_one_process(found, case, way):
    alone = fed(pairs_of(load(DATA[CASES.index(case)])), 7)
    for mine in found:
        moments = mine[case][way]
        assert torch.equal(moments[0], alone[0])
        torch.testing.assert_close(moments, alone, rtol=1e-12, atol=1e-12 * float(alone[3:].max()))
        for kind in ("pearson", "intraclass"):
            report, expected = sdfast.BiasReport(moments, kind), sdfast.BiasReport(alone, kind)
            torch.testing.assert_close(report.corr, expected.corr, rtol=0, atol=1e-12)
            torch.testing.assert_close(report.layer_score, expected.layer_score, rtol=0, atol=1e-12)
            assert report.labels == expected.labels


@pytest.mark.parametrize("way", [*STATES, *METRICS])
@pytest.mark.parametrize("case", CASES)
def test_equals_authors_code(found, case, way):
    for mine in found:
        assert_equals_authors(mine[case][way], load(DATA[CASES.index(case)]))


@pytest.mark.parametrize("case", CASES)
def test_processes_agree_bit_for_bit(found, case):
    for way in (*STATES, *METRICS):
        assert torch.equal(found[0][case][way], found[1][case][way])


@pytest.mark.parametrize("case", CASES)
def test_compute_leaves_each_process_its_own_pairs(found, case):
    pairs = pairs_of(load(DATA[CASES.index(case)]))
    for rank, mine in enumerate(found):
        assert mine[case]["own"][0, ..., 0].sum() == len(share(pairs, rank)[0])


if __name__ == "__main__":
    torch.multiprocessing.spawn(process, args=(sys.argv[1],), nprocs=WORLD)
