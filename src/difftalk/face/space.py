"""Alignment: pose and similarity of a face, crop and region, the one fixed mask; a video's faces, followed smoothly.

Spaces. *Source*: pixels of the picture as it was given. *Aligned*: 256 x 256, eyes level at y 72 and 64 px apart in
three dimensions, found from points that the jaw does not move. *Region*: the part of the aligned space that is drawn
anew, x 40-216, y 96-240. Knows nothing of detectors, mouths, audio or networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.pose import Pose

ALIGNED_SIZE: Final = 256  # px, both sides of the aligned space
EYE_DISTANCE: Final = 64.0  # px between the eye centres in three dimensions, aligned space
EYE_LINE: Final = 72.0  # px from the top of the aligned space
REGION_X: Final = (40, 216)  # px, aligned space
REGION_Y: Final = (96, 240)
REGION_SIZE: Final = (REGION_Y[1] - REGION_Y[0], REGION_X[1] - REGION_X[0])  # height, width
FEATHER: Final = 12  # px, aligned space: the mask's soft rim


@dataclass(frozen=True)
class Alignment:
    """A similarity from the source to the aligned space: aligned = matrix[:, :2] @ source + matrix[:, 2]."""

    matrix: NDArray[np.float64] = field(repr=False)  # (2, 3)

    @property
    def scale(self) -> float:
        """Aligned pixels for one source pixel."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    @cached_property
    def inverse(self) -> NDArray[np.float64]:
        """(2, 3): aligned -> source."""
        turn = np.linalg.inv(self.matrix[:, :2])
        return np.concatenate([turn, -turn @ self.matrix[:, 2:]], 1)

    def points(self, points: NDArray[np.floating]) -> Array:
        """(n, 3) or (n, 2) source points -> aligned, z scaled along."""
        xy = points[:, :2] @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.concatenate([xy, points[:, 2:] * self.scale], 1).astype(np.float32)

    def zoomed(self, zoom: float) -> Alignment:
        """The face `zoom` times as large, the eyes' middle in its place."""
        middle = np.array([ALIGNED_SIZE / 2, EYE_LINE])
        shift = zoom * self.matrix[:, 2] + (1 - zoom) * middle
        return Alignment(np.concatenate([zoom * self.matrix[:, :2], shift[:, None]], 1))

    def crop(self, image: Image, size: int = ALIGNED_SIZE) -> Image:
        """Source picture (h, w, 3) -> aligned (size, size, 3); an area filter where it shrinks by more than half."""
        import cv2

        matrix = self.matrix
        while self.scale < 0.5 and min(image.shape[:2]) >= 4 and np.hypot(matrix[0, 0], matrix[1, 0]) < 0.5:
            height, width = image.shape[:2]
            image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            fx, fy = width / (width // 2), height / (height // 2)
            # pixel centres: x = fx * (x' + 0.5) - 0.5
            shrink = np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5], [0, 0, 1]])
            matrix = matrix @ shrink
        return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def align(pose: Pose) -> Alignment:
    """The alignment that puts the eyes of a source `pose` level, 64 px apart, their middle at (128, 72)."""
    return similarity(np.log(EYE_DISTANCE / pose.scale), np.radians(pose.roll), pose.shift[:2])


def similarity(log_scale: float, roll: float, middle: NDArray[np.float64]) -> Alignment:
    k = np.exp(log_scale)
    c, s = k * np.cos(roll), k * np.sin(roll)
    turn = np.array([[c, s], [-s, c]])
    shift = np.array([ALIGNED_SIZE / 2, EYE_LINE]) - turn @ middle
    return Alignment(np.concatenate([turn, shift[:, None]], 1))


@lru_cache(maxsize=1)
def region_mask() -> Array:
    """(144, 176) weights in [0, 1] of the region, the same for every frame and person; 0 on its border."""
    height, width = REGION_SIZE

    def ramp(length: int) -> NDArray[np.float64]:
        distance = np.minimum(np.arange(length), np.arange(length)[::-1])
        return 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / FEATHER, 0, 1))

    mask = np.outer(ramp(height), ramp(width)).astype(np.float32)
    mask.flags.writeable = False
    return mask


def crop_region(aligned: NDArray[np.uint8]) -> Image:
    """Aligned picture (256, 256, c) -> its region (144, 176, c), a view."""
    return aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]]
