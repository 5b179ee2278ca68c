"""Who of several serves an operation on GPUs: by what it is called with, each row with its reason.

No GPU has been measured on. Until one is, the reasons are counts of the machine code (benchmarks/NOTES.md), and where
they are even it is Triton, whose kernels serve GPUs of AMD, too, and are in every installation.
"""

from collections.abc import Collection
from typing import NamedTuple

import torch

FLOAT32, HALVES = (torch.float32,), (torch.float16, torch.bfloat16)
ALL = (torch.float64, *FLOAT32, *HALVES)
SMALL = 1 << 20  # bytes of a feature tensor, which 132 multiprocessors read in less time than a launch takes


class Choice(NamedTuple):
    """A backend, what it is chosen for, and why. Labels and pooling change no choice, and so have no column."""

    backend: str
    why: str
    dtypes: Collection[torch.dtype] = ALL
    most: int | None = None  # bytes of the first tensor

    def is_for(self, dtype: torch.dtype | None, size: int | None) -> bool:
        """Tell whether features of so many bytes are what it is chosen for; None are many, of any dtype."""
        fits = self.most is None or (size is not None and size <= self.most)
        return fits and (dtype is None or dtype in self.dtypes)


_OF_SMALL = Choice("cuda", "one launch by either: its call is C++, where Triton's is 18 us of Python", most=SMALL)
_OF_SUMS = (
    _OF_SMALL,
    Choice("triton", "no kernel is bound by instructions; channels-last has twice as much under way as CUDA's", HALVES),
    Choice("triton", "as HALVES; (N, C) has twice as much under way; without fast float64 it sums in two float32"),
)
# In this order: the first that is for the features, and whose module is there, serves them.
CHOICES: dict[str, tuple[Choice, ...]] = {
    "comoments": _OF_SUMS,
    "channel_bias": _OF_SUMS,
    "update_comoments": (Choice("triton", "one launch by either; of the features it is not asked how large they are"),),
    "pairwise_correlation": (
        Choice("cuda", "86 % of its instructions multiply, 71 % of Triton's, and two blocks run at a time", FLOAT32),
        Choice("triton", "float64 is multiplied by tensor cores where there are some", (torch.float64,)),
        Choice("triton", "serves all others"),
    ),
    "static_dropout": (_OF_SMALL, Choice("triton", "moves whole sectors at a time, where CUDA's threads use halves")),
}
