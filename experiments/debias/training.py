"""One run: train a small 3-D CNN with one kind of dropout or loss, watch its bias meanwhile, test it at the end."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Generator, Tensor, nn

from experiments.debias.data import Clips, draw_pairs, shifted_clips, train_clips
from experiments.debias.losses import LOSSES
from experiments.debias.model import BLOCKS, WIDTHS, SmallNet
from experiments.debias.rows import Row
from sdfast import masks
from sdfast.dropout import static_mask
from sdfast.report import BiasMetric, BiasReport

CHUNK = 128  # clips in one forward pass of a test


@dataclass(frozen=True)
class Settings:
    """How a run trains and what it measures; the same for all rows.

    Args:
        steps: steps of training.
        batch_size: clips in a step.
        learning_rate: of Adam at the first step; falls linearly to 0.
        report_every: steps between reports, which make the curve and guide channels.
        report_pairs: pairs of each of these reports; the same pairs every time.
        test_pairs: pairs of the report at the end, others.
        test_clips: clips of each test.
    """

    steps: int = 400
    batch_size: int = 32
    learning_rate: float = 3e-3
    report_every: int = 20
    report_pairs: int = 128
    test_pairs: int = 512
    test_clips: int = 1024


@dataclass(frozen=True)
class Run:
    """What one run found.

    Attributes:
        accuracy: part of the test clips that were right, "in" and "out" of the training's distribution.
        curve: [step, scores] at step 0, report_every, ...; scores as in `scores`.
        scores: of each block at the end: its dynamic and static score, and its static share in percent.
    """

    row: str
    seed: int
    accuracy: dict[str, float]
    scores: dict[str, dict[str, float]]
    curve: list[tuple[int, dict[str, dict[str, float]]]]

    def to_dict(self) -> dict:
        """Return the run as plain values."""
        return asdict(self)


def train(row: Row, seed: int, settings: Settings, on_step: Callable[[], object] = lambda: None) -> Run:
    """Train and test; the same arguments give the same run.

    Initial weights, clips and pairs depend on the seed alone, so that rows differ in their dropout only.

    Args:
        row: the dropout.
        seed: decides everything random.
        settings: of the training.
        on_step: called after each step.
    """
    with _reproducible(seed):
        clips, tests, pairs = (Generator().manual_seed(3 * seed + part) for part in range(3))
        model = SmallNet()
        layers = row.insert(model)
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, settings.steps)
        watched = draw_pairs(settings.report_pairs, pairs)
        curve = []
        for step in range(settings.steps):
            if step % settings.report_every == 0:
                reports = measure_blocks(model, watched)
                curve.append((step, _scores(reports)))
                if row.weights is not None:
                    for name, layer in layers.items():
                        _guide(layer, reports[name], row.weights)
            _step(model, train_clips(settings.batch_size, clips), row, optimizer)
            schedule.step()
            on_step()
        final = measure_blocks(model, draw_pairs(settings.test_pairs, pairs))
        curve.append((settings.steps, _scores(measure_blocks(model, watched))))
        accuracy = {
            "in": _accuracy(model, train_clips(settings.test_clips, tests)),
            "out": _accuracy(model, shifted_clips(settings.test_clips, tests)),
        }
    return Run(row.name, seed, accuracy, _scores(final), curve)


@torch.no_grad()
def measure_blocks(model: SmallNet, pairs: tuple[Tensor, Tensor, Tensor]) -> dict[str, BiasReport]:
    """Report the bias of each block, without dropout.

    Args:
        model: left in training mode.
        pairs: clips a and b (N, 1, T, H, W) and the factor they share (N,), as `draw_pairs` gives them.
    """
    metrics = {name: BiasMetric(width) for name, width in zip(BLOCKS, WIDTHS, strict=True)}
    model.eval()
    for clips_a, clips_b, factor in zip(*(part.split(CHUNK // 2) for part in pairs), strict=True):
        for metric, output in zip(metrics.values(), model.features(torch.cat([clips_a, clips_b])), strict=True):
            metric.update(*output.chunk(2), factor)
    model.train()
    return {name: metric.compute() for name, metric in metrics.items()}


def _guide(layer: nn.Module, report: BiasReport, weights: str) -> None:
    layer.guide(report, "rank" if weights == "random" else weights)
    if weights == "random":
        layer.channel_weight.copy_(layer.channel_weight[torch.randperm(len(layer.channel_weight))])


def _step(model: SmallNet, clips: Clips, row: Row, optimizer: torch.optim.Optimizer) -> None:
    with static_mask(_mask(clips, row.mask)):
        loss = LOSSES[row.loss](model, clips)
        optimizer.zero_grad()
        loss.backward()
    optimizer.step()


def _mask(clips: Clips, source: str | None) -> Tensor | None:
    if source is None:
        return None
    made = {"labels": lambda: clips.mask, "video": partial(masks.from_video, clips.video)}
    return {**made, "motion": partial(masks.from_motion, clips.video)}[source]()


@torch.no_grad()
def _accuracy(model: SmallNet, clips: Clips) -> float:
    model.eval()
    guesses = torch.cat([model(video).argmax(1) for video in clips.video.split(CHUNK)])
    model.train()
    return (guesses == clips.label).double().mean().item()


def _scores(reports: dict[str, BiasReport]) -> dict[str, dict[str, float]]:
    found = {}
    for name, report in reports.items():
        dynamic, static, _ = report.layer_score.tolist()
        found[name] = {"dynamic": dynamic, "static": static, "static_share": report.percent[1].item()}
    return found


@contextlib.contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed torch's generator, and compute in one thread: several round differently. Restores both."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
