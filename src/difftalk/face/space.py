"""Alignment: pose and similarity of a face, crop and region, the one fixed mask; a video's faces, followed smoothly.

Spaces. *Source*: pixels of the picture as it was given. *Aligned*: 256 x 256, eyes level at y 72 and 64 px apart in
three dimensions, found from points that the jaw does not move. *Region*: the part of the aligned space that is drawn
anew, x 40-216, y 96-240. *Close*: the aligned space at twice its size, 128 px an eye distance. *Patch*: the part of the
close space about a mesh's lips, where the mouth is drawn. Knows nothing of detectors, mouth shapes, audio or networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.landmarks import LIPS
from difftalk.face.pose import Pose

ALIGNED_SIZE: Final = 256  # px, both sides of the aligned space
EYE_DISTANCE: Final = 64.0  # px between the eye centres in three dimensions, aligned space
EYE_LINE: Final = 72.0  # px from the top of the aligned space
REGION_X: Final = (40, 216)  # px, aligned space
REGION_Y: Final = (96, 240)
REGION_SIZE: Final = (REGION_Y[1] - REGION_Y[0], REGION_X[1] - REGION_X[0])  # height, width
FEATHER: Final = 12  # px of a mask's soft rim, region and patch alike
CLOSE: Final = 2  # px of a close-up for one of the aligned space
PATCH_SIZE: Final = (128, 176)  # height, width of a patch, close px
PATCH_DROP: Final = 6  # px, close space: of the patch's middle below that of the lips, as jaws open downwards
CLOSE_SIZE: Final = (176, 208)  # height, width of a close-up: a mouth patch, and from where its pixels may come


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

    def close_up(self, image: Image, points: NDArray[np.floating]) -> tuple[Image, NDArray[np.int64]]:
        """Source picture and the face's aligned mesh (478, 3) -> close-up (176, 208, 3) of its mouth.

        And its corner (x, y) in the close space: the aligned one, CLOSE times as large.
        """
        height, width = CLOSE_SIZE
        middle = CLOSE * points[LIPS, :2].mean(0) + (CLOSE - 1) / 2
        corner = np.rint(middle - np.array([width - 1, height - 1]) / 2).astype(np.int64)
        return cropped(image, self.close(corner), (width, height)), corner

    def close(self, corner: NDArray[np.integer] | tuple[int, int] = (0, 0)) -> NDArray[np.float64]:
        """(2, 3): source -> close space, counted from a corner (x, y). Pixels are counted at their middles."""
        shift = CLOSE * self.matrix[:, 2] + (CLOSE - 1) / 2 - np.asarray(corner)
        return np.concatenate([CLOSE * self.matrix[:, :2], shift[:, None]], 1)

    def zoomed(self, zoom: float) -> Alignment:
        """The face `zoom` times as large, the eyes' middle in its place."""
        middle = np.array([ALIGNED_SIZE / 2, EYE_LINE])
        shift = zoom * self.matrix[:, 2] + (1 - zoom) * middle
        return Alignment(np.concatenate([zoom * self.matrix[:, :2], shift[:, None]], 1))

    def crop(self, image: Image, size: int = ALIGNED_SIZE) -> Image:
        """Source picture (h, w, 3) -> aligned (size, size, 3)."""
        return cropped(image, self.matrix, (size, size))


def cropped(image: Image, matrix: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """What a similarity (2, 3) shows of a picture. size: width, height. An area filter where it shrinks by half."""
    import cv2

    while min(image.shape[:2]) >= 4 and np.hypot(matrix[0, 0], matrix[1, 0]) < 0.5:
        height, width = image.shape[:2]
        image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        fx, fy = width / (width // 2), height / (height // 2)
        # pixel centres: x = fx * (x' + 0.5) - 0.5
        shrink = np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5], [0, 0, 1]])
        matrix = matrix @ shrink
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


