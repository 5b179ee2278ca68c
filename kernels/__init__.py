"""Kernels compiled at run time. They import triton and torch only; `sdfast._backend` is their one caller."""

from sdfast.kernels.comoments import comoments

__all__ = ["comoments"]
