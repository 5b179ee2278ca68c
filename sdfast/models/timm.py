"""Models of images of timm, given the frames of clips."""

import difflib

from torch import nn

from sdfast.foundation import require
from sdfast.models.clips import frames_as_batch
from sdfast.models.stages import spread
from sdfast.models.video_model import ClipToTensor, VideoModel
from sdfast.models.weights import RANDOM, load_state, seeded

_CLIP_FRAMES = 8


def load(name: str, weights: str | None, seed: int) -> VideoModel:
    """Load a model of timm with its default weights, random ones, or those in a file."""
    timm = require("timm")
    if not timm.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ValueError(f"model: timm has no model {name!r}{'; near names: ' * bool(near)}{', '.join(near)}")
    with seeded(seed):
        module = timm.create_model(name, pretrained=weights is None)
    if weights not in (None, RANDOM):
        load_state(module, weights)
    data = timm.data.resolve_model_data_config(module)
    return VideoModel(
        name=f"timm:{name}",
        module=module,
        prepare=ClipToTensor(tuple(data["mean"]), tuple(data["std"]), time_first=True),
        clip_frames=_CLIP_FRAMES,
        frame_size=tuple(data["input_size"][1:]),
        layers=_layers(module),
        forward=frames_as_batch,
    )


def _layers(module: nn.Module) -> tuple[str, ...]:
    """Return the layers that timm takes features from, or the children of a model that says none."""
    names = dict(module.named_modules())
    stages = [stage["module"] for stage in getattr(module, "feature_info", None) or ()]
    return spread([name for name in stages if name in names] or [name for name, _ in module.named_children()])
