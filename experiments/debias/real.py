"""Clips of a textured shape that moves over real video: the motion is the label, which video it is a shortcut to it."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from experiments.debias.data import FRAMES, MOTIONS, PREDICTIVE, another, cover, draw_motion, offsets, uniform
from experiments.debias.world import Clips, Pairs
from sdfast.pairs import demo_videos, index_frames, ood, read_clip
from sdfast.statistics import FACTORS

SIZE = 32
FILMED = (40, 48)  # height and width of the frames that clips are cut from
CONTRAST = 1.0  # standard deviation of the frames of all videos
TEXTURE = 0.6  # times that, of what is on the shape
NOISE = 0.1  # standard deviation
FILL = (0.7, 1.5)  # by how much the shape is brighter than the mean of all videos, or darker
RADIUS = (5.0, 8.0)  # pixels


@dataclass(frozen=True)
class Real:
    """The world of these clips: shapes move as in `data`, the shortcut is which of four real videos is behind them.

    What is on a shape is cut from any of the videos, whatever its label. With a "still" camera the background is one
    frame; with a "moving" one it runs as it was filmed, pans, cuts, moves and is compressed.

    >>> clips = Real().shifted_clips(100, torch.Generator().manual_seed(0))
    >>> clips.video.shape, (clips.shortcut == clips.label).any().item()
    (torch.Size([100, 3, 8, 32, 32]), False)
    """

    camera: str = "still"
    classes = len(MOTIONS)
    size = (3, FRAMES, SIZE, SIZE)

    def train_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips as the training has them: the video is that of the motion in 95 % of them, else another."""
        label = _labels(number, generator)
        astray = torch.rand(number, generator=generator) >= PREDICTIVE
        return self._draw(label, torch.where(astray, another(label, generator), label), generator)

    def shifted_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips out of that distribution: the video is never that of the motion."""
        label = _labels(number, generator)
        return self._draw(label, another(label, generator), generator)

    def plain_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips over any video, whatever the motion."""
        label, video = (_labels(number, generator) for _ in range(2))
        return self._draw(label, video, generator)

    def draw_pairs(self, number: int, generator: Generator) -> Pairs:
        """Draw pairs that share one factor, alternately; video and motion are independent.

        Those of one motion share that of the shape, and not how the background moves.
        """
        label = _labels(number, generator)
        motion = draw_motion(label, generator, size=SIZE, radius=RADIUS)
        clips_a, clips_b = (self._render(motion, _labels(number, generator), generator) for _ in range(2))
        order = torch.rand(number, FRAMES, generator=generator).argsort(1)
        permuted = clips_a.video.gather(2, order.view(number, 1, FRAMES, 1, 1).expand_as(clips_a.video))
        factor = torch.arange(number) % len(FACTORS)
        static = factor.view(-1, 1, 1, 1, 1) == FACTORS.index("static")
        return Pairs(clips_a.video, torch.where(static, permuted, clips_b.video), factor, label)

    def backgrounds(self, number: int, generator: Generator) -> Tensor:
        """Draw stripes of two colours, as SCUBA has them, within two standard deviations of the videos."""
        return ood.stripes(number, (SIZE, SIZE), dtype=torch.float32, span=(-2.0, 2.0), generator=generator)

    def _draw(self, label: Tensor, video: Tensor, generator: Generator) -> Clips:
        return self._render(draw_motion(label, generator, size=SIZE, radius=RADIUS), video, generator)

    def _render(self, motion, video: Tensor, generator: Generator) -> Clips:
        number, away = len(video), offsets(motion, SIZE)
        covered = cover(motion, away) > 0.5  # (N, T, H, W): no pixel is both, so that masks leave no background behind
        behind = CONTRAST * _cut(video, generator, FRAMES if self.camera == "moving" else 1)
        on_it = TEXTURE * _cut(_labels(number, generator), generator)[:, :, 0]
        bright = torch.randint(2, (number,), generator=generator) * 2 - 1
        fill = (bright * uniform(*FILL, number, generator)).view(-1, 1, 1, 1, 1)
        shape = _carried(on_it - on_it.mean(dim=(1, 2, 3), keepdim=True), away) + fill
        clips = torch.where(covered.unsqueeze(1), shape, behind)
        clips = clips + NOISE * torch.randn(clips.shape, generator=generator)
        return Clips(clips, motion.label, video, covered)


def _labels(number: int, generator: Generator) -> Tensor:
    return torch.randint(len(MOTIONS), (number,), generator=generator)


def _carried(pictures: Tensor, away: Tensor) -> Tensor:
    """Return pictures (N, C, H, W) with their middle where away (N, T, 2, SIZE) is 0, as (N, C, T, H, W)."""
    rows, columns = (away * (2 / (SIZE - 1))).unbind(2)  # from -1 to 1 from edge to edge
    places = torch.stack(torch.broadcast_tensors(columns[:, :, None, :], rows[:, :, :, None]), dim=-1)
    moved = functional.grid_sample(pictures, places.flatten(1, 2), padding_mode="border", align_corners=True)
    return moved.unflatten(2, (-1, SIZE))  # the frames were below each other


def _cut(video: Tensor, generator: Generator, frames: int = 1) -> Tensor:
    """Cut clips (N, 3, frames, SIZE, SIZE) from anywhere in the videos of those numbers (N,), standardised."""
    films, mean, deviation = _films()
    counts = torch.tensor([film.shape[1] for film in films])[video]
    room = torch.stack([counts - frames, *(torch.full_like(video, side - SIZE) for side in FILMED)], dim=1)
    corner = (torch.rand(len(video), 3, generator=generator) * (room + 1)).long().tolist()
    parts = [
        films[number][:, t : t + frames, row : row + SIZE, column : column + SIZE]
        for number, (t, row, column) in zip(video.tolist(), corner, strict=True)
    ]
    return (torch.stack(parts).float() - mean) / deviation


@lru_cache(maxsize=1)
def _films() -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Return the frames (3, T, *FILMED) uint8 of each video, and mean and deviation (3, 1, 1, 1) of their colours."""
    videos = demo_videos()
    key = repr([FILMED, [[video.name, video.stat().st_size] for video in videos]])
    stored = Path(tempfile.gettempdir(), f"sdfast-films-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz")
    if not stored.is_file():
        with tempfile.NamedTemporaryFile(dir=stored.parent, suffix=".npz", delete=False) as part:
            np.savez(part, *map(_film, videos))
        os.replace(part.name, stored)  # whole, whoever else writes it at the same time
    with np.load(stored) as arrays:
        films = tuple(torch.from_numpy(arrays[f"arr_{i}"]) for i in range(len(videos)))
    some = [film[:, ::7].flatten(1).double() for film in films]  # each video counts alike, however long it is
    mean = torch.stack([values.mean(1) for values in some]).mean(0)
    deviation = (torch.stack([values.square().mean(1) for values in some]).mean(0) - mean.square()).sqrt()
    return films, mean.float().view(3, 1, 1, 1), deviation.float().view(3, 1, 1, 1)


def _film(video: Path) -> np.ndarray:
    """Return all frames of a video, scaled to the height of `FILMED`, their middle: the sides of one are black."""
    index = index_frames(video)
    height, width = read_clip(video, [0], index=index).shape[1:3]
    wide = max(FILMED[1], round(FILMED[0] * width / height))
    frames = read_clip(video, range(index.count), (FILMED[0], wide), index)
    left = (wide - FILMED[1]) // 2
    return np.ascontiguousarray(frames[:, :, left : left + FILMED[1]].transpose(3, 0, 1, 2))
