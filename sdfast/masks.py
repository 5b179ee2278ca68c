"""Makers of static masks, by the name that users know; they are at home in `sdfast.dropout`."""

from sdfast.dropout.masks import from_boxes, from_labels, from_video, to_tokens
from sdfast.dropout.motion import from_motion

__all__ = ["from_boxes", "from_labels", "from_motion", "from_video", "to_tokens"]
