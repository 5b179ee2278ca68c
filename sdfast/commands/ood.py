"""`sdfast ood`: evaluation sets of videos, as videos to be looked at before a model is judged by such sets."""

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
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
    write_video,
)
from sdfast.commands.errors import RunError
from sdfast.commands.machine import try_writing
from sdfast.commands.masks import show_masks
from sdfast.commands.output import add_output, check_new, told
from sdfast.dropout import CAMERAS, from_motion, from_video
from sdfast.foundation import map_npy, opencv, require, write_atomically
from sdfast.pairs import Video, VideoError, demo_videos, list_videos, ood

if TYPE_CHECKING:
    import matplotlib.figure

_COLUMNS = 4  # frames of each set in the picture of a video
_GREY = torch.full((3,), 128.0)  # behind a foreground alone
_PICTURES = (".bmp", ".jpg", ".jpeg", ".png")


class Clip(NamedTuple):
    """A clip (1, 3, T, H, W) uint8 and its static mask (1, T, H, W)."""

    video: Tensor
    mask: Tensor


def _scufo(clip: Clip, _: Clip, background: Tensor, generator: Generator) -> Tensor:
    return ood.scufo(ood.scuba(*clip, background), generator=generator)


# What makes each set from a clip, one of another video, a background (1, 3, H, W) and what draws.
SETS: dict[str, Callable[[Clip, Clip, Tensor, Generator], Tensor]] = {
    "scuba": lambda clip, _, background, __: ood.scuba(*clip, background),
    "scufo": _scufo,
    "conflicting": lambda clip, other, background, draws: ood.conflicting(*clip, background, *other, generator=draws),
    "action_swap": lambda clip, other, *_: ood.action_swap(*clip, *other),
    "foreground_only": lambda clip, _, __, ___: ood.foreground_only(*clip, _GREY),
    "background_only": lambda clip, *_: ood.background_only(*clip),
    "appearance_free": lambda clip, _, __, draws: ood.appearance_free(clip.video, generator=draws),
}
WITH_ANOTHER = ("conflicting", "action_swap")


def register(subparsers: Subparsers) -> None:
    """Add `ood` to the subcommands."""
    command = subparsers.add_parser(
        "ood",
        help="write evaluation sets of videos, in which the background misleads or is gone",
        description="Make the evaluation sets of sdfast.pairs.ood from a clip of each video, and write each set to a "
        "folder of its name: the motion over stripes (scuba), one frame of that repeated (scufo), with another video's "
        "foreground standing in it (conflicting), over another video's background (action_swap), what moves and what "
        "does not alone (foreground_only, background_only), and noise that moves likewise (appearance_free). Beside "
        "them a picture of each video. To be looked at: for tests, make the sets from your clips in Python.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--videos", nargs="+", metavar="PATH", help=VIDEOS_HELP)
    add("--masks", default="motion", metavar="motion|video|FOLDER",
        help="masks.from_motion, masks.from_video, or a folder with a NAME.npy for each NAME.mp4, (T, H, W) from 0 to "
        "1 where static, or a folder NAME of pictures, one a frame, black where static (%(default)s)")  # fmt: skip
    add("--camera", choices=CAMERAS, help="of --masks motion: whether to follow one that pans (still)")
    add("--close", type=positive, metavar="PIXELS", help="of --masks motion: about the width of what moves, odd (9)")
    add("--sets", nargs="+", choices=list(SETS), default=list(SETS), metavar="SET",
        help=f"some of {', '.join(SETS)} (all)")  # fmt: skip
    add("--size", type=positive, default=112, metavar="PIXELS", help="shorter side of the clips (%(default)s)")
    add("--clip-frames", type=positive, default=32, metavar="T", help="frames of a clip (%(default)s)")
    add("--stride", type=positive, default=1, metavar="N", help="distance between frames (%(default)s)")
    add("--start", type=not_negative, metavar="FRAME", help="the first frame (default: the clip is in the middle)")
    add("--seed", type=not_negative, default=0, metavar="N", help="draws stripes, frames and noise (%(default)s)")
    add("--out", type=Path, default=Path("sdfast-ood"), metavar="FOLDER", help="for the results (%(default)s)")
    add_output(add)


