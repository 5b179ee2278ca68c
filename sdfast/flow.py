"""Pairs of optical flow, by the name that users know; they are at home in `sdfast.pairs`."""

from sdfast.pairs import FlowPairs

__all__ = ["FlowPairs"]
