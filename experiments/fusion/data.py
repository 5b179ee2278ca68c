"""Frames with optical flow: an object that moves over what a panning camera sees, camouflaged or in plain sight."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from sdfast.statistics import FACTORS

SIZE = 32  # pixels
RADIUS = (4.0, 7.0)  # pixels
PAN = 2.0  # pixels a frame, the most along either axis
SPEED = (1.0, 3.0)  # pixels a frame, of the object over its background
SHIFT = (6, 16)  # pixels along either axis between a camouflaged object's texture and that behind it
CONTRAST = (0.15, 0.45)  # between the mean colours of an object in plain sight and of its background
LURES = 0.5  # part of the frames with a thing in plain sight that does not move of itself
BLUR = 5  # pixels, the side of the square that estimated flow averages over
DRIFT, NOISE = 0.3, 0.3  # pixels a frame, standard deviation of the flow's error: smooth, and of each pixel
FLOW_UNIT = 2.0  # pixels a frame


@dataclass(frozen=True)
class Motion:
    """What is dynamic in N scenes: where the object is and how it and the camera move."""

    cover: Tensor  # (N, H, W), how much of each pixel the object covers
    pan: Tensor  # (N, 2), flow of all that stands still, columns and rows a frame
    own: Tensor  # (N, 2), flow of the object on top of it


@dataclass(frozen=True)
class Appearance:
    """What is static in N scenes: textures, and things that move with the background only."""

    background: Tensor  # (N, 3, H, W), from 0 to 1, as all textures
    object: Tensor  # (N, 3, H, W)
    thing: Tensor  # (N, 3, H, W)
    thing_cover: Tensor  # (N, H, W), 0 everywhere where there is none


@dataclass(frozen=True)
class Scenes:
    """Frames and flow (N, 5, H, W) as a network takes them, and where the object is (N, H, W) bool."""

    clips: Tensor
    object: Tensor


def draw_scenes(number: int, textures: Tensor, camouflage: bool, generator: Generator) -> Scenes:
    """Draw scenes of objects that move.

    Args:
        number: of scenes.
        textures: uint8 (F, 3, H, W).
        camouflage: whether the object's texture is cut from the frame of its background, a few pixels away; else from
            another frame, and its mean colour is changed to one that stands out.
        generator: draws everything.

    >>> textures = torch.randint(256, (4, 3, 90, 112), dtype=torch.uint8)
    >>> scenes = draw_scenes(2, textures, True, torch.Generator().manual_seed(0))
    >>> scenes.clips.shape, scenes.object.shape
    (torch.Size([2, 5, 32, 32]), torch.Size([2, 32, 32]))
    """
    motion = draw_motion(number, generator)
    look = draw_appearance(torch.full((number,), camouflage), textures, generator)
    return render(motion, look, generator)


def draw_pairs(number: int, textures: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw pairs of clips that share one factor, alternately; half of the objects are camouflaged.

    Returns:
        Clips a and b (N, 5, H, W), and which factor they share (N,) int64: 0 the motion, with other textures; 1 the
        appearance: the same frame with the flow of another scene.
    """
    motion, other = draw_motion(number, generator), draw_motion(number, generator)
    look_a, look_b = (
        draw_appearance(torch.rand(number, generator=generator) < 0.5, textures, generator) for _ in range(2)
    )
    clips_a, clips_b, strayed = (
        render(*scene, generator).clips for scene in ((motion, look_a), (motion, look_b), (other, look_a))
    )
    factor = torch.arange(number) % len(FACTORS)
    same_frame = torch.cat([clips_a[:, :3], strayed[:, 3:]], dim=1)
    return clips_a, torch.where((factor == FACTORS.index("static")).view(-1, 1, 1, 1), same_frame, clips_b), factor


def draw_motion(number: int, generator: Generator) -> Motion:
    """Draw where objects are, their outlines, and how they and the camera move."""
    direction, speed = _uniform(0, 2 * math.pi, (number,), generator), _uniform(*SPEED, (number,), generator)
    own = speed[:, None] * torch.stack([direction.cos(), direction.sin()], 1)
    return Motion(_blobs(number, generator), _uniform(-PAN, PAN, (number, 2), generator), own)