def run(args: argparse.Namespace) -> None:
    """Make the sets as the arguments say, and write them."""
    given = [name for name in ("camera", "close") if getattr(args, name) is not None]
    if given and args.masks != "motion":
        raise ValueError(f"--{given[0]}: expected with --masks motion only")
    if args.masks not in ("motion", "video") and not Path(args.masks).is_dir():
        raise ValueError(f"--masks: expected motion, video or a folder, got {args.masks}")
    for package in ("av", "cv2"):
        require(package)
    videos = list_videos(args.videos or demo_videos())
    names = unlike_names(videos)
    files = [f"{chosen}/{name}.mp4" for chosen in args.sets for name in names] + [f"{name}.png" for name in names]
    keep_apart([args.out / file for file in files], videos)
    check_new(args, args.out, map(escape, files))
    try_writing(args.out, megabytes=1 + 4 * len(videos))
    try:
        said = list(_write_all(dict(zip(names, videos, strict=True)), args))
    except OSError as error:
        raise RunError(str(error)) from error
    written = [chosen for chosen in args.sets if len(said) > 1 or chosen not in WITH_ANOTHER]
    print(*said, *(f"wrote {args.out / chosen}" for chosen in written), sep="\n", file=told(args))


def _write_all(videos: dict[str, Video], args: argparse.Namespace) -> Iterator[str]:
    """Write the sets of all videos, each beside the next one that can be used; say something of each."""
    first: Clip | None = None
    last: tuple[int, str, Clip] | None = None
    for number, name, clip in usable(videos, lambda name, video: _read(name, video, args), not args.quiet):
        if last is not None:
            _write(*last, clip, args)
        last = number, name, clip
        first = first or clip
        static = f"{100 * clip.mask.float().mean().item():.0f} % static"
        file = Path(videos[name].origin).name
        yield f"{file}: {clip.video.shape[2]} frames, {static}, shown in {args.out / name}.png"
    if last is not None:
        _write(*last, None if last[-1] is first else first, args)


def _read(name: str, video: Video, args: argparse.Namespace) -> Clip:
    frames = video.open()
    span = (args.clip_frames - 1) * args.stride + 1
    start = max(0, frames.count - span) // 2 if args.start is None else args.start
    numbers = np.arange(start, min(start + span, frames.count), args.stride)
    if len(numbers) < 2:
        raise VideoError(f"{video}: expected two frames or more from frame {start} on, it has {frames.count} in all")
    clip = torch.from_numpy(read_frames(frames, numbers, args.size)).permute(3, 0, 1, 2).unsqueeze(0)
    if args.masks == "motion":
        options = {key: value for key in ("camera", "close") if (value := getattr(args, key)) is not None}
        return Clip(clip, from_motion(clip, **options))
    if args.masks == "video":
        return Clip(clip, from_video(clip))
    mask = torch.from_numpy(_stored_mask(Path(args.masks), name, numbers, frames.count))
    return Clip(clip, functional.interpolate(mask.unsqueeze(0), clip.shape[-2:], mode="nearest-exact"))


