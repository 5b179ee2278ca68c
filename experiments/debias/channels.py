"""Which channels to drop: every way to choose them beside as many at random."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from experiments.debias.experiment import Job
from experiments.debias.model import BLOCKS
from experiments.debias.rows import Row
from experiments.debias.settings import STARTS, Settings
from experiments.debias.training import Run
from experiments.estimates import estimate
from experiments.tables import markdown
from sdfast.dropout import StaticDropout

P = 0.5
WAYS = {  # of choosing, by the names of `guidance`
    "rank": "correlation",
    "conditional": "correlation given the label",
    "used": "correlation and use by the classifier",
}
NETWORKS = {  # arguments of `Row`
    "batch norm": {"network": {}},
    "group norm": {"network": {"norm": "group"}},
    "transformer": {"network": {"kind": "transformer"}, "rate": 0.1},
}
USUAL = ("batch norm", "group norm")


def channel_rows(networks: Iterable[str] = USUAL) -> dict[tuple[str, str, str], Row]:
    """Return the rows by network, block and way of choosing; "random" and, for all blocks, "none" are controls."""
    rows = {}
    for network in networks:
        options = NETWORKS[network]
        rows[network, "", "none"] = Row(f"{network}: no dropout", **options)
        for block in BLOCKS:
            for how in ("random", *WAYS):
                if how != "used" or block == BLOCKS[-1]:  # the classifier uses the last block
                    name = f"{network}: {block}, {how}"
                    layer = {"layer": StaticDropout, "options": {"p": P}, "after": (block,), "weights": how}
                    rows[network, block, how] = Row(name, **layer, **options)
    return rows


def channel_jobs(seeds: Sequence[int], settings: Settings, networks: Iterable[str] = USUAL) -> list[Job]:
    """Return all runs of some of `NETWORKS`, from scratch and fine-tuned."""
    return [
        Job(row, seed, replace(settings, start=start))
        for start in STARTS
        for seed in seeds
        for row in channel_rows(networks).values()
    ]


def channel_table(runs: Sequence[Run], networks: Iterable[str] = USUAL) -> str:
    """Return as Markdown what each way to choose gains out of distribution over random ones, and these over none."""
    rows = channel_rows(networks)
    out = {(run.setting, run.row, run.seed): run.accuracy["out"] for run in runs}
    settings = list(dict.fromkeys(run.setting for run in runs))
    seeds = sorted({run.seed for run in runs})
    cells = [["network", "block", "channels by", *(f"{name}: less random channels" for name in settings)]]
    cells[0] += [f"{name}: random less none" for name in settings]
    for (network, block, how), row in rows.items():
        if how not in WAYS:
            continue
        random, none = rows[network, block, "random"], rows[network, "", "none"]

        def gain(name: str, one: Row, other: Row) -> str:
            return str(estimate([out[name, one.name, seed] - out[name, other.name, seed] for seed in seeds]))

        cells.append([network, block, WAYS[how], *(gain(name, row, random) for name in settings)])
        cells[-1] += [gain(name, random, none) for name in settings]
    about = f"Gains in accuracy out of distribution, means over {len(seeds)} seeds with 95 % intervals, paired by seed."
    return "\n".join([f"{about} p = {P:g}, not tuned.", "", *markdown(cells)])
