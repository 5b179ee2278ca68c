"""Pairs on their way to the model: from a probe set beside decoding them, and styles beside those of OpenCV.

One thread each, as each process of a loader has. All give the same pictures.
"""

import tempfile
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.contest import Candidate, Case, Contest, Run, contend
from benchmarks.device import Device
from benchmarks.plan import Stage
from benchmarks.targets import DECODING, OPENCV
from sdfast.foundation import require
from sdfast.pairs import VideoPairs, demo_videos, read_clip
from sdfast.pairs.styles import STYLES, Style, apply_style

_PAIRS, _FRAMES, _SIZE = 8, 16, (224, 224)  # a pair takes 4.8 MB
# The seed draws each style three times.
_SETTINGS = {"num_pairs": _PAIRS, "clip_frames": _FRAMES, "frame_size": _SIZE, "seed": 8}
_SHAPE = f"({_FRAMES},{_SIZE[0]},{_SIZE[1]},3)"
_ROUNDED = 0.01  # of all bytes may be rounded to the next number


def stages(device: Device) -> Iterator[Stage]:
    """Yield loading and restyling, on the CPU."""
    if device.kind == "cpu":
        yield Stage("probe set", partial(_on_one_thread, _probe_set))
        yield Stage("loader", partial(_on_one_thread, _loader), quick=False)
        yield Stage("restyling", partial(_on_one_thread, _restyling))


def _on_one_thread(hold, run: Run) -> Contest:
    torch.set_num_threads(1)  # the next stage has all again
    return hold(run)


def _video() -> Path:
    return demo_videos()[1]  # 640 x 272 pixels


def _pairs() -> np.ndarray:
    """Decode and restyle, with nothing kept from the time before."""
    return _clips(list(VideoPairs(_video(), **_SETTINGS)))


def _pairs_by_opencv() -> np.ndarray:
    with mock.patch.dict(STYLES, opencv_styles()):
        return _pairs()


def _probe_set(run: Run) -> Contest:
    with tempfile.TemporaryDirectory(prefix="sdfast-probe-") as folder:
        probe = VideoPairs(_video(), **_SETTINGS).materialise(folder, progress=False)
        expected = _pairs().copy()
        ours = Candidate([lambda: _clips(list(probe))], partial(_differing, expected), 0.0)  # to the bit
        decoded = Candidate([_pairs], partial(_differing, expected), 0.0)
        return contend(_case("probe set", f"{_PAIRS} x 2 x {_SHAPE}", ours, {DECODING: decoded}), run)


def _loader(run: Run) -> Contest:
    expected = _pairs_by_opencv().copy()
    ours = Candidate([_pairs], partial(_differing, expected), _ROUNDED)
    theirs = Candidate([_pairs_by_opencv], partial(_differing, expected), _ROUNDED)
    return contend(_case("loader", f"{_PAIRS} x 2 x {_SHAPE}", ours, {OPENCV: theirs}), run)


def _restyling(run: Run) -> Contest:
    clip = read_clip(_video(), np.arange(_FRAMES), _SIZE)
    expected = _styled(clip, opencv_styles())
    ours = Candidate([partial(_styled, clip, {})], partial(_differing, expected), _ROUNDED)
    theirs = Candidate([partial(_styled, clip, opencv_styles())], partial(_differing, expected), _ROUNDED)
    return contend(_case("restyling", f"4 styles x {_SHAPE}", ours, {OPENCV: theirs}), run)


def _case(key: str, shape: str, ours: Candidate, rivals: Mapping[str, Candidate]) -> Case:
    return Case(key, "channel_bias", shape, "uint8", ours, rivals)


def _styled(clip: np.ndarray, others: Mapping[str, Style]) -> np.ndarray:
    with mock.patch.dict(STYLES, others):
        return np.stack([apply_style(name, clip, np.random.default_rng(0)) for name in STYLES])


def _clips(items: list[tuple]) -> np.ndarray:
    """Copy the clips to a batch, in memory that is kept: those of a probe set are not read before."""
    return np.stack([clip for item in items for clip in item[:2]], out=_batch())


@cache
def _batch() -> np.ndarray:
    return np.zeros((2 * _PAIRS, _FRAMES, *_SIZE, 3), np.uint8)


def _differing(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the part of all bytes that are not as expected."""
    return float(np.mean(found != expected))


def opencv_styles() -> dict[str, Style]:
    """Return the styles that OpenCV's photo module has, by their names here, with strengths drawn as here."""
    cv2 = require("cv2")

    def each(frames: np.ndarray, function) -> np.ndarray:
        return np.ascontiguousarray(np.stack([function(f[..., ::-1].copy()) for f in frames])[..., ::-1])

    def reach(frames: np.ndarray, rng: np.random.Generator) -> float:
        return max(frames.shape[1:3]) / 8 * rng.uniform(0.5, 1.5)

    def stylization(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        settings = {"sigma_s": reach(frames, rng), "sigma_r": rng.uniform(0.2, 0.7)}
        return each(frames, lambda frame: cv2.stylization(frame, **settings))

    def pencil(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        settings = {"sigma_s": reach(frames, rng), "sigma_r": rng.uniform(0.04, 0.2)}
        settings["shade_factor"] = rng.uniform(0.02, 0.08)
        return each(frames, lambda frame: cv2.pencilSketch(frame, **settings)[1])

    def poster(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        settings = {"flags": cv2.RECURS_FILTER, "sigma_s": reach(frames, rng), "sigma_r": rng.uniform(0.3, 0.9)}
        levels, gamma = rng.uniform(2.5, 5.5), rng.uniform(0.6, 1.4)
        tones = np.round(np.linspace(0, 1, 256) ** gamma * levels) / levels
        table = np.clip(np.round(255 * tones), 0, 255).astype(np.uint8)
        return table[each(frames, lambda frame: cv2.edgePreservingFilter(frame, **settings))]

    return {"stylization": stylization, "pencil": pencil, "poster": poster}
