"""Argument checks that the operations share; each error names the argument and what it should have been."""

import torch
from torch import Tensor

from sdfast.foundation import check_integer

MOST_DIMENSIONS = 16  # that kernels walk through
FLOAT_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MASK_DTYPES = (torch.bool, torch.uint8, *FLOAT_DTYPES)


def check_feature_pair(feats_a: Tensor, feats_b: Tensor, channel_dim: int) -> None:
    """Raise unless both are feature tensors of one shape, dtype and device with a batch and a channel dimension."""
    for name, feats in (("feats_a", feats_a), ("feats_b", feats_b)):
        check_features(name, feats, channel_dim)
    if feats_b.shape != feats_a.shape:
        raise ValueError(f"feats_b: expected shape {tuple(feats_a.shape)} like feats_a, got {tuple(feats_b.shape)}")
    check_same_kind(feats_a, feats_b)


def check_same_kind(feats_a: Tensor, feats_b: Tensor) -> None:
    """Raise unless both have one dtype and device."""
    if feats_b.dtype != feats_a.dtype:
        raise TypeError(f"feats_b: expected dtype {feats_a.dtype} like feats_a, got {feats_b.dtype}")
    if feats_b.device != feats_a.device:
        raise ValueError(f"feats_b: expected device {feats_a.device} like feats_a, got {feats_b.device}")


def check_features(name: str, feats: Tensor, channel_dim: int, may_be_empty: bool = False) -> None:
    """Raise unless feats is a floating-point tensor (N, C, ...) that has channel_dim and, as a rule, elements."""
    if not isinstance(feats, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(feats).__name__}")
    if feats.dtype not in FLOAT_DTYPES:
        raise TypeError(f"{name}: expected float64, float32, float16 or bfloat16 features, got {feats.dtype}")
    if feats.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got {feats.layout}")
    if feats.ndim < 2:
        raise ValueError(f"{name}: expected shape (N, C) or (N, C, ...), got {tuple(feats.shape)}")
    if feats.ndim > MOST_DIMENSIONS:
        raise ValueError(f"{name}: expected at most {MOST_DIMENSIONS} dimensions, got {feats.ndim}; flatten positions")
    if 0 in feats.shape and not may_be_empty:
        what = "at least one pair" if feats.shape[0] == 0 else "no empty dimension"
        raise ValueError(f"{name}: expected {what}, got shape {tuple(feats.shape)}")
    if not isinstance(channel_dim, int):
        raise TypeError(f"channel_dim: expected an integer, got {channel_dim!r}")
    if not -feats.ndim <= channel_dim < feats.ndim or channel_dim % feats.ndim == 0:
        raise ValueError(
            f"channel_dim: expected a dimension of {name} other than the batch dimension 0, "
            f"got {channel_dim} for shape {tuple(feats.shape)}"
        )


def check_factor(factor: Tensor | None, feats_a: Tensor, num_factors: int) -> None:
    """Raise unless factor holds one int64 label a pair, on the device of the features.

    Values are not read here: that would wait for the device. The CPU kernel checks them as it goes; on a GPU pairs of
    other labels count nowhere.
    """
    check_integer("num_factors", num_factors, 1)
    if num_factors >= 2**31:
        raise ValueError(f"num_factors: expected less than 2**31, got {num_factors}")
    if factor is None:
        return
    if not isinstance(factor, Tensor):
        raise TypeError(f"factor: expected a torch.Tensor of integers or bool, got {type(factor).__name__}")
    if factor.dtype != torch.int64:  # users' integers and bool are that by now
        raise TypeError(f"factor: expected integers or bool, got {factor.dtype}")
    if factor.shape != feats_a.shape[:1]:
        raise ValueError(f"factor: expected shape ({feats_a.shape[0]},), one label a pair, got {tuple(factor.shape)}")
    if factor.device != feats_a.device:
        raise ValueError(f"factor: expected device {feats_a.device} like feats_a, got {factor.device}")


def check_factor_values(factor: Tensor, num_factors: int) -> None:
    """Raise unless every label is in [0, num_factors). Reads the labels."""
    low, high = int(factor.min()), int(factor.max())
    if low < 0 or high >= num_factors:
        wrong = low if low < 0 else high
        raise ValueError(f"factor: expected labels from 0 to {num_factors - 1}, got {wrong}")


