"""Video models by name: how they want their clips, their layers, and what those return."""

from sdfast.models.layers import check_model, implied_channel_dim, match_channel_dims, match_layers
from sdfast.models.load import load_model
from sdfast.models.outputs import change_first_tensor, first_tensor
from sdfast.models.video_model import ClipToTensor, VideoModel

__all__ = [
    "ClipToTensor",
    "VideoModel",
    "change_first_tensor",
    "check_model",
    "first_tensor",
    "implied_channel_dim",
    "load_model",
    "match_channel_dims",
    "match_layers",
]
