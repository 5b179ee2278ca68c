"""The reference backend: the operations in plain torch, on any device."""

from sdfast.backends.reference.comoments import comoments
from sdfast.backends.reference.deviation_sums import deviation_sums
from sdfast.backends.reference.kraskov import kraskov
from sdfast.backends.reference.leave_one_out import leave_one_out
from sdfast.backends.reference.normal_scores import normal_scores
from sdfast.backends.reference.standard_scores import standard_scores
from sdfast.backends.reference.static_dropout import static_dropout

__all__ = [
    "comoments",
    "deviation_sums",
    "kraskov",
    "leave_one_out",
    "normal_scores",
    "standard_scores",
    "static_dropout",
]
