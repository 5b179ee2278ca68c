"""Static masks from motion alone: what changes from frame to frame, and the regions that this outlines."""

import torch
from torch import Tensor
from torch.nn import functional

from sdfast.dropout.camera import find_pans, move
from sdfast.dropout.masks import check_odd
from sdfast.foundation import check_integer
from sdfast.ops import check_video

CAMERAS = ("still", "moving")
_BINS = 64
_FLICKER = 0.1  # of a clip's spread: what compression changes at its keyframes
_MEDIAN = 0.6745  # of the absolute value of a normal variable of standard deviation 1


def from_motion(video: Tensor, *, window: int = 3, close: int = 9, camera: str = "still", soft: int = 0) -> Tensor:
    """Return 1 where nothing moves, judged by what changes from each frame to the next.

    The larger of a pixel's mean squared changes, from the frame before and to the one after, is averaged over a window;
    where the root of it lies above a threshold, one a clip by Otsu's method, something moves. What lies between edges
    that move is closed. This needs no background: a camera may pan by half a pixel a frame, and slow things are seen.

    Otsu's method would part noise in two, as well. Let s be the standard deviation of the noise in a change, told from
    motion by the median of how changes change. The threshold is at least (1 + 3 / window) s, and a tenth of the
    clip's standard deviation, below which lies what compression does. Where nothing exceeds (1.7 + 4 / window) s, which
    is as far as noise alone reaches, nothing moves. To that a picture that changes fast all over looks like noise, and
    beside a cut within the clip all other motion is small.

    Args:
        video: (N, C, T, H, W), any real number type, read as float32.
        window: width in pixels, odd, over which changes are averaged against noise; 1 for none.
        close: width in pixels, odd, of the square that closes gaps, about that of what moves; 1 for none. What lies
            outside of the frame does not count.
        camera: "still", or "moving" for one that pans faster: frames are laid upon each other first. It follows pans of
            up to about a twentieth of the shorter side a frame. Turning, zooming, cuts, and what is nearer or further
            than the most of the picture remain motion; along stripes and over flat surfaces nothing tells the pan.
            What comes in at an edge has nothing to be compared with, and is static.
        soft: pixels over which the edges of the mask fade, to either side; 0 for a mask of 0 and 1.

    Returns:
        (N, T, H, W) float32 in [0, 1]. A single frame is static; a clip with NaN or Inf is NaN everywhere.

    Raises:
        ValueError: the shape is another, empty or looks like (N, T, C, H, W), window or close is not odd, camera is
            unknown, or soft is no integer from 0 on.
        TypeError: video is no tensor of real numbers.

    Source: Otsu, A threshold selection method from gray-level histograms, 1979, of differences between frames, which
    Ding et al., Motion-aware contrastive video representation learning, 2022 (FAME), take for the foreground, too.

    >>> import torch
    >>> video = torch.zeros(1, 1, 3, 1, 7)
    >>> video[0, 0, 1, 0, 2] = video[0, 0, 1, 0, 4] = 1.0
    >>> from_motion(video, window=1, close=3)[0, 1]
    tensor([[1., 1., 0., 0., 0., 1., 1.]])
    """
    check_video(video)
    if video.is_complex():
        raise TypeError(f"video: expected real numbers, got {video.dtype}")
    if 0 in video.shape[1:]:
        raise ValueError(f"video: expected no empty dimension, got shape {tuple(video.shape)}")
    check_odd("window", window)
    check_odd("close", close)
    if camera not in CAMERAS:
        raise ValueError(f"camera: expected one of {', '.join(CAMERAS)}, got {camera!r}")
    check_integer("soft", soft, 0)
    frames, video = video.shape[2], video.float()
    if frames == 1:
        video = video.expand(-1, -1, 2, -1, -1)  # nothing moves from a frame to itself
    change, before, after = _changes(video) if camera == "still" else _changes_of_a_pan(video)
    larger = torch.cat([after[:, :1], torch.maximum(before[:, :-1], after[:, 1:]), before[:, -1:]], dim=1)
    motion = _average(larger, window).sqrt()  # (N, T, H, W)
    least, greatest = motion.flatten(1).aminmax(dim=1)
    noise = _noise(change)
    threshold = torch.maximum(_otsu(motion, least, greatest), torch.maximum((1 + 3 / window) * noise, _flicker(video)))
    threshold = torch.where(greatest > (1.7 + 4 / window) * noise, threshold, greatest)
    mask = (~_close(motion > threshold.view(-1, 1, 1, 1), close)).float()
    sound = video.isfinite().flatten(1).all(dim=1) & greatest.isfinite()
    return torch.where(sound.view(-1, 1, 1, 1), _average(mask, 2 * soft + 1), torch.nan)[:, :frames]


