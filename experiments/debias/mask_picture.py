"""`python -m experiments.debias.mask_picture docs/masks.png`: masks of a still camera and of ones that pan."""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.debias import data
from sdfast import masks
from sdfast.foundation import write_atomically
from sdfast.pairs import demo_videos, read_clip

MAKERS = {
    "from_video": masks.from_video,
    "from_motion": masks.from_motion,
    'from_motion, camera="moving"': lambda video: masks.from_motion(video, camera="moving"),
}
STREET = ("bikes.mp4", 156, 16)  # 16 frames from there, of a camera that stands still
SIDE = (112, 264)  # height and width that its frames are read at
VIEW, PAN = 150, 5  # pixels of its width that a camera sees, and by which it pans a frame
DIM = 0.4  # of its brightness is left to what is static
DYNAMIC = (0.88, 0.4, 0.16)


def picture() -> Figure:
    """Draw a frame of each clip and the masks of three makers over it: what is static dim, what moves orange."""
    rows = _rows()
    ratios = [video.shape[3] / video.shape[4] for _, video, _ in rows]
    figure = Figure(figsize=(8.6, 2.3 * sum(ratios)), dpi=75, layout="constrained")
    panels = figure.subplots(len(rows), 1 + len(MAKERS), height_ratios=ratios)
    for line, (name, video, shape) in zip(panels, rows, strict=True):
        middle = video.shape[2] // 2
        frame = _colors(video[0, :, middle])
        line[0].imshow(frame)
        line[0].set_ylabel(name, fontsize=8)
        for axes, make in zip(line[1:], MAKERS.values(), strict=True):
            mask = make(video)
            share = mask[0, middle, ..., None].numpy()
            axes.imshow(share * DIM * frame + (1 - share) * (frame + np.array(DYNAMIC)) / 2)
            if shape is not None:
                axes.contour(shape[0, middle].float(), [0.5], colors="white", linewidths=1.2)
                axes.set_xlabel(f"overlap over {len(mask)} clips {_overlap(mask, shape):.2f}", fontsize=8)
    for axes, title in zip(panels[0], ["frame", *MAKERS], strict=True):
        axes.set_title(title, fontsize=9)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    return figure


def _rows() -> list[tuple[str, Tensor, Tensor | None]]:
    """Return names, clips (N, C, T, H, W), of which the first is drawn, and where their shapes are, if known."""
    worlds = []
    for name, camera in (("shapes,\ncamera still", "still"), ("shapes,\ncamera pans slowly", "moving")):
        clips = data.Shapes(camera).shifted_clips(64, torch.Generator().manual_seed(5))
        worlds.append((name, clips.video, clips.shape))
    name, start, frames = STREET
    path = next(video for video in demo_videos() if video.name == name)
    street = torch.from_numpy(read_clip(path, np.arange(start, start + frames), SIDE)).permute(3, 0, 1, 2)[None].float()
    views = torch.stack([street[:, :, t, :, PAN * t :][..., :VIEW] for t in range(frames)], dim=2)
    still = street[..., PAN * (frames // 2) :][..., :VIEW]
    return [*worlds, ("street,\ncamera still", still, None), (f"street,\n{PAN} pixels a frame", views, None)]


def _colors(frame: Tensor) -> np.ndarray:
    """Return a frame (C, H, W) as colours (H, W, 3) from 0 to 1."""
    low, high = frame.aminmax()
    return ((frame - low) / (high - low)).expand(3, -1, -1).permute(1, 2, 0).numpy()


def _overlap(mask: Tensor, shape: Tensor) -> float:
    both, either = (part.flatten(1).sum(1) for part in ((mask < 0.5) & shape, (mask < 0.5) | shape))
    return (both / either).mean().item()


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]), picture().savefig)
