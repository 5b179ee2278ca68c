"""Small networks with more than one input, or clips elsewhere than first, as `--model tests.support.nets:NAME`."""

import torch
from torch import nn

from sdfast import VideoModel
from sdfast.models import ClipToTensor, Pathways, RgbAndFlow, frames_as_batch


class SlowFast(nn.Module):
    """Takes a list of two pathways, (N, 3, T / 4, H, W) and (N, 3, T, H, W), and joins the fast one to the slow one."""

    def __init__(self):
        super().__init__()
        self.slow, self.fast = nn.Conv3d(3, 8, 3, padding=1), nn.Conv3d(3, 2, 3, padding=1)
        self.lateral = nn.Conv3d(2, 4, (5, 1, 1), (4, 1, 1), (2, 0, 0))
        self.joined = nn.Conv3d(12, 6, 1)

    def forward(self, pathways):
        slow, fast = pathways
        fast = self.fast(fast).relu()
        return self.joined(torch.cat([self.slow(slow), self.lateral(fast)], 1))


class TwoStream(nn.Module):
    """Segments images from their colours and their flow, (N, 3, H, W) each."""

    def __init__(self):
        super().__init__()
        self.rgb, self.flow = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(3, 4, 3, 2, 1)
        self.fused = nn.Sequential(nn.Conv2d(10, 5, 1), nn.ReLU())
        self.head = nn.Conv2d(5, 1, 1)

    def forward(self, image, flow):
        features = self.fused(torch.cat([self.rgb(image), self.flow(flow)], 1))
        return self.head(nn.functional.interpolate(features, scale_factor=2.0))


class Tokens(nn.Module):
    """An encoder of torch with tokens first, (tokens, N, C), of the frames of a clip."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3 * 64, 12)
        layer = nn.TransformerEncoderLayer(12, 2, 24)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.recurrent = nn.LSTM(12, 10)

    def forward(self, clips):
        frames = self.embed(clips.transpose(1, 2).flatten(2)).transpose(0, 1)
        return self.recurrent(self.encoder(frames))


def slow_fast():
    return VideoModel("SlowFast", SlowFast(), Pathways(), 8, (16, 16), ("slow", "fast", "joined"))


def two_stream():
    to_image = ClipToTensor(time_first=True)
    prepare = RgbAndFlow(to_image, to_image)
    return VideoModel("two-stream", TwoStream(), prepare, 4, (16, 24), ("rgb", "fused"), forward=frames_as_batch)


def tokens():
    return VideoModel("tokens", Tokens(), ClipToTensor(), 6, (8, 8), ("encoder", "recurrent"))
