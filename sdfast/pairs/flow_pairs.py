"""Optical flow as images, and pairs for networks that take frames and flow (video object segmentation)."""

import numpy as np

from sdfast.foundation import opencv
from sdfast.pairs.flow import optical_flow
from sdfast.pairs.video_pairs import VideoPairs
from sdfast.statistics import STATIC

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as colour jitter mixes towards grey


def flow_images(frames: np.ndarray) -> np.ndarray:
    """Render the optical flow of a clip: hue is the direction, saturation the speed.

    Args:
        frames: uint8 (T, H, W, 3) RGB, T at least 2.

    Returns:
        uint8 (T, H, W, 3) RGB: image t shows the motion from frame t to t + 1, the last repeats the one before.
        White is rest, full saturation the fastest point of the clip.

    Raises:
        ValueError: fewer than 2 frames.

    Source: Farnebäck, Two-Frame Motion Estimation Based on Polynomial Expansion, 2003, as OpenCV has it.

    >>> rest = np.zeros((2, 16, 16, 3), np.uint8)
    >>> int(flow_images(rest).min())
    255
    """
    if len(frames) < 2:
        raise ValueError(f"frames: expected at least 2 for optical flow, got {len(frames)}")
    with opencv() as cv2:
        flow = optical_flow(np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]))
        speed = np.linalg.norm(flow, axis=-1)
        hue = np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360
        hsv = np.stack([hue, speed / max(speed.max(), 1e-3), np.ones_like(hue)], axis=-1).astype(np.float32)
        images = np.stack([cv2.cvtColor(image, cv2.COLOR_HSV2RGB) for image in hsv])
    images = np.round(255 * images).astype(np.uint8)
    return np.concatenate([images, images[-1:]])


def jitter_flow(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Destroy what flow images say of motion: change saturation and hue, drawn anew for every frame.

    For each frame h ~ U(0.1, 0.5) and s ~ U(0.1, 1); then the saturation is multiplied by a factor from
    U(1 - s, 1 + s), and the hue turned by a share of the circle from U(-h, h).

    Args:
        images: uint8 (T, H, W, 3) RGB.
        rng: draws the strengths.

    Returns:
        uint8 (T, H, W, 3) RGB.

    Source: Kowal et al., TPAMI 2024, static pairs for segmentation; ColorJitter(0, 0, s, h) of torchvision.

    >>> gray = np.full((2, 4, 4, 3), 128, np.uint8)  # without colour there is nothing to jitter
    >>> bool((jitter_flow(gray, np.random.default_rng(0)) == gray).all())
    True
    """
    jittered = np.empty_like(images)
    with opencv() as cv2:
        for image, out in zip(images, jittered, strict=True):
            most_hue, most_saturation = rng.uniform(0.1, 0.5), rng.uniform(0.1, 1.0)
            saturation = rng.uniform(1 - most_saturation, 1 + most_saturation)
            turn = rng.uniform(-most_hue, most_hue)
            pixels = image.astype(np.float32) / 255
            gray = (pixels @ _GRAY)[..., None]
            hsv = cv2.cvtColor(np.clip(saturation * pixels + (1 - saturation) * gray, 0, 1), cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
            out[:] = np.round(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return jittered


class FlowPairs(VideoPairs):
    """Make pairs of frames with their optical flow, as for two-stream segmentation networks.

    Arguments and items are those of `VideoPairs`, but clips have six channels: RGB, then the flow image; that is
    what `transform` gets. Dynamic: another style, the same flow. Static: the same style, the flow jittered.
    Flow is computed from the frames before they are styled.

    Source: Kowal et al., TPAMI 2024, pairs for video object segmentation.

    >>> from sdfast.pairs import demo_videos
    >>> frames_a, frames_b, *_ = FlowPairs(demo_videos(), num_pairs=2, clip_frames=4, frame_size=(54, 96))[1]
    >>> frames_a.shape, bool((frames_a[..., :3] == frames_b[..., :3]).all())
    ((4, 54, 96, 6), True)
    """

    def _make_pair(self, index: int, source: int) -> tuple[np.ndarray, np.ndarray]:
        clip, rng = self._clip(index // 2, source), self._rng(index)
        flow = flow_images(clip)
        if index % 2 == STATIC:
            (styled,) = self._restyle(clip, rng, 1)
            return np.concatenate([styled, flow], -1), np.concatenate([styled, jitter_flow(flow, rng)], -1)
        styled, restyled = self._restyle(clip, rng, 2)
        return np.concatenate([styled, flow], -1), np.concatenate([restyled, flow], -1)
