"""States and metrics over two gloo processes. Run as a script, this file is what the processes do."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

import sdfast

DATA = sorted((Path(__file__).parent / "data").glob("*.npz"))
CASES = [path.stem for path in DATA]
WORLD = 2


def load(path):
    with np.load(path) as arrays:
        return [torch.from_numpy(arrays[name]) for name in ("feats_a", "feats_b", "factor")]


def share(pairs, rank):
    """Give rank 0 a quarter of the pairs, so that the processes weigh differently."""
    quarter = len(pairs[0]) // 4
    return [x[:quarter] if rank == 0 else x[quarter:] for x in pairs]


def feed(update, pairs):
    for part in zip(*(x.split(37) for x in pairs), strict=True):
        update(*part)


def measure(path, rank):
    """Return the co-moments that one process ends up with, by each way there is."""
    pairs = load(path)
    channels = pairs[0].shape[1]
    state = sdfast.CoMoments(channels)
    feed(state.update, share(pairs, rank))
    state.reduce()

    kinds = {kind: sdfast.BiasMetric(channels, kind=kind) for kind in ("pearson", "intraclass")}
    collection = MetricCollection(kinds)
    feed(collection.update, share(pairs, rank))
    reports = collection.compute()

    forward = sdfast.BiasMetric(channels)
    feed(forward, share(pairs, rank))

    empty_handed = sdfast.BiasMetric(channels)  # process 1 gets nothing
    if rank == 0:
        feed(empty_handed.update, pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty_handed = empty_handed.compute()
    return {
        "state": state.moments,
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


@pytest.mark.parametrize("way", ["state", "pearson", "intraclass", "forward", "empty-handed"])
@pytest.mark.parametrize("case", CASES)
def test_equals_one_process(found, case, way):
    pairs = load(DATA[CASES.index(case)])
    alone = sdfast.CoMoments(pairs[0].shape[1])
    feed(alone.update, pairs)
    for mine in found:
        moments = mine[case][way]
        assert torch.equal(moments[0], alone.moments[0])
        torch.testing.assert_close(moments, alone.moments, rtol=1e-12, atol=1e-12 * float(alone.moments[3:].max()))
        for kind in ("pearson", "intraclass"):
            report, expected = sdfast.BiasReport(moments, kind), sdfast.BiasReport(alone.moments, kind)
            torch.testing.assert_close(report.corr, expected.corr, rtol=0, atol=1e-12)
            torch.testing.assert_close(report.layer_score, expected.layer_score, rtol=0, atol=1e-12)
            assert report.labels == expected.labels


@pytest.mark.parametrize("case", CASES)
def test_equals_authors_code(found, case):
    with np.load(DATA[CASES.index(case)]) as arrays:
        authors = dict(arrays)
    for mine in found:
        report = sdfast.BiasReport(mine[case]["intraclass"], kind="intraclass")
        np.testing.assert_allclose(report.corr, np.nan_to_num(authors["unit"]), rtol=0, atol=1e-6)
        np.testing.assert_allclose(report.layer_score, authors["layer"], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(report.dims, authors["dims"])
        np.testing.assert_array_equal(report.percent, authors["percent"])
        report = sdfast.BiasReport(mine[case]["pearson"])
        corr = np.nan_to_num(authors["pearson"])
        np.testing.assert_allclose(report.corr, corr, rtol=0, atol=1e-6)
        regular = 1 - corr * corr > 1e-9  # mi is ill-conditioned at |rho| = 1
        mi = np.where(np.isnan(authors["mi"]), 0, authors["mi"])
        np.testing.assert_allclose(report.mi[regular], mi[regular], rtol=1e-6, atol=1e-6)
        assert (report.mi[~regular] > 15).all()


@pytest.mark.parametrize("case", CASES)
def test_processes_agree_bit_for_bit(found, case):
    for way in ("state", "pearson", "intraclass", "forward", "empty-handed"):
        assert torch.equal(found[0][case][way], found[1][case][way])


@pytest.mark.parametrize("case", CASES)
def test_compute_leaves_each_process_its_own_pairs(found, case):
    pairs = load(DATA[CASES.index(case)])
    for rank, mine in enumerate(found):
        assert mine[case]["own"][0, :, 0].sum() == len(share(pairs, rank)[0])


if __name__ == "__main__":
    torch.multiprocessing.spawn(process, args=(sys.argv[1],), nprocs=WORLD)
