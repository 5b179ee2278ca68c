"""Frames that lie in files of their own: which of a folder's images are frames, in which order, and their pixels."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sdfast.foundation import StrPath, opencv
from sdfast.pairs.video import VideoError

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"))


def natural(path: Path | str) -> list[tuple[bool, int | str]]:
    """Sort numbers inside names as numbers: frame_9 before frame_10, style_2 before style_10.

    >>> sorted(["f10.jpg", "f9.jpg", "f1².jpg"], key=natural)
    ['f1².jpg', 'f9.jpg', 'f10.jpg']
    """
    parts = re.split(r"(\d+)", str(path))
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts]


def images_in(names: Iterable[str]) -> list[str]:
    """Return those names that are images and not hidden, in natural order."""
    return sorted((name for name in names if is_image(name)), key=natural)


def is_image(name: str) -> bool:
    """Tell whether a file is an image, by its name."""
    return os.path.splitext(name)[1].lower() in IMAGES and not os.path.basename(name).startswith(".")


def frames_in(folder: StrPath) -> list[str]:
    """Return the names of the frames in a folder: its numbered images, or where there are none, all.

    Raises:
        VideoError: the folder cannot be read, or its images are numbered in several ways, as frames beside their
            flow are.

    >>> frames_in("no/such/folder")
    Traceback (most recent call last):
    sdfast.pairs.video.VideoError: no/such/folder: cannot be read: No such file or directory
    """
    try:
        images = images_in(os.listdir(folder))
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read: {error.strerror}") from error
    kinds = [re.sub(r"\d+", "#", name) for name in images]
    numbered = {kind: count for kind, count in Counter(kinds).items() if "#" in kind and count > 1}
    if len(numbered) > 1:
        several = ", ".join(f"{count} {kind}" for kind, count in sorted(numbered.items()))
        raise VideoError(f"{folder}: expected the frames of one video, got {several}; say which by a pattern")
    return [name for name, kind in zip(images, kinds, strict=True) if kind in numbered] if numbered else images


def read_images(paths: Iterable[StrPath], size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode images, uint8 (T, H, W, 3) RGB, resized to (height, width).

    Raises:
        VideoError: one is missing or no image, or without a size they have several.
    """
    frames = []
    with opencv() as cv2:
        for path in paths:
            try:
                image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
            except (OSError, cv2.error):
                image = None
            if image is None:
                raise VideoError(f"{path}: missing or not an image")
            frames.append(cv2.cvtColor(resized(image, size), cv2.COLOR_BGR2RGB))
            if frames[-1].shape != frames[0].shape:
                raise VideoError(
                    f"{path}: expected the size {frames[0].shape[:2]} of the others, got {image.shape[:2]}"
                )
    return np.stack(frames)


def resized(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return an image (H, W, 3) resized to (height, width); None keeps its size."""
    with opencv() as cv2:
        return image if size is None else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
