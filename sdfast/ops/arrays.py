"""Features of torch or NumPy as tensors, and labels of any integer dtype as int64."""

import warnings
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Features = TypeVar("Features", Tensor, np.ndarray)  # all of a call are of one kind
Labels = Tensor | np.ndarray


def over_arrays(feats_a: Features, feats_b: Features) -> tuple[Tensor, Tensor]:
    """Return tensors over the memory of two arrays; tensors as they are."""
    if isinstance(feats_a, np.ndarray):
        return over_array("feats_a", feats_a), over_array("feats_b", feats_b)
    return feats_a, feats_b


def as_labels(name: str, labels: Labels) -> Tensor:
    """Return labels, integers or bool of torch or NumPy, as int64; what a check refuses is returned as it is.

    >>> as_labels("factor", np.array([True, False]))
    tensor([1, 0])
    """
    if isinstance(labels, np.ndarray):
        if labels.dtype.kind not in "biu":
            raise TypeError(f"{name}: expected integers or bool, got {labels.dtype}")
        return torch.from_numpy(labels.astype(np.int64))
    if isinstance(labels, Tensor) and labels.dtype != torch.int64 and not _has_fractions(labels):
        return labels.long()
    return labels


def as_numbers(name: str, numbers: Labels) -> Tensor:
    """Return integers of torch or NumPy as int64; bool counts nothing and is refused."""
    dtype = numbers.dtype if isinstance(numbers, Tensor | np.ndarray) else type(numbers).__name__
    if dtype in (torch.bool, np.bool_):
        raise TypeError(f"{name}: expected an integer dtype, got {dtype}")
    numbers = as_labels(name, numbers)
    if not isinstance(numbers, Tensor):
        raise TypeError(f"{name}: expected an integer torch.Tensor, got {dtype}")
    if numbers.dtype != torch.int64:
        raise TypeError(f"{name}: expected an integer dtype, got {dtype}")
    return numbers


def over_array(name: str, feats: object) -> Tensor:
    """Return a tensor over the memory of an array; over a copy only where torch has no such strides or byte order."""
    if not isinstance(feats, np.ndarray):
        raise TypeError(f"{name}: expected a numpy.ndarray like feats_a, got {type(feats).__name__}")
    if isinstance(feats, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got numpy.ma.MaskedArray; fill what is masked")
    native = feats.dtype.newbyteorder("=")
    if native not in (np.float64, np.float32, np.float16):
        raise TypeError(f"{name}: expected float64, float32 or float16 features, got {feats.dtype}")
    if native != feats.dtype or any(stride < 0 or stride % feats.itemsize for stride in feats.strides):
        feats = feats.astype(native, order="C")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written
        return torch.from_numpy(feats)


def _has_fractions(values: Tensor) -> bool:
    return values.is_floating_point() or values.is_complex()
