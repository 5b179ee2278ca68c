from torch import Tensor

from sdfast._C import channel_bias as channel_bias
from sdfast._C import comoments as comoments
from sdfast._C import static_dropout as static_dropout

def pairwise_correlation(a: Tensor, b: Tensor) -> Tensor: ...
def update_comoments(
    moments: Tensor,
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    source: Tensor | None,
    channel_dim: int,
    pool: bool,
) -> Tensor | None: ...
