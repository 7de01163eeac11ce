"""Picture metrics: pure functions over arrays, each with its source. Areas are named once, here.

*Region*: 176 x 144 of the aligned space, what a renderer draws; figures "inside the mask" weigh it by the soft mask.
*Crop*: the whole aligned space, 256 x 256. *Inner-mouth box*: bounds of the inner lips and 15 % more on every side,
brought to 128 x 64. Pictures are (h, w, 3) in [-1, 1] unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.landmarks import INNER_LIPS
from difftalk.face.space import REGION_SIZE, REGION_X, REGION_Y
from difftalk.render.warp import inner_mouth

BOX_MARGIN: Final = 0.15
BOX_SIZE: Final = (128, 64)  # px, width and height
_SSIM_SIGMA: Final = 1.5  # px
_SSIM_C1, _SSIM_C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # for a range of 2


def inner_mouth_box(picture: Array, mesh: Array) -> Array:
    """The inner-mouth box (64, 128, 3) of a region picture (144, 176, 3); mesh: (478, 3) aligned."""
    return _warped(picture, _box_matrix(mesh))


def inner_mouth_weight(mesh: Array) -> Array:
    """(64, 128) in [0, 1]: where in its box the inner mouth is."""
    return _warped(inner_mouth(mesh), _box_matrix(mesh))


def _box_matrix(mesh: Array) -> NDArray[np.float64]:
    lips = mesh[INNER_LIPS, :2] - np.array([REGION_X[0], REGION_Y[0]])
    low, high = lips.min(0), lips.max(0)
    size = np.maximum(high - low, [8.0, 4.0])
    middle, half = (low + high) / 2, size * (0.5 + BOX_MARGIN)
    scale = np.array(BOX_SIZE) / (2 * half)
    return np.array([[scale[0], 0, (half - middle)[0] * scale[0]], [0, scale[1], (half - middle)[1] * scale[1]]])


def _warped(picture: Array, matrix: NDArray[np.float64]) -> Array:
    import cv2

    return np.asarray(
        cv2.warpAffine(picture, matrix, BOX_SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def region_of(aligned: NDArray[np.uint8]) -> Array:
    """Aligned picture (256, 256, 3) -> its region (144, 176, 3) in [-1, 1]."""
    region = aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]]
    assert region.shape[:2] == REGION_SIZE
    return region.astype(np.float32) / 127.5 - 1


def psnr(truth: Array, made: Array, weight: NDArray[np.floating] | None = None) -> float:
    """Peak signal to noise in dB, at most 60; weight (h, w): how much a pixel counts."""
    error = ((truth.astype(np.float64) - made) ** 2).mean(2)
    mean = error.mean() if weight is None else (error * weight).sum() / max(float(weight.sum()), 1e-9)
    return float(10 * np.log10(4 / max(float(mean), 4e-6)))


def ssim(truth: Array, made: Array, weight: NDArray[np.floating] | None = None) -> float:
    """Structural similarity of the grey pictures, Gaussian window of sigma 1.5 px (Wang et al. 2004)."""
    import cv2

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), _SSIM_SIGMA), np.float64)

    a, b = truth.astype(np.float64).mean(2), made.astype(np.float64).mean(2)
    ma, mb = blur(a), blur(b)
    va, vb, ab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    value = (2 * ma * mb + _SSIM_C1) * (2 * ab + _SSIM_C2) / ((ma**2 + mb**2 + _SSIM_C1) * (va + vb + _SSIM_C2))
    return float(value.mean() if weight is None else (value * weight).sum() / max(float(weight.sum()), 1e-9))


def gradient_energy(picture: NDArray[np.floating | np.uint8], weight: NDArray[np.floating]) -> float:
    """Mean squared luminance gradient of (h, w, 3) where weight (h, w) is."""
    grey = picture.astype(np.float64).mean(2)
    energy = np.diff(grey, axis=0)[:, :-1] ** 2 + np.diff(grey, axis=1)[:-1] ** 2
    w = weight[:-1, :-1]
    return float((energy * w).sum() / max(float(w.sum()), 1e-9))


def box_texture(box: Array, mesh: Array) -> float:
    """Gradient energy of the inner mouth in its box (64, 128, 3)."""
    return gradient_energy(box, (inner_mouth_weight(mesh) > 0.9).astype(np.float64))


@dataclass(frozen=True)
class MouthLook:
    """Of one frame's inner mouth. texture: gradient energy in its box. area: px of the aligned space."""

    texture: float
    area: float


def mouth_look(aligned: NDArray[np.uint8], mesh: Array) -> MouthLook:
    """aligned: (256, 256, 3); mesh: (478, 3) in it."""
    lips = mesh[INNER_LIPS, :2].astype(np.float64)
    x, y = lips.T
    area = 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
    box = inner_mouth_box(region_of(aligned), mesh)
    return MouthLook(box_texture(box, mesh), area)
