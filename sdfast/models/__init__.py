"""Video models by name: how they want their clips, their layers, and what those return."""

from sdfast.models.channels import Channels, known_channels, layers_before
from sdfast.models.clips import (
    Clips,
    call_model,
    frames_as_batch,
    join_clips,
    map_clips,
    pick_clips,
    stack_clips,
    tensors_of,
)
from sdfast.models.inputs import PackedPatches, Pathways, RgbAndFlow
from sdfast.models.layers import (
    check_called,
    check_model,
    match_dims,
    match_layers,
    model_and_layers,
    named_layers,
)
from sdfast.models.load import FORMS, load_model
from sdfast.models.outputs import change_first_tensor, first_tensor
from sdfast.models.tokens_first import tokens_first
from sdfast.models.video_model import ClipToTensor, VideoModel
from sdfast.models.wrappers import unwrapped

__all__ = [
    "FORMS",
    "Channels",
    "ClipToTensor",
    "Clips",
    "PackedPatches",
    "Pathways",
    "RgbAndFlow",
    "VideoModel",
    "call_model",
    "change_first_tensor",
    "check_called",
    "check_model",
    "first_tensor",
    "frames_as_batch",
    "join_clips",
    "known_channels",
    "layers_before",
    "load_model",
    "map_clips",
    "match_dims",
    "match_layers",
    "model_and_layers",
    "named_layers",
    "pick_clips",
    "stack_clips",
    "tensors_of",
    "tokens_first",
    "unwrapped",
]
