"""One run: train a small 3-D CNN in one way, watch its bias meanwhile, test it at the end."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from experiments.debias.ablation import ablation
from experiments.debias.changes import CHANGES
from experiments.debias.evaluation import evaluate, make_tests
from experiments.debias.guidance import guide
from experiments.debias.losses import LOSSES
from experiments.debias.model import BLOCKS, SmallNet
from experiments.debias.networks import make_network
from experiments.debias.rows import Row
from experiments.debias.settings import Settings
from experiments.debias.world import Clips, Pairs, World, make_world
from experiments.reproducible import reproducible
from sdfast import masks, measure
from sdfast.report import BiasReport
from sdfast.statistics import FACTORS
from sdfast.training import BiasMonitor

REPORTS = {"batch_size": 64, "channel_dim": 1}


@dataclass(frozen=True)
class Run:
    """What one run found.

    Attributes:
        setting: the name of its settings.
        accuracy: part of the test clips that were right, by test; see `evaluation`.
        scores: of each block at the end: its dynamic and static score, and its static share in percent.
        steps: after which steps there was a report.
        curve: dynamic and static score of each block at those.
        ablation: what accuracy the channels of the last block are worth; None where nobody asked.
    """

    row: str
    seed: int
    setting: str
    accuracy: dict[str, float]
    scores: dict[str, dict[str, float]]
    steps: list[int]
    curve: dict[str, dict[str, list[float]]]
    ablation: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain values."""
        return asdict(self)


def train(row: Row, seed: int, settings: Settings, on_step: Callable[[], object] = lambda: None) -> Run:
    """Train and test; the same arguments give the same run.

    Initial weights, clips and pairs depend on the seed alone, so that rows differ in nothing else.

    Args:
        row: the way to train.
        seed: decides everything random.
        settings: of the training.
        on_step: called after each step.
    """
    world = make_world(settings.world, settings.camera)
    with reproducible(seed):
        clips, pairs = (Generator().manual_seed(3 * seed + part) for part in (0, 2))
        model = make_network(world.size, world.classes, **row.network)
        if settings.start == "fine-tuned":
            model.load_state_dict(_trunk(settings, seed, tuple(row.network.items())), strict=False)
        draw = _batches(world, settings, clips)
        layers = row.insert(model)
        optimizer, schedule = _optimizer(model, settings.rate * row.rate, settings.length)
        watched = world.draw_pairs(settings.report_pairs, pairs)
        monitor = BiasMonitor(model, TensorDataset(*watched[:3]), BLOCKS, every=settings.report_every, **REPORTS)
        watching = settings.curves or row.weights is not None
        if watching:
            guide(layers, row.weights, monitor.measure(), model, watched)
        for _ in range(settings.length):
            take_step(model, draw(settings.batch_size, clips), row, optimizer)
            schedule.step()
            if watching and (reports := monitor.step()):
                guide(layers, row.weights, reports, model, watched)
            on_step()
        reports = measure_blocks(model, world.draw_pairs(settings.test_pairs, pairs))
        tests = make_tests(world, settings.test_clips, seed)
        asked = settings.curves and row.name == "no dropout"
        return Run(
            row.name,
            seed,
            settings.name,
            evaluate(model, tests),
            _scores(reports),
            *_curve(monitor),
            ablation(model, reports, tests["in"]) if asked else None,
        )


def take_step(model: SmallNet, clips: Clips, row: Row, optimizer: torch.optim.Optimizer) -> None:
    """Take one step of training as the row says."""
    mask = _mask(clips, row.mask)
    video = CHANGES[row.change](clips.video, row.amount, mask) if row.change else clips.video
    loss = LOSSES[row.loss](model, video, clips.label, mask if row.layer else None, row.weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure_blocks(model: SmallNet, pairs: Pairs) -> dict[str, BiasReport]:
    """Report the bias of each block, without dropout; the model is as before."""
    return measure(model, TensorDataset(*pairs[:3]), BLOCKS, progress=False, **REPORTS)


def _batches(world: World, settings: Settings, generator: Generator) -> Callable[[int, Generator], Clips]:
    if settings.start == "scratch":
        return world.train_clips
    few = world.train_clips(settings.tuning_clips, generator)

    def draw(number: int, generator: Generator) -> Clips:
        chosen = torch.randperm(len(few.label), generator=generator)[:number]
        return Clips(few.video[chosen], few.label[chosen], few.shortcut[chosen], few.shape[chosen])

    return draw


@lru_cache(maxsize=4)  # the rows of a seed follow each other
def _trunk(settings: Settings, seed: int, network: tuple) -> dict[str, Tensor]:
    """Return the blocks of a model that has learnt the labels of clips whose shortcut knows nothing of them."""
    world = make_world(settings.world, settings.camera)
    with reproducible(seed):
        clips = Generator().manual_seed(2**40 + seed)
        model = make_network(world.size, world.classes, **dict(network))
        optimizer, schedule = _optimizer(model, settings.learning_rate, settings.trunk_steps)
        for _ in range(settings.trunk_steps):
            batch = world.plain_clips(settings.batch_size, clips)
            loss = functional.cross_entropy(model(batch.video), batch.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return {name: values for name, values in model.state_dict().items() if not name.startswith("head")}


def _optimizer(model: nn.Module, rate: float, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.Adam(model.parameters(), rate)
    return optimizer, torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)


def _mask(clips: Clips, source: str | None) -> Tensor | None:
    if source is None:
        return None
    made = {"labels": lambda: clips.mask, "video": partial(masks.from_video, clips.video)}
    return {**made, "motion": partial(masks.from_motion, clips.video)}[source]()


def _scores(reports: dict[str, BiasReport]) -> dict[str, dict[str, float]]:
    found = {}
    for name, report in reports.items():
        dynamic, static, _ = report.layer_score.tolist()
        found[name] = {"dynamic": dynamic, "static": static, "static_share": report.percent[1].item()}
    return found


def _curve(monitor: BiasMonitor) -> tuple[list[int], dict[str, dict[str, list[float]]]]:
    curve = monitor.curve
    scores = {block: curve.scores(block).T[: len(FACTORS)].tolist() for block in curve.layers}
    return curve.steps, {block: dict(zip(FACTORS, found, strict=True)) for block, found in scores.items()}
