"""What a model is asked at the end: clips as in training, clips whose shortcut misleads, SCUBA and SCUFO."""

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Generator, Tensor

from experiments.debias.model import SmallNet
from experiments.debias.world import Clips, World
from sdfast.pairs import ood

CHUNK = 128  # clips in one forward pass


@lru_cache(maxsize=2)  # the rows of a seed follow each other
def make_tests(world: World, number: int, seed: int) -> dict[str, Clips]:
    """Draw the clips of each test.

    Returns:
        "in" and "out" of the training's distribution; "scuba", where the foregrounds of "in" stand before pictures that
        no shortcut is in; and "scufo", where one frame of each of these stands still.
    """
    generator = Generator().manual_seed(3 * seed + 1)
    inside, outside = world.train_clips(number, generator), world.shifted_clips(number, generator)
    scuba = ood.scuba(inside.video, inside.mask, world.backgrounds(number, generator))
    scufo = ood.scufo(scuba, scuba.shape[2] // 2)
    made = {
        name: Clips(video, inside.label, inside.shortcut, inside.shape)
        for name, video in (("scuba", scuba), ("scufo", scufo))
    }
    return {"in": inside, "out": outside, **made}


def evaluate(model: SmallNet, tests: Mapping[str, Clips]) -> dict[str, float]:
    """Return the part of the clips of each test that are right, and "contrasted": right on SCUBA, wrong on SCUFO."""
    right = {name: are_right(model, clips) for name, clips in tests.items()}
    contrasted = ood.contrasted_accuracy(right["scuba"], right["scufo"])
    return {**{name: found.double().mean().item() for name, found in right.items()}, "contrasted": float(contrasted)}


@torch.no_grad()
def are_right(model: SmallNet, clips: Clips) -> Tensor:
    """Return which clips are told right, (N,) bool."""
    training = model.training
    model.eval()
    guesses = torch.cat([model(video).argmax(1) for video in clips.video.split(CHUNK)])
    model.train(training)
    return guesses == clips.label
