"""Appearance styles: change how every frame of a clip looks, and leave where things are.

A style is a function (frames, rng) -> frames over uint8 (T, H, W, 3) RGB. It draws its strengths once a clip, so
that all frames share one appearance; without an rng it has its middle strength. `STYLES` is the registry: add a
function to it and its name works everywhere. Styles run at the size of the frames that the model sees, and lengths
scale with it, so that small frames cost little. Three of them look like those of OpenCV's photo module, which takes
several times as long: their smoothing is compiled here, for all frames of a clip at once.
"""

import difflib
from collections.abc import Callable, Iterable

import numpy as np

from sdfast.backends import load
from sdfast.foundation import opencv, require

Style = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]


def stylization(frames: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Paint with water colours: flat regions, dark edges, as `cv2.stylization` does."""
    cv2 = require("cv2")
    reach, contrast = _reach(frames) * _strength(rng, 0.5, 1.5), _strength(rng, 0.2, 0.7)
    styled = np.empty_like(frames)
    for smooth, out in zip(load("cpu").edge_preserving(frames, reach, contrast, False), styled, strict=True):
        slopes = (cv2.Sobel(smooth, cv2.CV_32F, *axes, ksize=3).reshape(len(smooth), -1) for axes in ((1, 0), (0, 1)))
        edges = cv2.transform(cv2.magnitude(*slopes).reshape(smooth.shape), np.full((1, 3), 1 / 255, np.float32))
        out[:] = _to_bytes(smooth * (1 - edges)[..., None])
    return styled


def pencil(frames: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draw with colour pencils on white paper, as `cv2.pencilSketch` does: the less around is alike, the darker."""
    cv2 = require("cv2")
    reach, contrast = _reach(frames) * _strength(rng, 0.5, 1.5), _strength(rng, 0.04, 0.2)
    shade = _strength(rng, 0.02, 0.08)
    colours = cv2.cvtColor(_tall(frames).astype(np.float32), cv2.COLOR_RGB2YCrCb)
    colours[..., 0] = 255 * shade * load("cpu").alike_widths(frames, reach, contrast).reshape(colours.shape[:2])
    return _to_bytes(cv2.cvtColor(colours, cv2.COLOR_YCrCb2RGB)).reshape(frames.shape)


def colormap(frames: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Replace colours by those of a map of the brightness (`cv2.applyColorMap`), over a remnant of the old ones."""
    cv2 = require("cv2")
    maps = (
        cv2.COLORMAP_JET,
        cv2.COLORMAP_OCEAN,
        cv2.COLORMAP_HOT,
        cv2.COLORMAP_COOL,
        cv2.COLORMAP_VIRIDIS,
        cv2.COLORMAP_MAGMA,
        cv2.COLORMAP_PINK,
    )
    chosen = maps[0 if rng is None else rng.integers(len(maps))]
    share = _strength(rng, 0.6, 1.0)
    tall = _tall(frames)
    mapped = cv2.applyColorMap(cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY), chosen)
    mapped = cv2.cvtColor(mapped, cv2.COLOR_BGR2RGB)
    mixed: np.ndarray = cv2.addWeighted(mapped, share, tall, 1 - share, 0)
    return mixed.reshape(frames.shape)


def poster(frames: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Print in few flat colours: edges kept, texture smoothed as by `cv2.edgePreservingFilter`, levels quantised."""
    cv2 = require("cv2")
    reach, contrast = _reach(frames) * _strength(rng, 0.5, 1.5), _strength(rng, 0.3, 0.9)
    levels, gamma = _strength(rng, 2.5, 5.5), _strength(rng, 0.6, 1.4)
    tones = np.round(np.linspace(0, 1, 256) ** gamma * levels) / levels
    table = np.clip(np.round(255 * tones), 0, 255).astype(np.uint8)
    smooth = _to_bytes(_tall(load("cpu").edge_preserving(frames, reach, contrast, True)))
    printed: np.ndarray = cv2.LUT(smooth, table)
    return printed.reshape(frames.shape)


STYLES: dict[str, Style] = {"stylization": stylization, "pencil": pencil, "colormap": colormap, "poster": poster}
# Other pictures of the same styles are other pairs: to be raised with every change that can be seen.
STYLE_VERSION = 2
DEFAULT_STYLES = ("stylization", "pencil", "colormap", "poster")


def check_styles(names: Iterable[str]) -> tuple[str, ...]:
    """Check the names of styles and return them.

    Raises:
        ValueError: there is none, a name is unknown (near names are listed), or one comes twice.

    >>> check_styles(["pencil", "poster"])
    ('pencil', 'poster')
    >>> check_styles(["pencl"])
    Traceback (most recent call last):
    ValueError: styles: no style 'pencl'; did you mean pencil? (known: stylization, pencil, colormap, poster)
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    known = ", ".join(STYLES)
    if not names:
        raise ValueError(f"styles: expected at least one of {known}, got none")
    for name in names:
        if name not in STYLES:
            near = difflib.get_close_matches(str(name), STYLES, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}? (known: {known})" if near else f"known are {known}"
            raise ValueError(f"styles: no style {name!r}; {hint}")
    if len(set(names)) < len(names):
        raise ValueError(f"styles: expected each style once, got {', '.join(names)}")
    return names


def apply_style(name: str, frames: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Restyle a clip; all its frames get the same appearance.

    Args:
        name: a key of `STYLES`.
        frames: uint8 (T, H, W, 3) RGB.
        rng: draws the strengths; None for the middle of each.

    Returns:
        uint8 (T, H, W, 3) RGB, a new array.

    Raises:
        ValueError: the style is unknown, or frames has another shape or dtype.

    >>> frames = np.zeros((2, 27, 48, 3), np.uint8)
    >>> apply_style("colormap", frames)[0, 0, 0]  # black is dark blue in this map
    array([  0,   0, 102], dtype=uint8)
    """
    (name,) = check_styles(name)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames: expected uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
    with opencv():
        return STYLES[name](frames, rng)


def _tall(frames: np.ndarray) -> np.ndarray:
    """Return all frames below each other, as one image: colours know no place."""
    return frames.reshape(-1, *frames.shape[2:])


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """Round an image of numbers from 0 to 255, and cut off what is beyond."""
    rounded: np.ndarray = np.rint(np.clip(image, 0, 255))
    return rounded.astype(np.uint8)


def _reach(frames: np.ndarray) -> float:
    """Return the middle spatial extent of a filter in pixels: an eighth of the longer side."""
    side: int = max(frames.shape[1:3])
    return min(side / 8, 120.0)


def _strength(rng: np.random.Generator | None, low: float, high: float) -> float:
    return (low + high) / 2 if rng is None else float(rng.uniform(low, high))
