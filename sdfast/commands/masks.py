"""`sdfast masks`: static masks over the videos they were made from, to be looked at before anything is trained."""

import argparse
from collections.abc import Sequence
from glob import escape
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from sdfast.commands.arguments import Subparsers, not_negative, positive
from sdfast.commands.clips import (
    VIDEOS_HELP,
    enlarge,
    evenly,
    keep_apart,
    read_frames,
    unlike_names,
    usable,
    write_picture,
    write_video,
)
from sdfast.commands.errors import RunError
from sdfast.commands.machine import try_writing
from sdfast.commands.output import add_output, check_new, told
from sdfast.dropout import CAMERAS, from_motion, from_video
from sdfast.foundation import require
from sdfast.pairs import Video, demo_videos, list_videos

_DIM = 0.3  # of its brightness is left to what is static
_OUTLINE = (224, 102, 42)
_STILLS = 5  # frames in the PNG
_NOT_WRITTEN = (".avi", ".gif", ".mkv", ".mov", ".png", ".webm")  # named as files of other kinds are


def register(subparsers: Subparsers) -> None:
    """Add `masks` to the subcommands."""
    command = subparsers.add_parser(
        "masks",
        help="show the static masks of videos",
        description="Make static masks as StaticDropout by region takes them, and write each video with its mask over "
        "it: beside the frames, what is static is dim and what moves is outlined. A video, and a few frames as a PNG.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("videos", nargs="*", metavar="VIDEO", help=VIDEOS_HELP)
    add("--out", type=Path, default=Path("sdfast-masks"), metavar="FOLDER",
        help="a folder, or a file.mp4 for one video, whose still picture is file.png (%(default)s)")  # fmt: skip
    add("--method", choices=("motion", "video"), default="motion",
        help="masks.from_motion, or masks.from_video: unlike the median over time (%(default)s)")  # fmt: skip
    add("--camera", choices=CAMERAS, help="of from_motion: whether to follow one that pans (still)")
    add("--close", type=positive, metavar="PIXELS", help="of from_motion: about the width of what moves, odd (9)")
    add("--window", type=positive, default=3, metavar="PIXELS", help="over which changes are averaged (%(default)s)")
    add("--size", type=positive, default=112, metavar="PIXELS",
        help="shorter side at which masks are made, as in training (%(default)s)")  # fmt: skip
    add("--clip-frames", type=positive, default=16, metavar="T", help="frames that share a threshold (%(default)s)")
    add("--clips", type=positive, default=4, metavar="N", help="clips to show, one after the other (%(default)s)")
    add("--stride", type=positive, default=1, metavar="N", help="distance between frames (%(default)s)")
    add("--start", type=not_negative, default=0, metavar="FRAME", help="the first frame (%(default)s)")
    add_output(add)


def run(args: argparse.Namespace) -> None:
    """Make the masks as the arguments say, and write the pictures."""
    options = {name: getattr(args, name) for name in ("camera", "close") if getattr(args, name) is not None}
    if args.method == "video" and options:
        raise ValueError(f"--{next(iter(options))}: expected with --method motion only")
    require("av")
    videos = list_videos(args.videos or demo_videos())
    targets = _targets(args.out, videos)
    for target in targets.values():
        check_new(args, target.parent, [escape(path.name) for path in (target, target.with_suffix(".png"))])
    file = told(args)
    try_writing(next(iter(targets.values())).parent, megabytes=1 + len(videos))
    named = dict(zip(targets, videos, strict=True))
    for _, name, frames in usable(named, lambda _, video: _read(video, args), progress=False):
        target = targets[name]
        make = from_motion if args.method == "motion" else from_video
        clips = torch.from_numpy(frames).permute(3, 0, 1, 2).split(args.clip_frames, dim=1)  # (3, T, H, W)
        mask = torch.cat([make(clip[None], window=args.window, **options)[0] for clip in clips]).numpy()
        shown = show_masks(frames, mask)
        still = target.with_suffix(".png")
        try:
            write_video(target, shown)
            write_picture(still, _stills(shown))
        except OSError as error:
            raise RunError(str(error)) from error
        print(f"{Path(named[name].origin).name}: {len(frames)} frames, {100 * mask.mean():.0f} % static", file=file)
        print(f"wrote {target}\nwrote {still}", file=file)


def show_masks(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return frames with their mask over them, beside the frames themselves.

    Args:
        frames: uint8 (T, H, W, 3) RGB.
        mask: (T, H, W) from 0 to 1, where 1 is static and made dim; the line is drawn where it crosses a half.

    Returns:
        uint8 (T, height, 2 * width, 3) RGB, enlarged by a whole number to sides that are even.

    >>> show_masks(np.full((2, 4, 6, 3), 200, np.uint8), np.ones((2, 4, 6)))[0, 0, [0, -1], 0]
    array([200,  60], dtype=uint8)
    """
    frames, mask = enlarge(frames), enlarge(mask)
    dynamic = torch.from_numpy(mask < 0.5).float()
    around = functional.max_pool2d(dynamic, 5, stride=1, padding=2)
    dimmed = np.round(frames * (1 - (1 - _DIM) * mask[..., None])).astype(np.uint8)
    dimmed[(around > dynamic).numpy()] = _OUTLINE
    return np.concatenate([frames, dimmed], axis=2)


def _targets(out: Path, videos: Sequence[Video]) -> dict[str, Path]:
    """Return the file to write for each video, by its name."""
    suffix = out.suffix.lower()
    if suffix in _NOT_WRITTEN or (suffix == ".mp4" and len(videos) > 1):
        expected = f"a folder for {len(videos)} videos" if len(videos) > 1 else "a folder or a file.mp4"
        raise ValueError(f"--out: expected {expected}, got {out}")
    targets = {name: out if suffix == ".mp4" else out / f"{name}.mp4" for name in unlike_names(videos)}
    keep_apart([*targets.values()], videos)
    return targets


def _read(video: Video, args: argparse.Namespace) -> np.ndarray:
    """Return the frames to show, uint8 (T, H, W, 3), their shorter side as asked for."""
    frames = video.open()
    if args.start >= frames.count:
        raise ValueError(f"--start: expected a frame from 0 to {frames.count - 1} of {video}, got {args.start}")
    end = min(args.start + args.clips * args.clip_frames * args.stride, frames.count)
    return read_frames(frames, np.arange(args.start, end, args.stride), args.size)


def _stills(frames: np.ndarray) -> np.ndarray:
    """Return a few frames below each other, evenly apart."""
    return np.concatenate(frames[evenly(len(frames), _STILLS)])