def check_probability(name: str, value: float) -> None:
    """Raise unless value is a number from 0 to 1; NaN is none."""
    if not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number from 0 to 1, got {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got {value}")


def check_mask(mask: Tensor | None, x: Tensor, channel_dim: int) -> None:
    """Raise unless mask is (N, *grid) or (N, 1, *grid), with as many grid dimensions as x has positions."""
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask: expected a torch.Tensor, got {type(mask).__name__}")
    if mask.dtype not in MASK_DTYPES:
        raise TypeError(f"mask: expected bool, uint8 or floating-point values, got {mask.dtype}")
    if mask.device != x.device:
        raise ValueError(f"mask: expected device {x.device} like x, got {mask.device}")
    grid = x.ndim - 2
    if mask.ndim != 1 + grid and not (mask.ndim == 2 + grid and mask.shape[1] == 1):
        raise ValueError(
            f"mask: expected shape (N, *grid) or (N, 1, *grid) with {grid} grid dimensions "
            f"for features {tuple(x.shape)} with channel_dim={channel_dim}, got {tuple(mask.shape)}"
        )
    if mask.shape[0] != x.shape[0]:
        raise ValueError(f"mask: expected a batch of {x.shape[0]} like x, got {mask.shape[0]}")
    if 0 in mask.shape[1:]:
        raise ValueError(f"mask: expected no empty dimension, got shape {tuple(mask.shape)}")


def check_channel_weight(weight: Tensor | None, x: Tensor, channel_dim: int) -> None:
    """Raise unless weight holds one floating-point number a channel of x, on its device."""
    if weight is None:
        return
    if not isinstance(weight, Tensor):
        raise TypeError(f"channel_weight: expected a torch.Tensor, got {type(weight).__name__}")
    if weight.dtype not in FLOAT_DTYPES:
        raise TypeError(f"channel_weight: expected floating-point values, got {weight.dtype}")
    if weight.device != x.device:
        raise ValueError(f"channel_weight: expected device {x.device} like x, got {weight.device}")
    channels = x.shape[channel_dim]
    if weight.shape != (channels,):
        raise ValueError(f"channel_weight: expected shape ({channels},), one a channel, got {tuple(weight.shape)}")


def check_unit_range(name: str, values: Tensor | None) -> None:
    """Raise unless every value is from 0 to 1; NaN is not. Reads the values."""
    if values is None or values.numel() == 0 or values.dtype == torch.bool:
        return
    low, high = (value.item() for value in values.aminmax())
    if not (low >= 0 and high <= 1):
        wrong = low if low < 0 or low != low else high
        raise ValueError(f"{name}: expected values from 0 to 1, got {wrong}")


def check_rank(name: str, tensor: Tensor, shape: str, ndim: int) -> None:
    """Raise unless a tensor has that many dimensions."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
    if tensor.ndim != ndim:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}")


def check_video(video: Tensor, name: str = "video") -> None:
    """Raise unless a video may be (N, C, T, H, W): (N, T, C, H, W) would be judged over colours as if over time."""
    check_rank(name, video, "(N, C, T, H, W)", 5)
    if video.shape[1] > 3 and video.shape[2] in (1, 3):  # a field of flow has two
        raise ValueError(
            f"{name}: expected shape (N, C, T, H, W), got {tuple(video.shape)}, which looks like (N, T, C, H, W); "
            f"pass {name}.transpose(1, 2)"
        )


def check_samples(name: str, samples: Tensor) -> None:
    """Raise unless samples is a dense float64 tensor (N, C) that has elements."""
    if not isinstance(samples, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(samples).__name__}")
    if samples.dtype != torch.float64 or samples.layout != torch.strided:
        raise TypeError(f"{name}: expected dense torch.float64 samples, got {samples.dtype}, {samples.layout}")
    if samples.ndim != 2 or 0 in samples.shape:
        raise ValueError(f"{name}: expected shape (N, C) without an empty dimension, got {tuple(samples.shape)}")
    if len(samples) >= 2**29:
        raise ValueError(f"{name}: expected fewer than 2**29 samples, got {len(samples)}")


def check_no_gradient(name: str, feats: Tensor) -> None:
    """Raise where autograd would follow feats into what has no gradient: ranks, and who is whose neighbour."""
    if torch.is_grad_enabled() and feats.requires_grad:
        raise ValueError(f"{name}: expected no tensor that requires grad: ranks and neighbours have none; detach it")