def draw_appearance(camouflage: Tensor, textures: Tensor, generator: Generator) -> Appearance:
    """Draw textures from uint8 (F, 3, H, W), and which objects are camouflaged as (N,) bool says."""
    number = len(camouflage)
    room = torch.tensor(textures.shape[2:]) - SIZE
    frame = torch.randint(len(textures), (number,), generator=generator)
    corner = _corners(number, room, generator)
    background = _cut(textures, frame, corner)
    shift = torch.randint(SHIFT[0], SHIFT[1] + 1, (number, 2), generator=generator)
    shift = shift * (torch.randint(2, (number, 2), generator=generator) * 2 - 1)
    beside = torch.where((corner + shift < 0) | (corner + shift > room), corner - shift, corner + shift)
    others = (frame + torch.randint(1, len(textures), (2, number), generator=generator)) % len(textures)
    cut = _cut(
        textures,
        torch.where(camouflage, frame, others[0]),
        torch.where(camouflage[:, None], beside, _corners(number, room, generator)),
    )
    plain = _standing_out(cut, background, generator)
    thing = _standing_out(_cut(textures, others[1], _corners(number, room, generator)), background, generator)
    there = torch.rand(number, generator=generator) < LURES
    return Appearance(
        background,
        torch.where(camouflage.view(-1, 1, 1, 1), cut, plain),
        thing,
        _blobs(number, generator) * there.view(-1, 1, 1),
    )


def render(motion: Motion, look: Appearance, generator: Generator) -> Scenes:
    """Return frames and flow; the flow has errors as estimated flow has them, drawn anew."""
    frame = torch.lerp(look.background, look.thing, look.thing_cover.unsqueeze(1))
    frame = torch.lerp(frame, look.object, motion.cover.unsqueeze(1))
    there = motion.cover > 0.5
    exact = motion.pan[:, :, None, None] + motion.own[:, :, None, None] * there.unsqueeze(1)
    number = len(exact)
    drift = DRIFT * torch.randn(number, 2, 5, 5, generator=generator)
    drift = functional.interpolate(drift, (SIZE, SIZE), mode="bilinear", align_corners=True)
    smooth = functional.avg_pool2d(exact, BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)
    flow = smooth + drift + NOISE * torch.randn(exact.shape, generator=generator)
    return Scenes(torch.cat([4 * frame - 2, flow / FLOW_UNIT], dim=1), there)


def _standing_out(texture: Tensor, background: Tensor, generator: Generator) -> Tensor:
    """Move the mean colour of a texture away from the background's, where there is more room for it."""
    behind, own = (part.mean((2, 3), keepdim=True) for part in (background, texture))
    contrast = _uniform(*CONTRAST, behind.shape, generator)
    return (texture - own + behind + torch.where(behind < 0.5, contrast, -contrast)).clamp(0, 1)


def _corners(number: int, room: Tensor, generator: Generator) -> Tensor:
    """Draw rows and columns (N, 2) from 0 to the room there is."""
    return (torch.rand(number, 2, generator=generator) * (room + 1)).long()


def _cut(textures: Tensor, frame: Tensor, corner: Tensor) -> Tensor:
    """Cut squares (N, 3, SIZE, SIZE) from 0 to 1 out of frames (N,) at rows and columns (N, 2)."""
    rows, columns = (corner[..., None] + torch.arange(SIZE)).unbind(1)
    colours = torch.arange(textures.shape[1])[None, :, None, None]
    cut = textures[frame.view(-1, 1, 1, 1), colours, rows[:, None, :, None], columns[:, None, None, :]]
    return cut.float() / 255


def _blobs(number: int, generator: Generator) -> Tensor:
    """Draw how much of each pixel a thing of uneven outline covers, (N, H, W)."""
    centre = _uniform(6, SIZE - 6, (number, 2, 1, 1), generator)
    radius = _uniform(*RADIUS, (number, 1, 1), generator)
    turn_2, turn_3 = _uniform(0, 2 * math.pi, (2, number, 1, 1), generator)
    pixels = torch.cartesian_prod(*[torch.arange(SIZE)] * 2).T.view(2, SIZE, SIZE)
    down, right = (pixels - centre).unbind(1)
    angle = torch.atan2(down, right)
    outline = radius * (1 + 0.25 * torch.cos(2 * angle + turn_2) + 0.15 * torch.cos(3 * angle + turn_3))
    return (outline - torch.hypot(down, right) + 0.5).clamp(0, 1)


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
