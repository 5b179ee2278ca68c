"""A small video transformer of three blocks: no norm in it knows other clips, and every position sees all others."""

import torch
from torch import Tensor, nn

from experiments.debias.model import BLOCKS

WIDTH, HEADS = 32, 4
TUBELET = (2, 4, 4)  # frames and pixels that become one token


class SmallTransformer(nn.Module):
    """Tokens of space and time with learnt places, three pre-norm blocks, then as `SmallNet` ends.

    Between the blocks features are (N, C, T, H, W), as those of `SmallNet` are, so that all that is done to one is done
    to the other.

    Args:
        size: (C, T, H, W) of a clip.
        classes: of the labels.

    >>> SmallTransformer((1, 8, 24, 24))(torch.zeros(2, 1, 8, 24, 24)).shape
    torch.Size([2, 4])
    """

    def __init__(self, size: tuple[int, int, int, int] = (1, 8, 24, 24), classes: int = 4) -> None:
        super().__init__()
        grid = [length // patch for length, patch in zip(size[1:], TUBELET, strict=True)]
        self.embed = nn.Conv3d(size[0], WIDTH, TUBELET, TUBELET)
        self.places = nn.Parameter(0.02 * torch.randn(1, WIDTH, *grid))
        for name in BLOCKS:
            self.add_module(name, nn.Sequential(_Block()))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, video: Tensor) -> Tensor:
        """Return the logits (N, classes) of videos (N, channels, T, H, W)."""
        feats = self.embed(video) + self.places
        for name in BLOCKS:
            feats = self.get_submodule(name)(feats)
        return self.head(self.norm(feats.flatten(2).transpose(1, 2)).mean(1))


class _Block(nn.Module):
    """Attention over all positions and two linear layers, each with its norm before it and added to what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_linear = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.linear = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, feats: Tensor) -> Tensor:
        tokens = feats.flatten(2).transpose(1, 2)
        normed = self.before_attention(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        tokens = tokens + self.linear(self.before_linear(tokens))
        return tokens.transpose(1, 2).view_as(feats)
