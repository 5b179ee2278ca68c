"""Video models by name: how they want their clips, their layers, and what those return."""

from sdfast.models.channels import Channels, known_channels, layers_before
from sdfast.models.layers import check_called, check_model, match_dims, match_layers
from sdfast.models.load import load_model
from sdfast.models.outputs import change_first_tensor, first_tensor
from sdfast.models.tokens_first import tokens_first
from sdfast.models.video_model import ClipToTensor, VideoModel

__all__ = [
    "Channels",
    "ClipToTensor",
    "VideoModel",
    "change_first_tensor",
    "check_called",
    "check_model",
    "first_tensor",
    "known_channels",
    "layers_before",
    "load_model",
    "match_dims",
    "match_layers",
    "tokens_first",
]
