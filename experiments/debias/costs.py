"""What a step of each row costs beside one without anything."""

import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import Generator

from experiments.debias.networks import make_network
from experiments.debias.rows import NO_DROPOUT, Row
from experiments.debias.settings import Settings
from experiments.debias.training import take_step
from experiments.debias.world import make_world


def step_costs(rows: Sequence[Row], settings: Settings, rounds: int = 25) -> dict[str, float]:
    """Time steps of all rows in turn, on the same clips, in this process and one thread.

    The making of clips and the reports that guide channels are not in it.

    Returns:
        For each row the median over rounds of its step's time over that of no dropout in the same round.
    """
    world = make_world(settings.world, settings.camera)
    clips = world.train_clips(settings.batch_size, Generator().manual_seed(0))
    plain = NO_DROPOUT
    models = {}
    for row in (plain, *rows):
        model = make_network(world.size, world.classes, **row.network)
        row.insert(model)
        models[row.name] = row, model, torch.optim.Adam(model.parameters(), settings.rate)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds + 1):
            for name, (row, model, optimizer) in models.items():
                start = time.perf_counter()
                take_step(model, clips, row, optimizer)
                times[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    base = times[plain.name][1:]  # the first round warms up
    return {row.name: median(t / b for t, b in zip(times[row.name][1:], base, strict=True)) for row in rows}
