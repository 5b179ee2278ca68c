"""Static and dynamic information of video networks, per channel and layer, at memory speed."""

from importlib import metadata as _metadata
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

import torch as _torch  # first: the extension shares the OpenMP runtime that torch has loaded  # noqa: F401

from sdfast import masks
from sdfast.backends import BackendError, use_backend
from sdfast.dropout import StaticDropout, insert_static_dropout, keep_static_mask, static_dropout, static_mask
from sdfast.measurement import measure
from sdfast.models import VideoModel, load_model
from sdfast.ops import pairwise_correlation
from sdfast.report import BiasReport, compare, load_reports
from sdfast.statistics import ChannelBias, CoMoments, channel_bias
from sdfast.training import bias_penalty

__all__ = [
    "BackendError",
    "BiasMetric",
    "BiasReport",
    "ChannelBias",
    "CoMoments",
    "StaticDropout",
    "VideoModel",
    "bias_penalty",
    "channel_bias",
    "compare",
    "insert_static_dropout",
    "keep_static_mask",
    "load_model",
    "load_reports",
    "masks",
    "measure",
    "pairwise_correlation",
    "static_dropout",
    "static_mask",
    "use_backend",
]
try:
    __version__ = _metadata.version("sdfast")
except _metadata.PackageNotFoundError:  # a source tree on the path, where nothing was installed
    __version__ = "0.0+unknown"

if _TYPE_CHECKING:
    from sdfast.report import BiasMetric


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> _Any:
    # torchmetrics takes longer to import than all the rest; who needs no metric does not wait for it.
    if name == "BiasMetric":
        from sdfast.report import BiasMetric

        return BiasMetric
    raise AttributeError(f"module 'sdfast' has no attribute {name!r}")