def _stored_mask(folder: Path, name: str, numbers: np.ndarray, count: int) -> np.ndarray:
    """Return frames (T, H, W) float32 of a static mask that somebody has made."""
    array, pictures = folder / f"{name}.npy", folder / name
    if array.is_file():
        try:
            mask = map_npy(array)
        except (OSError, ValueError) as error:
            raise VideoError(f"{array}: cannot be read: {error}") from error
        if mask.ndim != 3 or len(mask) != count:
            raise VideoError(f"{array}: expected ({count}, H, W), a mask for each frame, got {mask.shape}")
        return np.asarray(mask[numbers], np.float32)
    if not pictures.is_dir():
        raise VideoError(f"{name}: there is neither {array} nor a folder {pictures}")
    files = sorted(path for path in pictures.iterdir() if path.suffix.lower() in _PICTURES)
    if len(files) != count:
        raise VideoError(f"{pictures}: expected {count} pictures, one a frame, got {len(files)}")
    with opencv() as cv2:
        read = [cv2.imread(str(files[number]), cv2.IMREAD_GRAYSCALE) for number in numbers]
    if any(picture is None or picture.shape != read[0].shape for picture in read):
        raise VideoError(f"{pictures}: expected pictures of one size")
    return np.stack([picture == 0 for picture in read]).astype(np.float32)


def _write(number: int, name: str, clip: Clip, other: Clip | None, args: argparse.Namespace) -> None:
    """Write the sets of a clip and their picture; without another clip, those that need none."""
    height, width = size = clip.video.shape[-2:]
    draws = Generator().manual_seed(args.seed * 2**32 + number)
    background = ood.stripes(1, (height, width), generator=draws)
    shown = {"video": _frames(clip.video), "mask": _masked(clip)}
    for chosen in args.sets:
        if other is None and chosen in WITH_ANOTHER:
            warnings.warn(f"{name}: no {chosen}, which needs another video", stacklevel=2)
            continue
        fitting = clip if other is None else _covering(other, size)
        shown[chosen] = _frames(SETS[chosen](clip, fitting, background, draws.clone_state()))
        (args.out / chosen).mkdir(exist_ok=True)
        write_video(args.out / chosen / f"{name}.mp4", enlarge(shown[chosen]))
    write_atomically(args.out / f"{name}.png", _sheet(shown).savefig)


def _masked(clip: Clip) -> np.ndarray:
    """Return the frames of a clip, dim where they are static."""
    both = show_masks(_frames(clip.video), clip.mask[0].float().numpy())
    return both[:, :, both.shape[2] // 2 :]


def _frames(video: Tensor) -> np.ndarray:
    """Return a video (1, 3, T, H, W) as frames (T, H, W, 3)."""
    return video[0].permute(1, 2, 3, 0).numpy()


def _covering(clip: Clip, size: Sequence[int]) -> Clip:
    """Return a clip scaled and cropped to another height and width."""
    scale = max(wanted / length for wanted, length in zip(size, clip.video.shape[-2:], strict=True))
    scaled = [max(wanted, round(scale * length)) for wanted, length in zip(size, clip.video.shape[-2:], strict=True)]
    top, left = ((length - wanted) // 2 for length, wanted in zip(scaled, size, strict=True))
    video = functional.interpolate(clip.video[0].transpose(0, 1).float(), scaled, mode="bilinear", antialias=True)
    video = video.transpose(0, 1).unsqueeze(0).round().clamp(0, 255).byte()
    mask = functional.interpolate(clip.mask.float(), scaled, mode="nearest-exact")
    return Clip(*(part[..., top : top + size[0], left : left + size[1]] for part in (video, mask)))


def _sheet(shown: dict[str, np.ndarray]) -> "matplotlib.figure.Figure":
    """Draw a row of frames for each set."""
    from matplotlib.figure import Figure

    height, width = shown["video"].shape[1:3]
    across = 1.6 * (width / height) ** 0.5
    figure = Figure(figsize=(1.3 + _COLUMNS * across, len(shown) * across * height / width), dpi=100)
    panels = figure.subplots(len(shown), _COLUMNS, squeeze=False)
    for line, (name, frames) in zip(panels, shown.items(), strict=True):
        line[0].set_ylabel(name.replace("_", " "), rotation=0, ha="right", va="center", fontsize=9)
        for axes, number in zip(line, evenly(len(frames), _COLUMNS), strict=False):
            axes.imshow(frames[number])
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.subplots_adjust(1.2 / figure.get_figwidth(), 0.005, 0.995, 0.995, 0.03, 0.03)
    return figure
