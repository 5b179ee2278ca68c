"""The user's own model, named as `package.module:factory`."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from sdfast.models.video_model import ClipToTensor, VideoModel
from sdfast.models.weights import RANDOM, load_state, seeded

_CLIP_FRAMES = 16
_FRAME_SIZE = (112, 112)


def load(module_name: str, factory_name: str, weights: str | None, seed: int) -> VideoModel:
    """Import `module_name`, from the working directory where it is nowhere else, and call its factory."""
    spec = f"{module_name}:{factory_name}"
    factory = _find(module_name, factory_name)
    # Also without "random": what the factory leaves untrained must be the same in every process.
    with seeded(seed):
        made = factory()
    if isinstance(made, nn.Module):
        made = VideoModel(spec, made, ClipToTensor(), _CLIP_FRAMES, _FRAME_SIZE)
    if not isinstance(made, VideoModel):
        raise ValueError(
            f"model: {spec} should return a sdfast.VideoModel or a torch.nn.Module, got {type(made).__name__}"
        )
    if weights not in (None, RANDOM):
        load_state(made.module, weights)
    return made


def _find(module_name: str, factory_name: str) -> Callable[[], Any]:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # the last: a file here must not stand in for a module that others import
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ImportError(f"model {module_name}:{factory_name}: importing it failed: {error}") from error
        raise ImportError(
            f"model: expected a known family or package.module:factory; there is no module {error.name!r} "
            f"on the Python path or in {here}"
        ) from error
    for part in factory_name.split("."):
        if not hasattr(found, part):
            file = getattr(sys.modules[module_name], "__file__", None)
            raise ValueError(f"model: {module_name} has no {factory_name!r}; it was found as {file}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"model: {module_name}:{factory_name} should be callable, got {type(found).__name__}")
    return found
