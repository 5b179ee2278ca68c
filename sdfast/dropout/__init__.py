"""StaticDropout: as a function and a layer, its mask of the moment, makers of masks, and insertion into models."""

from sdfast.dropout.accepting import accept_guided
from sdfast.dropout.context import keep_static_mask, static_mask
from sdfast.dropout.insertion import insert_static_dropout
from sdfast.dropout.layer import StaticDropout
from sdfast.dropout.masks import from_video
from sdfast.dropout.motion import CAMERAS, from_motion
from sdfast.dropout.static_dropout import static_dropout

__all__ = [
    "CAMERAS",
    "StaticDropout",
    "accept_guided",
    "from_motion",
    "from_video",
    "insert_static_dropout",
    "keep_static_mask",
    "static_dropout",
    "static_mask",
]