ALIGNED_SPACE: Final = Alignment(np.eye(2, 3))  # to itself
CLOSE_SPACE: Final = Alignment(np.array([[1.0, 0, -(CLOSE - 1) / 2], [0, 1.0, -(CLOSE - 1) / 2]]) / CLOSE)  # to aligned


def align(pose: Pose) -> Alignment:
    """The alignment that puts the eyes of a source `pose` level, 64 px apart, their middle at (128, 72)."""
    return similarity(np.log(EYE_DISTANCE / pose.scale), np.radians(pose.roll), pose.shift[:2])


def similarity(log_scale: float, roll: float, middle: NDArray[np.float64]) -> Alignment:
    k = np.exp(log_scale)
    c, s = k * np.cos(roll), k * np.sin(roll)
    turn = np.array([[c, s], [-s, c]])
    shift = np.array([ALIGNED_SIZE / 2, EYE_LINE]) - turn @ middle
    return Alignment(np.concatenate([turn, shift[:, None]], 1))


@dataclass(frozen=True)
class Grid:
    """Pixels of a part of the aligned space.

    corner: (x, y) of the first one's middle, aligned px. zoom: pixels for one aligned. size: height, width.
    """

    corner: tuple[float, float]
    zoom: int
    size: tuple[int, int]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): grid -> aligned."""
        return np.concatenate([np.eye(2) / self.zoom, np.array(self.corner)[:, None]], 1)

    @cached_property
    def places(self) -> tuple[Array, Array]:
        """Aligned x (width,) and y (height, 1) of its pixels."""
        height, width = self.size
        x = np.arange(width, dtype=np.float32) / np.float32(self.zoom) + np.float32(self.corner[0])
        y = np.arange(height, dtype=np.float32)[:, None] / np.float32(self.zoom) + np.float32(self.corner[1])
        return x, y

    def points(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Aligned points (..., 2) -> the grid's px."""
        return np.asarray((points - np.array(self.corner)) * self.zoom)

    def of(self, layers: Array, other: Grid) -> Array:
        """Layers (h, w, ...) of another grid as they lie on this one; beyond the other's border as at it."""
        import cv2

        ratio = other.zoom / self.zoom
        shift = other.points(np.array(self.corner))
        matrix = np.concatenate([np.eye(2) * ratio, shift[:, None]], 1)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(layers, matrix, self.size[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, np.float32)

    @property
    def mask(self) -> Array:
        """(height, width) weights in [0, 1], the same for every frame and person; 0 on the border."""
        return soft_mask(self.size)


REGION: Final = Grid((float(REGION_X[0]), float(REGION_Y[0])), 1, REGION_SIZE)


def patch_of(points: NDArray[np.floating]) -> Grid:
    """The mouth's patch of an aligned mesh (478, 3), at whole pixels of the close space."""
    height, width = PATCH_SIZE
    middle = CLOSE * points[LIPS, :2].mean(0) + (CLOSE - 1) / 2 + np.array([0, PATCH_DROP])
    x, y = (np.rint(middle - np.array([width - 1, height - 1]) / 2) - (CLOSE - 1) / 2) / CLOSE
    return Grid((float(x), float(y)), CLOSE, PATCH_SIZE)


def region_mask() -> Array:
    """(144, 176): the region's mask."""
    return REGION.mask


@lru_cache(maxsize=4)
def soft_mask(size: tuple[int, int]) -> Array:
    """(height, width): the mask of a grid of this size."""

    def ramp(length: int) -> NDArray[np.float64]:
        distance = np.minimum(np.arange(length), np.arange(length)[::-1])
        return 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / FEATHER, 0, 1))

    mask = np.outer(ramp(size[0]), ramp(size[1])).astype(np.float32)
    mask.flags.writeable = False
    return mask


def crop_region(aligned: NDArray[np.uint8]) -> Image:
    """Aligned picture (256, 256, c) -> its region (144, 176, c), a view."""
    return aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]]
