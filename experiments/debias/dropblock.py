"""DropBlock in three dimensions, the way torchvision does it in two and three: a peer to compare with."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class DropBlock3d(nn.Module):
    """Drop cubes of each channel, about p of all its elements, and rescale the batch by what is left.

    Args:
        p: probability of an element to be dropped, were no two cubes to overlap.
        block_size: width of a cube; where the features are smaller, as wide as they are.

    Source: Ghiasi et al., NeurIPS 2018; normalised over the batch as in torchvision.

    >>> DropBlock3d(p=0.5).eval()(torch.ones(1, 1, 1, 1, 2))
    tensor([[[[[1., 1.]]]]])
    """

    def __init__(self, p: float = 0.5, block_size: int = 3) -> None:
        super().__init__()
        self.p, self.block_size = p, block_size

    def forward(self, input: Tensor) -> Tensor:
        """Return the input (N, C, T, H, W) without the cubes; in eval mode the input itself."""
        if not self.training or self.p == 0:
            return input
        size = input.shape[2:]
        width = [min(self.block_size, length) for length in size]
        starts = [length - w + 1 for length, w in zip(size, width, strict=True)]  # cubes lie inside
        rate = self.p
        for length, w, start in zip(size, width, starts, strict=True):
            rate *= length / (w * start)
        seeds = torch.bernoulli(torch.full((*input.shape[:2], *starts), min(1.0, rate), device=input.device))
        margins = [margin for w in reversed(width) for margin in (w - 1, w - 1)]
        kept = 1 - functional.max_pool3d(functional.pad(seeds, margins), width, stride=1)
        return input * kept.to(input.dtype) * (kept.numel() / kept.sum().clamp(min=1)).to(input.dtype)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"p={self.p}, block_size={self.block_size}"
