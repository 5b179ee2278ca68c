"""Static and dynamic information of video networks, per channel and layer, at memory speed."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

import torch as _torch  # first: the extension shares the OpenMP runtime that torch has loaded  # noqa: F401

from sdfast import masks
from sdfast._backend import BackendError, use_backend
from sdfast.context import keep_static_mask, static_mask
from sdfast.dropout import static_dropout
from sdfast.functional import ChannelBias, channel_bias, pairwise_correlation
from sdfast.insertion import insert_static_dropout
from sdfast.measure import measure
from sdfast.models import VideoModel, load_model
from sdfast.nn import StaticDropout
from sdfast.report import BiasReport
from sdfast.state import CoMoments

__all__ = [
    "BackendError",
    "BiasMetric",
    "BiasReport",
    "ChannelBias",
    "CoMoments",
    "StaticDropout",
    "VideoModel",
    "channel_bias",
    "insert_static_dropout",
    "keep_static_mask",
    "load_model",
    "masks",
    "measure",
    "pairwise_correlation",
    "static_dropout",
    "static_mask",
    "use_backend",
]
__version__ = "0.1.0"

if _TYPE_CHECKING:
    from sdfast.metric import BiasMetric


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str):
    # torchmetrics takes longer to import than all the rest; who needs no metric does not wait for it.
    if name == "BiasMetric":
        from sdfast.metric import BiasMetric

        return BiasMetric
    raise AttributeError(f"module 'sdfast' has no attribute {name!r}")
