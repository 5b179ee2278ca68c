"""Features as tensors or NumPy arrays, and these as tensors over the same memory."""

import warnings
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Features = TypeVar("Features", Tensor, np.ndarray)  # all of a call are of one kind


def over_array(name: str, feats: object) -> Tensor:
    """Return a tensor over the memory of an array; over a copy only where torch has no such strides or byte order."""
    if not isinstance(feats, np.ndarray):
        raise TypeError(f"{name}: expected a numpy.ndarray like feats_a, got {type(feats).__name__}")
    native = feats.dtype.newbyteorder("=")
    if native not in (np.float64, np.float32, np.float16):
        raise TypeError(f"{name}: expected float64, float32 or float16 features, got {feats.dtype}")
    if native != feats.dtype or any(stride < 0 or stride % feats.itemsize for stride in feats.strides):
        feats = feats.astype(native, order="C")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written
        return torch.from_numpy(feats)
