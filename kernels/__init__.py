"""Kernels compiled at run time. They import triton and torch only; `sdfast.backends` is their one caller."""

from sdfast.kernels.comoments import channel_bias, comoments, update_comoments
from sdfast.kernels.pairwise_correlation import pairwise_correlation
from sdfast.kernels.static_dropout import static_dropout

__all__ = ["channel_bias", "comoments", "pairwise_correlation", "static_dropout", "update_comoments"]
