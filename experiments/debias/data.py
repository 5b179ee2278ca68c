"""Clips of a shape that moves over a still texture: the motion is the label, the texture a shortcut to it."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sdfast.masks import from_labels
from sdfast.statistics import FACTORS

CAMERAS = ("still", "moving")
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

    texture: Tensor  # (N,) int64, orientation of the stripes in units of a TEXTURES-th of a half turn
    wavelength: Tensor  # (N,), pixels
    phase: Tensor  # (N,), radians
    fill: Tensor  # (N,), brightness of the shape


@dataclass(frozen=True)
class Clips:
    """Videos (N, 1, T, H, W) float32, their motions (N,) and textures (N,), and where the shape is (N, T, H, W)."""

    video: Tensor
    label: Tensor
    texture: Tensor
    shape: Tensor

    @property
    def mask(self) -> Tensor:
        """The static mask (N, T, H, W): 1 off the shape."""
        return from_labels(self.shape, dynamic=[True])


def train_clips(number: int, generator: Generator, camera: str = "still") -> Clips:
    """Draw clips as the training has them: the texture is that of the motion in 95 % of them, else another.

    A camera that is "moving" pans in each clip in a direction and at a speed of its own, up to `PAN`.

    >>> clips = train_clips(1000, torch.Generator().manual_seed(0))
    >>> round((clips.texture == clips.label).float().mean().item(), 2)
    0.95
    """
    label = torch.randint(len(MOTIONS), (number,), generator=generator)
    astray = torch.rand(number, generator=generator) >= PREDICTIVE
    return _draw(label, torch.where(astray, _another(label, generator), label), generator, camera)


def shifted_clips(number: int, generator: Generator, camera: str = "still") -> Clips:
    """Draw clips out of that distribution: the texture is never that of the motion.

    >>> clips = shifted_clips(100, torch.Generator().manual_seed(0))
    >>> (clips.texture == clips.label).any().item()
    False
    """
    label = torch.randint(len(MOTIONS), (number,), generator=generator)
    return _draw(label, _another(label, generator), generator, camera)


def draw_pairs(number: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw pairs of clips that share one factor, alternately; texture and motion are independent.

    Returns:
        Clips a and b (N, 1, T, H, W), and which factor they share (N,) int64: 0 the motion, in two appearances; 1 the
        appearance, the frames of b being those of a in random order.
    """
    label = torch.randint(len(MOTIONS), (number,), generator=generator)
    motion = _draw_motion(label, generator)
    look_a, look_b = (
        _draw_appearance(torch.randint(TEXTURES, (number,), generator=generator), generator) for _ in range(2)
    )
    video_a, video_b = (_render(motion, look, generator).video for look in (look_a, look_b))
    order = torch.rand(number, FRAMES, generator=generator).argsort(1)
    permuted = video_a.gather(2, order.view(number, 1, FRAMES, 1, 1).expand_as(video_a))
    factor = torch.arange(number) % len(FACTORS)
    video_b = torch.where(factor.view(-1, 1, 1, 1, 1) == FACTORS.index("static"), permuted, video_b)
    return video_a, video_b, factor


def _another(label: Tensor, generator: Generator) -> Tensor:
    return (label + torch.randint(1, TEXTURES, label.shape, generator=generator)) % TEXTURES


def _draw(label: Tensor, texture: Tensor, generator: Generator, camera: str = "still") -> Clips:
    return _render(_draw_motion(label, generator, camera), _draw_appearance(texture, generator), generator)


def _draw_motion(label: Tensor, generator: Generator, camera: str = "still") -> Motion:
    if camera not in CAMERAS:
        raise ValueError(f"camera: expected one of {', '.join(CAMERAS)}, got {camera!r}")
    number = len(label)
    pan = torch.zeros(number, 2)
    if camera == "moving":
        direction = _uniform(0.0, 2 * math.pi, number, generator)
        pan = _uniform(0.0, PAN, number, generator)[:, None] * torch.stack([direction.sin(), direction.cos()], 1)
    return Motion(
        label,
        start=SIZE * torch.rand(number, 2, generator=generator),
        speed=_uniform(*SPEED, number, generator),
        radius=_uniform(*RADIUS, number, generator),
        roundness=torch.tensor([1.0, 2.0, 8.0])[torch.randint(3, (number,), generator=generator)],
        pan=pan,
    )


def _draw_appearance(texture: Tensor, generator: Generator) -> Appearance:
    number = len(texture)
    bright = torch.randint(2, (number,), generator=generator) * 2 - 1
    return Appearance(
        texture,
        wavelength=_uniform(4.0, 7.0, number, generator),
        phase=_uniform(0.0, 2 * math.pi, number, generator),
        fill=bright * _uniform(*FILL, number, generator),
    )


def _uniform(low: float, high: float, number: int, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(number, generator=generator)


def _render(motion: Motion, look: Appearance, generator: Generator) -> Clips:
    pixels = torch.arange(SIZE, dtype=torch.float32)
    covered = _cover(motion, pixels)  # (N, T, H, W)
    angle = look.texture * (math.pi / TEXTURES)
    across = pixels * torch.cos(angle)[:, None], pixels * torch.sin(angle)[:, None]
    panned = motion.pan[:, 0] * torch.sin(angle) + motion.pan[:, 1] * torch.cos(angle)  # pixels across the stripes
    frames = torch.arange(FRAMES if motion.pan.any() else 1)  # a still camera sees one texture
    place = (across[0][:, None, :] + across[1][:, :, None])[:, None] + (panned[:, None] * frames)[..., None, None]
    waves = place * (2 * math.pi / look.wavelength).view(-1, 1, 1, 1)
    stripes = CONTRAST * torch.sin(waves + look.phase.view(-1, 1, 1, 1))  # (N, T or 1, H, W)
    video = torch.lerp(stripes.expand_as(covered), look.fill.view(-1, 1, 1, 1).expand_as(covered), covered)
    video = video + NOISE * torch.randn(video.shape, generator=generator)
    return Clips(video.unsqueeze(1), motion.label, look.texture, covered > 0)


def _cover(motion: Motion, pixels: Tensor) -> Tensor:
    """Return how much of each pixel the shape covers, (N, T, H, W)."""
    turn = motion.label * (math.pi / 2)
    step = torch.stack([torch.sin(turn), torch.cos(turn)], 1) * motion.speed[:, None]  # right, down, left, up
    centre = motion.start[:, None] + torch.arange(FRAMES)[:, None] * (step - motion.pan)[:, None]  # (N, T, 2)
    away = (pixels - centre[..., None] + SIZE / 2).remainder(SIZE) - SIZE / 2  # (N, T, 2, SIZE)
    power = motion.roundness.view(-1, 1, 1, 1)
    rows, columns = (away.abs() / motion.radius.view(-1, 1, 1, 1)).pow(power).unbind(2)
    distance = (rows[..., :, None] + columns[..., None, :]).pow(1 / power)  # 1 at the outline
    return ((1 - distance) * motion.radius.view(-1, 1, 1, 1) + 0.5).clamp(0, 1)
