"""Videos as users have them: files, folders, patterns, lists in text files, and rows of data sets."""

import csv
import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdfast.foundation import StrPath
from sdfast.pairs.finding import SUFFIXES, is_video, walk
from sdfast.pairs.frames import is_image, natural
from sdfast.pairs.sources import COLUMNS, FrameFolder, Part, Row, Video, at_path
from sdfast.pairs.video import VideoError

LISTS = frozenset((".txt", ".csv", ".tsv"))
_PATHS = ("path", "video", "file", "filename")
# What a list without a first line of names has, by how much there is in a line.
_UNNAMED = {1: ("path",), 2: ("path", "label"), 4: ("path", "start", "end", "label")}


def list_videos(videos: Any) -> list[Video]:
    """Return the videos that a user means.

    Args:
        videos: a video file; a folder, with video files, or else folders of frames, at any depth; a pattern such as
            `videos/*/clip_?.mp4` or `videos/**/img_*.jpg`; a list of paths in a file (.txt, .csv, .tsv), a path a
            line, or `path label`, or `path start end label`, or as its first line names the columns (frame numbers,
            `end` not included; relative to the folder of the list or to the working directory); rows of a data set,
            see `Row`; a `Video`; or several of these. Of several paths those that are missing are skipped later, as
            damaged ones are, unless all are.

    Raises:
        VideoError: a path does not exist, a pattern matches nothing, a folder has no video in it, or a list is wrong.
        ValueError: rows of several splits, or without a video.

    >>> list_videos("no/such/*.mp4")
    Traceback (most recent call last):
    sdfast.pairs.video.VideoError: no/such/*.mp4: matches no file
    """
    if isinstance(videos, Video):
        return [videos]
    if isinstance(videos, (str, os.PathLike)):
        return _at(videos)
    if isinstance(videos, Mapping):
        raise ValueError(f"videos: expected rows or paths, got a mapping of {', '.join(map(str, videos))}; give one")
    if hasattr(videos, "__getitem__") and hasattr(videos, "__len__") and not isinstance(videos, (list, tuple)):
        return _rows(videos)
    return _several(list(videos))


def _several(items: list[Any]) -> list[Video]:
    rows = [item if isinstance(item, Mapping) else {"video": item} for item in items]
    found, missing = [], []
    for number, item in enumerate(items):
        if isinstance(item, Video):
            found.append(item)
        elif not isinstance(item, (str, os.PathLike)):
            found.append(Row(rows, number))
        elif os.path.lexists(item) or glob.has_magic(os.fspath(item)):
            found += _at(item)
        else:
            missing.append(item)
            found.append(at_path(item))  # its turn is the time to warn of it
    if missing and len(missing) == len(found):
        return _at(missing[0])
    return found


def _rows(rows: Any) -> list[Video]:
    columns = getattr(rows, "column_names", None)
    if columns is None:
        first = rows[0] if len(rows) else {}
        if not isinstance(first, Mapping):
            raise ValueError(f"videos: expected paths or rows that are mappings, got {type(rows).__name__}")
        columns = list(first)
    if len(rows) and not set(COLUMNS) & set(columns):
        raise ValueError(f"videos: expected rows with one of {', '.join(COLUMNS)}, got {', '.join(map(str, columns))}")
    return [Row(rows, number) for number in range(len(rows))]


def _at(path: StrPath) -> list[Video]:
    """Return what is at a path or matches a pattern."""
    text = os.fspath(path)
    if os.path.isdir(text):
        return _in_folder(text)
    if os.path.lexists(text):
        return _in_list(Path(text)) if Path(text).suffix.lower() in LISTS else [at_path(text)]
    if not glob.has_magic(text):
        raise VideoError(f"{text}: no such file or folder")
    matches = sorted(glob.glob(text, recursive=True), key=natural)
    if not matches:
        raise VideoError(f"{text}: matches no file")
    files = [match for match in matches if not os.path.isdir(match)]
    videos = [match for match in files if is_video(os.path.basename(match))]
    images: dict[str, list[str]] = {}
    for match in () if videos else filter(is_image, files):  # images beside videos are thumbnails
        images.setdefault(os.path.dirname(match), []).append(os.path.basename(match))
    found = [video for match in matches if os.path.isdir(match) for video in _in_folder(match, required=False)]
    found += map(at_path, videos)
    found += [FrameFolder(folder, tuple(names)) for folder, names in images.items()]
    found = found or [at_path(match) for match in files]  # of suffixes that nobody knows
    if not found:
        raise VideoError(f"{text}: matches folders without a video")
    return found


def _in_folder(folder: str, required: bool = True) -> list[Video]:
    """Return the video files below a folder, or else its folders of frames: images beside videos are thumbnails."""
    files, folders = [], []
    for inside, names in walk(folder):
        files += [Path(inside, name) for name in names if is_video(name)]
        if any(map(is_image, names)):
            folders.append(Path(inside))
    if required and not files and not folders:
        raise VideoError(f"{folder}: no video in this folder (looked for {', '.join(SUFFIXES)} and folders of frames)")
    return [at_path(path) for path in sorted(files or folders)]


def _in_list(path: Path) -> list[Video]:
    """Return the videos that a file lists."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise ValueError("it has bytes of zero")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        if not lines:
            raise VideoError(f"{path}: lists no video")
        separator = next((mark for mark in "\t," if mark in lines[0]), " ")
        rows = [_split(path.parent, line, separator) for line in lines]
    except VideoError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise VideoError(f"{path}: cannot be read as a list of videos: {error}") from error
    head = [name.strip().lower() for name in rows[0]]
    names: Sequence[str]
    if set(head) & set(_PATHS):
        names = ["path" if name in _PATHS else name for name in head]
        unclear = [name for name in names if re.search("start|end|time|frame|sec", name) and name not in _UNNAMED[4]]
        if unclear:
            raise VideoError(f"{path}: column {unclear[0]}: expected start and end, which are frame numbers")
        rows = rows[1:]
    else:
        if len(rows[0]) not in _UNNAMED:
            raise VideoError(
                f"{path}: expected a path a line, `path label` or `path start end label`, or names of the columns in "
                f"the first line, got {len(rows[0])} columns"
            )
        names = _UNNAMED[len(rows[0])]
    return [_listed(path, row, names) for row in rows]


def _split(folder: Path, line: str, separator: str) -> list[str]:
    """Return the columns of a line; a line that is the name of a file, with spaces in it, has one."""
    if separator == " ":
        line = line.strip()
        if os.path.exists(_found(folder, line)):
            return [line]
    row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    return [cell.strip() for cell in row]


def _listed(path: Path, row: list[str], names: Sequence[str]) -> Video:
    if len(row) != len(names):
        raise VideoError(f"{path}: expected {len(names)} columns in every line ({', '.join(names)}), got {row}")
    cells = dict(zip(names, row, strict=True))
    video = at_path(_found(path.parent, cells["path"]), cells.get("label") or None)
    start, end = (_frame(path, name, cells.get(name)) for name in ("start", "end"))
    return video if start is None and end is None else Part(video, start or 0, end)


def _found(folder: Path, name: str) -> str:
    """Return the path of a listed video: relative to the folder of the list or, where only that is there, to here."""
    beside = os.path.join(folder, name)
    return name if os.path.exists(name) and not os.path.exists(beside) else beside


def _frame(path: Path, name: str, cell: str | None) -> int | None:
    if not cell:
        return None
    if not cell.isdecimal() or len(cell) > 18:
        raise VideoError(f"{path}: {name}: expected the number of a frame, got {cell[:40]}")
    return int(cell)
