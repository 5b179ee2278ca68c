"""One run: train on objects in plain sight, test on others and on camouflaged ones, measure each layer."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache, lru_cache

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from experiments.fusion.data import Scenes, draw_pairs, draw_scenes
from experiments.fusion.rows import Row
from experiments.fusion.textures import Textures, load
from experiments.reproducible import reproducible
from sdfast import measure

CHUNK = 64  # clips in one forward pass of a test
KINDS = ("camouflage", "plain")


@dataclass(frozen=True)
class Settings:
    """How a run trains, on objects in plain sight only, and what it measures; the same for all rows.

    Args:
        steps: steps of training.
        batch_size: scenes in a step.
        learning_rate: of Adam at the first step; falls linearly to 0.
        test_scenes: scenes of each test.
        pairs: that `sdfast.measure` is given.
    """

    steps: int = 600
    batch_size: int = 16
    learning_rate: float = 1e-2
    test_scenes: int = 512
    pairs: int = 512


@dataclass(frozen=True)
class Run:
    """What one run found.

    Attributes:
        overlap: intersection over union of the objects, mean over the scenes of the test, of each of `KINDS`.
        scores: of each layer measured: its dynamic and static score, and its dynamic and static share in percent.
    """

    row: str
    seed: int
    overlap: dict[str, float]
    scores: dict[str, dict[str, float]]

    def to_dict(self) -> dict:
        """Return the run as plain values."""
        return asdict(self)


def train(
    row: Row,
    seed: int,
    settings: Settings,
    textures: Textures | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> Run:
    """Train, test and measure; the same arguments give the same run.

    Initial weights, scenes and pairs depend on the seed alone, so that rows differ in what joins the streams only.

    Args:
        row: the network.
        seed: decides everything random.
        settings: of the training.
        textures: what scenes are made of; None for those of the demo's clips.
        on_step: called after each step.
    """
    with reproducible(seed):
        seen = _seen(seed, settings, textures or _textures())
        model = row.model().to(memory_format=torch.channels_last)  # a quarter faster
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, settings.steps)
        for batch in seen.training:
            loss = functional.binary_cross_entropy_with_logits(model(batch.clips), batch.object.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_step()
        overlap = {kind: overlap_of(model, scenes) for kind, scenes in seen.tests.items()}
        scores = _measure(model, row, seen.pairs)
    return Run(row.name, seed, overlap, scores)


@torch.no_grad()
def overlap_of(model: nn.Module, scenes: Scenes) -> float:
    """Return the intersection over union of the object and what the model takes for it, mean over the scenes."""
    model.eval()
    found = torch.cat([model(clips) > 0 for clips in scenes.clips.split(CHUNK)])
    both, either = ((op(found, scenes.object)).sum((1, 2)) for op in (torch.logical_and, torch.logical_or))
    return (both / either).double().mean().item()  # an object is nowhere without pixels


def _measure(model: nn.Module, row: Row, pairs: Iterable[Tensor]) -> dict[str, dict[str, float]]:
    batches = zip(*(part.split(CHUNK // 2) for part in pairs), strict=True)
    reports = measure(model, batches, row.layers, progress=False, channel_dim=1, batch_dim=0)
    found = {}
    for layer in row.layers:
        (dynamic, static, _), (dynamic_share, static_share, _) = (
            values.tolist() for values in (reports[layer].layer_score, reports[layer].percent)
        )
        shares = {"dynamic_share": dynamic_share, "static_share": static_share}
        found[layer] = {"dynamic": dynamic, "static": static, **shares}
    return found


@dataclass(frozen=True)
class _Seen:
    """What all networks of a seed see: batches of the training, a test of each of `KINDS`, and pairs."""

    training: tuple[Scenes, ...]
    tests: dict[str, Scenes]
    pairs: tuple[Tensor, Tensor, Tensor]


@lru_cache(maxsize=1)  # the rows of one seed come in turn, and drawing takes a third of the time
def _seen(seed: int, settings: Settings, textures: Textures) -> _Seen:
    training, tests, pairs = (Generator().manual_seed(3 * seed + part) for part in range(3))
    return _Seen(
        tuple(draw_scenes(settings.batch_size, textures.train, False, training) for _ in range(settings.steps)),
        {kind: draw_scenes(settings.test_scenes, textures.test, kind == "camouflage", tests) for kind in KINDS},
        draw_pairs(settings.pairs, textures.test, pairs),
    )


@cache
def _textures() -> Textures:
    return load()
