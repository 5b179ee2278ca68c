"""A small two-stream network for segmentation: two encoders, what joins them, and a light decoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (8, 16, 32)
DECODER_WIDTH = 8
CHANNELS = {"appearance": 3, "motion": 2}  # a frame, and flow along columns and rows
CROSSINGS = ("none", "motion to appearance", "both")


class Sum(nn.Module):
    """Add the streams."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        return appearance + motion


class Concatenation(nn.Module):
    """Let a linear layer choose from the channels of both streams."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.choose = nn.Conv2d(2 * width, width, 1)

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        return self.choose(torch.cat([appearance, motion], dim=1))


class ConvexGate(nn.Module):
    """Weigh the streams against each other, in each channel and place: g · appearance + (1 - g) · motion."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * width, width, 1)

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(torch.cat([appearance, motion], dim=1)))
        return torch.lerp(motion, appearance, gate)


class Attention(nn.Module):
    """Let each stream say where the other is to be looked at: a map of one weight a place, from 0 to 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.by_appearance, self.by_motion = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 1, 1)

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        seen, moving = torch.sigmoid(self.by_appearance(appearance)), torch.sigmoid(self.by_motion(motion))
        return appearance * moving + motion * seen


class One(nn.Module):
    """Take one stream and leave the other, the control."""

    def __init__(self, stream: str) -> None:
        super().__init__()
        self.place = list(CHANNELS).index(stream)

    def forward(self, *streams: Tensor) -> Tensor:
        return streams[self.place]


FUSIONS: dict[str, Callable[[int], nn.Module]] = {
    "sum": Sum,
    "concatenation": Concatenation,
    "convex gate": ConvexGate,
    "attention": Attention,
}
ONE_STREAM = {f"{stream} only": stream for stream in CHANNELS}


class Crossing(nn.Module):
    """What one stream tells the other between two blocks: a linear layer, added to the other's features."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.to_appearance = nn.Conv2d(width, width, 1) if kind in CROSSINGS[1:] else None
        self.to_motion = nn.Conv2d(width, width, 1) if kind == "both" else None

    def forward(self, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        told_appearance = appearance if self.to_appearance is None else appearance + self.to_appearance(motion)
        return told_appearance, motion if self.to_motion is None else motion + self.to_motion(appearance)


class Decoder(nn.Module):
    """From the coarsest level to the finest: enlarge, add the next level, smooth; then a logit a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(width, DECODER_WIDTH, 1) for width in WIDTHS)
        self.smooth = nn.ModuleList(_block(DECODER_WIDTH, DECODER_WIDTH, stride=1) for _ in WIDTHS)
        self.logit = nn.Conv2d(DECODER_WIDTH, 1, 1)

    def forward(self, fused: list[Tensor]) -> Tensor:
        found = None
        for features, level, smooth in list(zip(fused, self.levels, self.smooth, strict=True))[::-1]:
            lateral = level(features)
            found = smooth(lateral if found is None else lateral + functional.interpolate(found, lateral.shape[2:]))
        return self.logit(found)


class TwoStream(nn.Module):
    """Segment what moves of itself from a frame and its flow, which come as one tensor.

    Each stream has three blocks; after each, a fusion layer joins the streams for the decoder. Between blocks, cross
    connections let one stream into the other. Encoders and decoder of one seed start alike whatever joins them.

    Args:
        fusion: one of `FUSIONS`, or of `ONE_STREAM` for the controls.
        crossing: one of `CROSSINGS`.

    Raises:
        ValueError: there is no such fusion or crossing.

    >>> TwoStream("attention", "both")(torch.zeros(2, 5, 32, 32)).shape
    torch.Size([2, 32, 32])
    """

    def __init__(self, fusion: str = "sum", crossing: str = "none") -> None:
        super().__init__()
        for name, value, known in (("fusion", fusion, (*FUSIONS, *ONE_STREAM)), ("crossing", crossing, CROSSINGS)):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        self.appearance, self.motion = (_encoder(channels) for channels in CHANNELS.values())
        self.decoder = Decoder()
        self.fusion = nn.ModuleList(
            One(ONE_STREAM[fusion]) if fusion in ONE_STREAM else FUSIONS[fusion](width) for width in WIDTHS
        )
        self.crossings = nn.ModuleList(Crossing(width, crossing) for width in WIDTHS[:-1])

    def forward(self, clips: Tensor) -> Tensor:
        """Return a logit for each pixel (N, H, W) of clips (N, 5, H, W): colours, then flow."""
        appearance, motion = clips.split(list(CHANNELS.values()), dim=1)
        fused = []
        for level, (see, follow, fuse) in enumerate(zip(self.appearance, self.motion, self.fusion, strict=True)):
            if level:
                appearance, motion = self.crossings[level - 1](appearance, motion)
            appearance, motion = see(appearance), follow(motion)
            fused.append(fuse(appearance, motion))
        return functional.interpolate(self.decoder(fused), clips.shape[2:], mode="bilinear").squeeze(1)


def _encoder(channels: int) -> nn.ModuleList:
    before = (channels, *WIDTHS[:-1])
    return nn.ModuleList(_block(entering, width, stride=2) for entering, width in zip(before, WIDTHS, strict=True))


def _block(before: int, width: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
