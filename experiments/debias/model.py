"""A small 3-D CNN of three blocks."""

from torch import Tensor, nn

from experiments.debias.data import MOTIONS

WIDTHS = (12, 24, 48)
BLOCKS = tuple(f"block{i}" for i in range(1, len(WIDTHS) + 1))


class SmallNet(nn.Module):
    """Three blocks of convolution, normalisation and ReLU, then the average over all positions and a linear layer.

    >>> import torch
    >>> SmallNet()(torch.zeros(2, 1, 8, 24, 24)).shape
    torch.Size([2, 4])
    """

    def __init__(self) -> None:
        super().__init__()
        before = 1
        for name, width in zip(BLOCKS, WIDTHS, strict=True):
            convolution = nn.Conv3d(before, width, 3, stride=(1, 2, 2), padding=1, bias=False)
            self.add_module(name, nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU(inplace=True)))
            before = width
        self.head = nn.Linear(before, len(MOTIONS))

    def forward(self, video: Tensor) -> Tensor:
        """Return the logits (N, 4) of videos (N, 1, T, H, W)."""
        *_, last = self.features(video)
        return self.head(last.mean((2, 3, 4)))

    def features(self, video: Tensor) -> list[Tensor]:
        """Return the output of each block."""
        outputs = []
        for name in BLOCKS:
            video = self.get_submodule(name)(video)
            outputs.append(video)
        return outputs
