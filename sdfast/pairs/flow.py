"""How far every pixel moves from each frame to the next."""

import itertools

import numpy as np

from sdfast.foundation import opencv


def optical_flow(gray: np.ndarray) -> np.ndarray:
    """Estimate the optical flow between the frames of a clip.

    Args:
        gray: uint8 (T, H, W), T at least 2.

    Returns:
        float32 (T - 1, H, W, 2), columns and rows in pixels: what was at p in frame t is at p + flow in frame t + 1.

    Source: Farnebäck, Two-Frame Motion Estimation Based on Polynomial Expansion, 2003, as OpenCV has it.

    >>> rows, columns = np.mgrid[:32, :32]
    >>> frames = [128 + 60 * np.sin(0.5 * rows) + 60 * np.sin(0.5 * (columns - t)) for t in range(2)]
    >>> optical_flow(np.stack(frames).astype(np.uint8))[0, 8:-8, 8:-8].mean((0, 1)).round()
    array([1., 0.], dtype=float32)
    """
    window = max(5, min(15, min(gray.shape[1:]) // 3))
    settings = {"pyr_scale": 0.5, "levels": 3, "winsize": window, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2}
    with opencv() as cv2:
        return np.stack(
            [cv2.calcOpticalFlowFarneback(*two, None, flags=0, **settings) for two in itertools.pairwise(gray)]
        )
