"""Kernels compiled at run time. They import triton and torch only; `sdfast._backend` is their one caller."""

from sdfast.kernels.comoments import comoments
from sdfast.kernels.static_dropout import static_dropout

__all__ = ["comoments", "static_dropout"]