def _changes(video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return changes (N, C, T - 1, H, W), and their mean squares (N, T - 1, H, W) twice.

    As the later and as the earlier frame sees them, which is the same with a still camera.
    """
    change = video.diff(dim=2)
    energy = change.square().mean(dim=1)
    return change, energy, energy


def _changes_of_a_pan(video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same of frames that meet half-way, so that reading between pixels blurs both alike."""
    frames = video.transpose(1, 2)  # (N, T, C, H, W)
    half = find_pans(video).flatten(0, 1) / 2
    first, inside_first = move(frames[:, :-1].flatten(0, 1), -half)
    second, inside_second = move(frames[:, 1:].flatten(0, 1), half)
    change = torch.where(inside_first & inside_second, second - first, 0.0)
    energy = change.square().mean(dim=1, keepdim=True)
    before, after = (move(energy, way)[0].view(frames[:, 1:, 0].shape) for way in (-half, half))
    return change.view(frames[:, 1:].shape).transpose(1, 2), before, after


def _noise(change: Tensor) -> Tensor:
    """Return the standard deviation (N,) of the noise in changes, from every other pixel of every other row.

    Slow motion changes steadily and hardly tells in the difference of two changes, where noise has three times the
    variance of one.
    """
    change = change[..., ::2, ::2]
    if change.shape[2] > 1:
        change = change.diff(dim=2) / 3**0.5
    return change.abs().flatten(1).median(dim=1).values / _MEDIAN


def _flicker(video: Tensor) -> Tensor:
    sparse = video[..., ::2, ::2].flatten(2)
    return _FLICKER * (sparse - sparse.mean(dim=2, keepdim=True)).square().mean(dim=2).sqrt().mean(dim=1)


def _otsu(values: Tensor, least: Tensor, greatest: Tensor) -> Tensor:
    """Return the edge of bins (N,) that parts the values of each clip with the most variance between both parts."""
    low, span = (bound.view(-1, 1, 1, 1) for bound in (least, greatest - least))
    bins = ((values - low) / span * _BINS).long().clamp_(0, _BINS - 1).flatten(1)  # what is NaN gets any bin
    one = torch.ones((), dtype=torch.int64, device=values.device)
    counts = torch.zeros(len(values), _BINS, dtype=torch.int64, device=values.device)
    counts = counts.scatter_add_(1, bins, one.expand_as(bins)).double()
    below, sums = counts.cumsum(1), (counts * torch.arange(_BINS, device=values.device)).cumsum(1)
    number, total = below[:, -1:], sums[:, -1:]
    variance = (total * below - number * sums).square() / (below * (number - below))
    return least + (variance[:, :-1].argmax(1) + 1) / _BINS * (greatest - least)


def _average(values: Tensor, window: int) -> Tensor:
    """Average (N, T, H, W) over a square around each position; what lies outside of the frame does not count.

    Slices are added, one dimension after the other, which takes a tenth of the time of `avg_pool2d` on the CPU.
    """
    for dim in (-1, -2) if window > 1 else ():
        length = values.shape[dim]
        first = torch.arange(length, device=values.device) - window // 2
        number = (first + window).clamp(max=length) - first.clamp(min=0)  # positions inside of the frame
        padded = _pad(values, window // 2, dim)
        total = padded.narrow(dim, 0, length).clone()
        for start in range(1, window):
            total += padded.narrow(dim, start, length)
        values = total / (number if dim == -1 else number[:, None])
    return values


def _close(region: Tensor, width: int) -> Tensor:
    """Return (..., H, W) bool with its gaps closed: grown by a square, then shrunk by the same."""
    return ~_grow(~_grow(region, width), width)


def _grow(region: Tensor, width: int) -> Tensor:
    """Return whether anything of (..., H, W) bool lies within a square around each position.

    One dimension after the other, and in each by steps that double: four reach over 9 pixels.
    """
    for dim in (-1, -2):
        region, reach = _pad(region, width // 2, dim), 1
        while reach < width:
            step = min(reach, width - reach)
            length = region.shape[dim] - step
            region = region.narrow(dim, 0, length) | region.narrow(dim, step, length)
            reach += step
    return region


def _pad(values: Tensor, pixels: int, dim: int) -> Tensor:
    """Return values with zeros on both sides of the last dimension or of the one before."""
    return functional.pad(values, (pixels, pixels) if dim == -1 else (0, 0, pixels, pixels))
