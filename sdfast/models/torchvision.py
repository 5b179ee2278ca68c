"""Video models of torchvision, fed as the documentation of their weights says."""

import difflib

from torch import nn

from sdfast.foundation import require
from sdfast.models.video_model import ClipToTensor, VideoModel
from sdfast.models.weights import RANDOM, load_state, seeded

_CLIP_FRAMES = 16
# Video Swin keeps (N, T, H, W, C) all the way, but for the convolution that embeds patches and the pooling at the end.
_SWIN_CHANNEL_DIM = {"patch_embed.proj": 1, "avgpool": 1, "**": -1}


def load(name: str, weights: str | None, seed: int) -> VideoModel:
    """Load a model of torchvision.models.video with its Kinetics-400 weights, random ones, or those in a file."""
    models = require("torchvision.models")
    known = models.list_models(module=models.video)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known
        raise ValueError(f"model: torchvision has no video model {name!r}; near names: {', '.join(near)}")
    documented = models.get_model_weights(name).DEFAULT
    with seeded(seed):
        module = models.get_model(name, weights=documented if weights is None else None)
    if weights not in (None, RANDOM):
        load_state(module, weights)
    preset = documented.transforms()
    return VideoModel(
        name=f"torchvision:{name}",
        module=module,
        prepare=ClipToTensor(tuple(preset.mean), tuple(preset.std)),
        clip_frames=max(_CLIP_FRAMES, documented.meta.get("min_temporal_size", 1)),
        frame_size=tuple(preset.crop_size),
        layers=_layers(module),
        channel_dim=_SWIN_CHANNEL_DIM if name.startswith("swin3d") else None,
    )


def _layers(module: nn.Module) -> tuple[str, ...]:
    """Return the stages: the four of a ResNet, or every block of the other families."""
    children = dict(module.named_children())
    stages = tuple(name for name in children if name.startswith("layer"))
    if stages:
        return stages
    trunk = next(name for name in ("blocks", "features") if name in children)
    return tuple(f"{trunk}.{name}" for name, _ in children[trunk].named_children())
