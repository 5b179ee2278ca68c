"""Models of PyTorchVideo, SlowFast with its two pathways among them, fed as its hub documents them."""

import difflib
from typing import NamedTuple

from sdfast.foundation import require
from sdfast.models.inputs import Pathways
from sdfast.models.video_model import ClipToTensor, VideoModel
from sdfast.models.weights import RANDOM, load_state, seeded

_MEAN, _STD = (0.45,) * 3, (0.225,) * 3
_STAGES = range(1, 5)


class _Input(NamedTuple):
    frames: int
    side: int
    alpha: int = 0  # of models with two pathways


_KNOWN = {
    "c2d_r50": _Input(8, 256),
    "i3d_r50": _Input(8, 256),
    "slow_r50": _Input(8, 256),
    "slowfast_r50": _Input(32, 256, alpha=4),
    "slowfast_r101": _Input(32, 256, alpha=4),
    "x3d_xs": _Input(4, 182),
    "x3d_s": _Input(13, 182),
    "x3d_m": _Input(16, 256),
}


def load(name: str, weights: str | None, seed: int) -> VideoModel:
    """Load a model of PyTorchVideo's hub with its Kinetics-400 weights, random ones, or those in a file."""
    if name not in _KNOWN:
        near = difflib.get_close_matches(name, _KNOWN, n=3) or _KNOWN
        raise ValueError(f"model: no model {name!r} of pytorchvideo is known; near names: {', '.join(near)}")
    hub = require("pytorchvideo.models.hub")
    with seeded(seed):
        module = getattr(hub, name)(pretrained=weights is None)
    if weights not in (None, RANDOM):
        load_state(module, weights)
    frames, side, alpha = _KNOWN[name]
    prepare = ClipToTensor(_MEAN, _STD)
    pathways = [f".multipathway_blocks.{pathway}" for pathway in range(2)] if alpha else [""]
    return VideoModel(
        name=f"pytorchvideo:{name}",
        module=module,
        prepare=Pathways(prepare, alpha) if alpha else prepare,
        clip_frames=frames,
        frame_size=(side, side),
        layers=tuple(f"blocks.{stage}{pathway}" for stage in _STAGES for pathway in pathways),
    )
