import numpy as np
from torch import Tensor

def comoments(
    feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, num_factors: int, channel_dim: int, pool: bool
) -> Tensor: ...
def channel_bias(
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    num_factors: int,
    channel_dim: int,
    pool: bool,
    pearson: bool,
) -> tuple[Tensor, Tensor, Tensor]: ...
def update_comoments(
    moments: Tensor,
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    source: Tensor | None,
    channel_dim: int,
    pool: bool,
) -> Tensor: ...
def static_dropout(
    x: Tensor,
    out: Tensor,
    seed: Tensor,
    p: float,
    mask: Tensor | None,
    channel_weight: Tensor | None,
    granularity: int,
    rescale: bool,
    channel_dim: int,
) -> None: ...
def normal_scores(samples: Tensor) -> Tensor: ...
def kraskov(a: Tensor, b: Tensor, neighbors: int, seed: int) -> Tensor: ...
def edge_preserving(frames: np.ndarray, reach: float, contrast: float, recursive: bool) -> np.ndarray: ...
def alike_widths(frames: np.ndarray, reach: float, contrast: float) -> np.ndarray: ...
def read_probe(tensor: Tensor) -> int: ...
def max_threads() -> int: ...
def isa() -> str: ...
def available_isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
