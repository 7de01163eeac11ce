"""Metrics: pure functions over arrays, each with its source. Areas are named once, here.

*Region*: 176 x 144 of the aligned space. *Inner-mouth box*: bounds of the inner lips and 15 % more on every side,
brought to 128 x 64. *Opening*: inner lips, points 13-14, over the eye distance, pose taken out, smoothed over 3 frames.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.align import REGION_SIZE, REGION_X, REGION_Y
from difftalk.composite import INNER_LIPS
from difftalk.motion import correlation_at
from difftalk.mouth import smooth_opening

Array = NDArray[np.float32]

BOX_MARGIN: Final = 0.15
BOX_SIZE: Final = (128, 64)  # px, width and height


def inner_mouth_box(picture: Array, mesh: Array) -> Array:
    """The inner-mouth box (64, 128, 3) of a region picture (144, 176, 3); mesh: (478, 3) aligned."""
    import cv2

    lips = mesh[INNER_LIPS, :2] - np.array([REGION_X[0], REGION_Y[0]])
    low, high = lips.min(0), lips.max(0)
    size = np.maximum(high - low, [8.0, 4.0])
    middle, half = (low + high) / 2, size * (0.5 + BOX_MARGIN)
    scale = np.array(BOX_SIZE) / (2 * half)
    matrix = np.array([[scale[0], 0, (half - middle)[0] * scale[0]], [0, scale[1], (half - middle)[1] * scale[1]]])
    return np.asarray(
        cv2.warpAffine(picture, matrix, BOX_SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def opening_correlation(truth: NDArray[np.floating], generated: NDArray[np.floating], shift: int) -> float:
    """Pearson correlation of two opening curves at 25/s; truth[i] goes with generated[i + shift]."""
    return correlation_at(smooth_opening(truth), smooth_opening(generated), shift)


def opening_spread(truth: NDArray[np.floating], generated: NDArray[np.floating]) -> float:
    """Standard deviation of the generated opening over the true one's."""
    return float(smooth_opening(generated).std() / max(float(smooth_opening(truth).std()), 1e-9))


def gradient_energy(picture: NDArray[np.floating | np.uint8], weight: NDArray[np.floating]) -> float:
    """Mean squared luminance gradient of (h, w, 3) where weight (h, w) is."""
    grey = picture.astype(np.float64).mean(2)
    energy = np.diff(grey, axis=0)[:, :-1] ** 2 + np.diff(grey, axis=1)[:-1] ** 2
    w = weight[:-1, :-1]
    return float((energy * w).sum() / max(float(w.sum()), 1e-9))


def region_of(aligned: NDArray[np.uint8]) -> Array:
    """Aligned picture (256, 256, 3) -> its region (144, 176, 3) in [-1, 1]."""
    region = aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]]
    assert region.shape[:2] == REGION_SIZE
    return region.astype(np.float32) / 127.5 - 1
