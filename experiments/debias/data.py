"""Clips of a shape that moves over a still texture: the motion is the label, the texture a shortcut to it."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from experiments.debias.world import Clips, Pairs
from sdfast.statistics import FACTORS

MOTIONS = ("right", "down", "left", "up")
TEXTURES = len(MOTIONS)  # stripes, of one orientation for each motion
FRAMES, SIZE = 8, 24
CONTRAST = 1.0  # amplitude of the stripes
NOISE = 0.2  # standard deviation
FILL = (0.7, 1.5)  # brightness of the shape, or as dark
RADIUS = (4.0, 6.0)  # pixels
SPEED = (1.0, 2.5)  # pixels a frame
PAN = 0.5  # pixels a frame, the most of a camera that moves
PREDICTIVE = 0.95  # part of the training clips whose texture is that of their motion


@dataclass(frozen=True)
class Motion:
    """What is dynamic in N clips, frames wrapping around at their edges, so that no position tells a motion."""

    label: Tensor  # (N,) int64, into MOTIONS
    start: Tensor  # (N, 2), row and column in pixels
    speed: Tensor  # (N,), pixels a frame
    radius: Tensor  # (N,), pixels
    roundness: Tensor  # (N,), 1 for a diamond, 2 for a disc, 8 for a square
    pan: Tensor  # (N, 2), rows and columns a frame by which the camera moves over the texture and the shape alike


@dataclass(frozen=True)
class Appearance:
    """What is static in N clips."""

    texture: Tensor  # (N,), orientation of the stripes in units of a TEXTURES-th of a half turn
    wavelength: Tensor  # (N,), pixels
    phase: Tensor  # (N,), radians
    fill: Tensor  # (N,), brightness of the shape


@dataclass(frozen=True)
class Shapes:
    """The world of these clips: the label is the motion, the shortcut the orientation of the stripes.

    A camera that is "moving" pans in each clip in a direction and at a speed of its own, up to `PAN`.

    >>> clips = Shapes().train_clips(1000, torch.Generator().manual_seed(0))
    >>> round((clips.shortcut == clips.label).float().mean().item(), 2)
    0.95
    """

    camera: str = "still"
    classes = len(MOTIONS)
    size = (1, FRAMES, SIZE, SIZE)

    def train_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips as the training has them: the texture is that of the motion in 95 % of them, else another."""
        label = torch.randint(len(MOTIONS), (number,), generator=generator)
        astray = torch.rand(number, generator=generator) >= PREDICTIVE
        return self._draw(label, torch.where(astray, another(label, generator), label), generator)

    def shifted_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips out of that distribution: the texture is never that of the motion."""
        label = torch.randint(len(MOTIONS), (number,), generator=generator)
        return self._draw(label, another(label, generator), generator)

    def plain_clips(self, number: int, generator: Generator) -> Clips:
        """Draw clips of any texture, whatever the motion."""
        label, texture = (torch.randint(len(MOTIONS), (number,), generator=generator) for _ in range(2))
        return self._draw(label, texture, generator)

    def draw_pairs(self, number: int, generator: Generator) -> Pairs:
        """Draw pairs that share one factor, alternately; texture and motion are independent."""
        label = torch.randint(len(MOTIONS), (number,), generator=generator)
        motion = draw_motion(label, generator, self.camera)
        look_a, look_b = (
            _draw_appearance(torch.randint(TEXTURES, (number,), generator=generator), generator) for _ in range(2)
        )
        video_a, video_b = (_render(motion, look, generator).video for look in (look_a, look_b))
        order = torch.rand(number, FRAMES, generator=generator).argsort(1)
        permuted = video_a.gather(2, order.view(number, 1, FRAMES, 1, 1).expand_as(video_a))
        factor = torch.arange(number) % len(FACTORS)
        video_b = torch.where(factor.view(-1, 1, 1, 1, 1) == FACTORS.index("static"), permuted, video_b)
        return Pairs(video_a, video_b, factor, label)

    def backgrounds(self, number: int, generator: Generator) -> Tensor:
        """Draw stripes half-way between the orientations of any two motions, as strong as the others."""
        look = _draw_appearance(torch.randint(TEXTURES, (number,), generator=generator) + 0.5, generator)
        return CONTRAST * _stripes(look, torch.zeros(number, 1))

    def _draw(self, label: Tensor, texture: Tensor, generator: Generator) -> Clips:
        return _render(draw_motion(label, generator, self.camera), _draw_appearance(texture, generator), generator)


def another(label: Tensor, generator: Generator) -> Tensor:
    """Draw for each label (N,) one of the others."""
    return (label + torch.randint(1, TEXTURES, label.shape, generator=generator)) % TEXTURES


def draw_motion(
    label: Tensor,
    generator: Generator,
    camera: str = "still",
    size: int = SIZE,
    radius: tuple[float, float] = RADIUS,
) -> Motion:
    """Draw shapes of a radius in pixels that move as labels (N,) say, in frames of a size."""
    number = len(label)
    pan = torch.zeros(number, 2)
    if camera == "moving":
        direction = uniform(0.0, 2 * math.pi, number, generator)
        pan = uniform(0.0, PAN, number, generator)[:, None] * torch.stack([direction.sin(), direction.cos()], 1)
    return Motion(
        label,
        start=size * torch.rand(number, 2, generator=generator),
        speed=uniform(*SPEED, number, generator),
        radius=uniform(*radius, number, generator),
        roundness=torch.tensor([1.0, 2.0, 8.0])[torch.randint(3, (number,), generator=generator)],
        pan=pan,
    )


def _draw_appearance(texture: Tensor, generator: Generator) -> Appearance:
    number = len(texture)
    bright = torch.randint(2, (number,), generator=generator) * 2 - 1
    return Appearance(
        texture,
        wavelength=uniform(4.0, 7.0, number, generator),
        phase=uniform(0.0, 2 * math.pi, number, generator),
        fill=bright * uniform(*FILL, number, generator),
    )


def uniform(low: float, high: float, number: int, generator: Generator) -> Tensor:
    """Draw numbers (N,) from low to high."""
    return low + (high - low) * torch.rand(number, generator=generator)


def _render(motion: Motion, look: Appearance, generator: Generator) -> Clips:
    covered = cover(motion, offsets(motion))  # (N, T, H, W)
    frames = torch.arange(FRAMES if motion.pan.any() else 1)  # a still camera sees one texture
    angle = look.texture * (math.pi / TEXTURES)
    panned = motion.pan[:, 0] * torch.sin(angle) + motion.pan[:, 1] * torch.cos(angle)  # pixels across the stripes
    stripes = CONTRAST * _stripes(look, panned[:, None] * frames)  # (N, T or 1, H, W)
    video = torch.lerp(stripes.expand_as(covered), look.fill.view(-1, 1, 1, 1).expand_as(covered), covered)
    video = video + NOISE * torch.randn(video.shape, generator=generator)
    return Clips(video.unsqueeze(1), motion.label, look.texture, covered > 0)


def _stripes(look: Appearance, moved: Tensor) -> Tensor:
    """Return stripes from -1 to 1, (N, T, H, W), moved by so many pixels (N, T)."""
    pixels = torch.arange(SIZE, dtype=torch.float32)
    angle = look.texture * (math.pi / TEXTURES)
    columns, rows = pixels * torch.cos(angle)[:, None], pixels * torch.sin(angle)[:, None]
    place = (columns[:, None, :] + rows[:, :, None])[:, None] + moved[..., None, None]
    return torch.sin(place * (2 * math.pi / look.wavelength).view(-1, 1, 1, 1) + look.phase.view(-1, 1, 1, 1))


def offsets(motion: Motion, size: int = SIZE) -> Tensor:
    """Return how far rows and columns are from the middle of the shape, (N, T, 2, size) in pixels."""
    turn = motion.label * (math.pi / 2)
    step = torch.stack([torch.sin(turn), torch.cos(turn)], 1) * motion.speed[:, None]  # right, down, left, up
    centre = motion.start[:, None] + torch.arange(FRAMES)[:, None] * (step - motion.pan)[:, None]  # (N, T, 2)
    pixels = torch.arange(size, dtype=torch.float32)
    return (pixels - centre[..., None] + size / 2).remainder(size) - size / 2


def cover(motion: Motion, away: Tensor) -> Tensor:
    """Return how much of each pixel the shape covers, (N, T, H, W)."""
    power = motion.roundness.view(-1, 1, 1, 1)
    rows, columns = (away.abs() / motion.radius.view(-1, 1, 1, 1)).pow(power).unbind(2)
    distance = (rows[..., :, None] + columns[..., None, :]).pow(1 / power)  # 1 at the outline
    return ((1 - distance) * motion.radius.view(-1, 1, 1, 1) + 0.5).clamp(0, 1)
