"""Static and dynamic information of video networks, per channel and layer, at memory speed."""

import torch as _torch  # first: the extension shares the OpenMP runtime that torch has loaded  # noqa: F401

from sdfast._backend import BackendError, use_backend
from sdfast.functional import ChannelBias, channel_bias
from sdfast.models import VideoModel, load_model

__all__ = ["BackendError", "ChannelBias", "VideoModel", "channel_bias", "load_model", "use_backend"]
__version__ = "0.1.0"
