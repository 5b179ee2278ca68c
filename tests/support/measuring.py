"""Pairs and a small model to measure, and `measure` with settings to suit them."""

import torch
from torch import nn

import sdfast

NUM_PAIRS, CHANNELS = 22, 5  # 22 pairs in batches of 4 leave a last batch of 2


def make_pairs(num_pairs=NUM_PAIRS, shape=(3, 4, 6, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(num_pairs, 2, *shape, generator=generator)
    clips[:, 1] += clips[:, 0]
    return [(a, b, i % 2) for i, (a, b) in enumerate(clips)]


def measure(model, layers="**", pairs=None, **settings):
    settings = {"batch_size": 4, "progress": False, **settings}
    return sdfast.measure(model, make_pairs() if pairs is None else pairs, layers, **settings)


class Points(nn.Module):
    """Four ways to return features of five channels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, CHANNELS, 1)
        self.returns = nn.Identity()

    def forward(self, clips):
        return self.returns(self.conv(clips))
