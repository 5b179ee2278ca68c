"""Damaged videos: each is read or refused in one line, by a process that has little memory and little time.

python -m tests.damaged_videos --count 10000 --seed 0
"""

import argparse
import functools
import multiprocessing
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdfast.pairs.video import InMemory, VideoError, index_frames, read_clip
from tests.support.limits import limit_memory
from tests.support.videos import write_video

KINDS = (
    ("a.mp4", "libx264"),
    ("b.mp4", "mpeg4"),
    ("a.mkv", "libx264"),
    ("a.webm", "libvpx-vp9"),
    ("a.avi", "mpeg4"),
    ("a.ts", "mpeg2video"),
    ("a.h264", "libx264"),
)
MEGABYTES, SECONDS = 512, 20  # that a batch, and a video of it, may take
BATCH = 100
GOOD = "read", "refused"


@functools.cache
def sound_videos() -> tuple[bytes, ...]:
    """Return the content of small videos, one a kind."""
    frames = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        return tuple(write_video(Path(folder, name), frames, codec, gop=4).read_bytes() for name, codec in KINDS)


def damaged(number: int, seed: int) -> bytes:
    """Return a video that is damaged in one of several ways; the same for the same number and seed."""
    rng = np.random.default_rng((seed, number))
    content = bytearray(sound_videos()[number % len(KINDS)])
    heads = rng.random() < 0.5  # containers say most in their first and last bytes
    for _ in range(1 + rng.poisson(3)):
        at = int(rng.integers(len(content)))
        if heads:
            at = int(rng.integers(min(1500, len(content)))) * (1 if rng.random() < 0.5 else -1) % len(content)
        way, length = rng.integers(6), int(rng.integers(1, 16))
        if way < 2:
            content[at] = int(rng.integers(256))
        elif way == 2:
            content[at] ^= 1 << int(rng.integers(8))
        elif way == 3:  # numbers at their limits
            value = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**24)[rng.integers(6)]
            content[at : at + 4] = value.to_bytes(4, ("big", "little")[rng.integers(2)])
        elif way == 4:
            content[at : at + length] = bytes(length) if length % 2 else content[at // 2 : at // 2 + length]
        elif rng.random() < 0.3:
            del content[at:]
            content = content or bytearray(1)
    return bytes(content)


def read(content: bytes) -> str:
    """Read the first and the last frame; return "read" or "refused", and raise whatever else comes of it."""
    try:
        file = InMemory("damaged", content)
        index = index_frames(file)
        size = (24, 32) if len(content) % 2 else None
        clip = read_clip(file, [0, index.count - 1], size, index)
    except VideoError as error:
        assert str(error) and "\n" not in str(error), error
        return "refused"
    assert clip.dtype == np.uint8 and len(clip) == 2
    return "read"


def check(count: int, seed: int) -> tuple[Counter, list[str]]:
    """Read damaged videos; return how many were read and refused, and what was wrong."""
    sound_videos()
    found, faults, number = Counter(), [], 0
    while number < count:
        for outcome in _outcomes(number, min(number + BATCH, count), seed):
            found[outcome] += outcome in GOOD
            faults += [] if outcome in GOOD else [f"video {number}: {outcome}"]
            number += 1
    return +found, faults


def _outcomes(first: int, last: int, seed: int) -> Iterator[str]:
    """Yield what a process of its own makes of videos with numbers from `first` to `last` - 1, or how it ended."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_read_all, args=(theirs, range(first, last), seed))
    child.start()
    theirs.close()
    for _ in range(first, last):
        try:
            yield ours.recv()
        except EOFError:
            child.join()
            yield f"the process ended with {child.exitcode}"
            break
    child.join()


def _read_all(answers, numbers: range, seed: int) -> None:
    limit_memory(MEGABYTES)
    for number in numbers:
        signal.alarm(SECONDS)
        try:
            answers.send(read(damaged(number, seed)))
        except Exception as error:
            answers.send(f"{type(error).__name__}: {' '.join(str(error).split())}")


def main() -> int:
    """Check as many as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found, faults = check(args.count, args.seed)
    print(f"{args.count} damaged videos: {found['read']} read, {found['refused']} refused, {len(faults)} wrong")
    print(*faults, sep="\n", end="")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
