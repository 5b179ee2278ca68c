"""The reference backend: the operations in plain torch, on any device."""

from sdfast.backends.reference.comoments import comoments
from sdfast.backends.reference.static_dropout import static_dropout

__all__ = ["comoments", "static_dropout"]
