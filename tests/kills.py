"""`python -m tests.kills --kills 200 --seed 0`: runs that are killed again and again, and what they report in the end.

Each run is killed at random moments and started again, with as many processes or with others, until it comes to its
end. Its report has to be that of a run that nobody killed: the same bytes for the same number of processes, else equal
to 1e-12. What was measured twice may be no more than what was in flight.
"""

import argparse
import contextlib
import multiprocessing
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import sdfast
from sdfast.measurement import pieces
from sdfast.report import save_reports

BATCHES, BATCH_SIZE = 40, 4
SECONDS = 0.01  # that a batch takes
FILES = "report.json", "report.npz", "channels.csv"


class Pairs(torch.utils.data.Dataset):
    """Random pairs, two of each source."""

    def __len__(self):
        return BATCHES * BATCH_SIZE - 1

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError
        clips = torch.randn(2, 4, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        return clips[0], clips[0] + clips[1], index % 2, index // 2


class Slow(nn.Linear):
    """Takes its time, and a byte in a file for each batch."""

    def __init__(self, counter):
        super().__init__(4, 5, dtype=torch.float64)
        self.counter = counter

    def extra_repr(self):
        return "slow"  # where the counter lies is no setting of the model

    def forward(self, clips):
        time.sleep(SECONDS)
        found = super().forward(clips)
        with open(self.counter, "ab") as file:
            file.write(b".")
        return found


@dataclass
class Job:
    """What is measured: of a dataset or of an iterable, in parts of one batch or of several."""

    folder: Path
    iterable: bool
    parts: int

    def measure(self, rank: int, world: int, port: int) -> None:
        """Measure in one of several processes, and save the report."""
        torch.manual_seed(0)
        pieces.PARTS = self.parts
        if world > 1:
            dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
        model = nn.Sequential(Slow(self.folder / "measured"), nn.ReLU())
        pairs = iter(Pairs()) if self.iterable else Pairs()
        settings = {"batch_size": BATCH_SIZE, "progress": False, "timeout": 10.0, "distributed": 60.0}
        reports = sdfast.measure(model, pairs, ["*"], resume=self.folder / "states", **settings)
        if rank == 0:
            save_reports(reports, self.folder, {})

    def attempt(self, world: int, batches: int | None) -> bool:
        """Start processes, kill one after so many batches, and then the others; tell whether they had ended before."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("fork")
        running = [context.Process(target=_quietly, args=(self, rank, world, port)) for rank in range(world)]
        for process in running:
            process.start()
        order = random.sample(running, world)
        if batches is None:
            order[0].join()
        wanted, deadline = self.measured + (batches or 0), time.monotonic() + 120
        while self.measured < wanted and order[0].is_alive():
            if time.monotonic() > deadline:
                raise AssertionError(f"{self}: {world} processes measure nothing any more")
            time.sleep(0.001)
        order[0].join(random.uniform(0, 3 * SECONDS))
        killed = batches is not None and order[0].is_alive()
        if killed:
            order[0].kill()
            time.sleep(random.choice((0.0, 0.05)))  # torchrun takes a while to notice
        for process in order:
            if killed:
                process.kill()
            process.join(90)
        if any(process.is_alive() for process in running):
            raise AssertionError(f"{self}: a process of {world} waits for ever")
        if not killed and any(process.exitcode for process in running):
            raise AssertionError(f"{self}: {(self.folder / 'errors').read_text()}")
        return not killed

    def report(self) -> dict[str, bytes]:
        """Return the files of the report."""
        return {name: (self.folder / name).read_bytes() for name in FILES}

    @property
    def measured(self) -> int:
        """How many batches all processes have measured so far."""
        counted = self.folder / "measured"
        return counted.stat().st_size if counted.exists() else 0


def _quietly(job: Job, rank: int, world: int, port: int) -> None:
    torch.set_num_threads(1)
    sys.modules["matplotlib"] = None  # pictures take longer than all else
    with open(job.folder / "errors", "a") as file, contextlib.redirect_stderr(file), contextlib.redirect_stdout(file):
        job.measure(rank, world, port)


@contextlib.contextmanager
def _job(iterable: bool, parts: int) -> Iterator[Job]:
    with tempfile.TemporaryDirectory() as folder:
        yield Job(Path(folder), iterable, parts)


def _whole(iterable: bool, parts: int, world: int, known: dict) -> tuple[dict[str, bytes], dict]:
    """Return the files of a run that nobody kills, and its reports."""
    key = iterable, parts, world
    if key not in known:
        with _job(iterable, parts) as job:
            assert job.attempt(world, None)
            assert job.measured == BATCHES
            known[key] = job.report(), sdfast.load_reports(job.folder)
    return known[key]


def check(kills: int, seed: int) -> int:
    """Kill runs so many times; return how many runs that were."""
    random.seed(seed)
    known, runs, left = {}, 0, kills
    while left > 0:
        iterable, parts = random.random() < 0.25, random.choice((2, 128))
        worlds = (1,), (4,), (1, 2, 3, 4)
        worlds = worlds[runs % 3]
        with _job(iterable, parts) as job:
            lost = 0  # batches that may have been in flight
            used = []
            while True:
                world = random.choice(worlds)
                used.append(world)
                # Some before the first batch, some after the last.
                if job.attempt(world, random.randint(0, BATCHES // 2) if left > 0 else None):
                    break
                left, lost = left - 1, lost + world
            twice = job.measured - BATCHES
            assert 0 <= twice <= lost, f"{job} {used}: {twice} batches measured twice, {lost} in flight"
            files, _ = _whole(iterable, parts, used[-1], known)
            if len(set(used)) == 1:
                assert job.report() == files, f"{job}: other bytes after {len(used) - 1} kills of {used[0]} processes"
            _, alone = _whole(iterable, parts, 1, known)
            for name, report in sdfast.load_reports(job.folder).items():
                torch.testing.assert_close(report.moments, alone[name].moments, rtol=1e-12, atol=1e-12)
                torch.testing.assert_close(report.groups, alone[name].groups, rtol=1e-12, atol=1e-12)
        runs += 1
        print(
            f"{kills - left}/{kills} kills: run {runs} with {used} processes is whole, {twice} batches measured twice",
            flush=True,
        )
    return runs


def main() -> None:
    """Kill as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    begin = time.monotonic()
    runs = check(args.kills, args.seed)
    print(f"{args.kills} kills in {runs} runs: every report as it has to be, in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
