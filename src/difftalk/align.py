"""Alignment: pose and similarity of a face, crop and region, the one fixed mask; a video's faces, followed smoothly.

Spaces. *Source*: pixels of the picture as it was given. *Aligned*: 256 x 256, eyes level at y 72 and 64 px apart in
three dimensions, found from points that the jaw does not move. *Region*: the part of the aligned space that is drawn
anew, x 40-216, y 96-240. Knows nothing of detectors, mouths, audio or networks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.face import UPPER, Array, Face, Image, Tracker

ALIGNED_SIZE: Final = 256  # px, both sides of the aligned space
EYE_DISTANCE: Final = 64.0  # px between the eye centres in three dimensions, aligned space
EYE_LINE: Final = 72.0  # px from the top of the aligned space
REGION_X: Final = (40, 216)  # px, aligned space
REGION_Y: Final = (96, 240)
REGION_SIZE: Final = (REGION_Y[1] - REGION_Y[0], REGION_X[1] - REGION_X[0])  # height, width
FEATHER: Final = 12  # px, aligned space: the mask's soft rim
SMOOTHING_SIGMA: Final = 1.5  # frames: how far the alignment is smoothed over time
CUT_JUMP: Final = 0.5  # eye distances that a face moves between two frames only at a cut
CUT_ZOOM: Final = 0.3  # the same for its size, natural logarithm
SMOOTHING_REACH: Final = 4  # frames of look-ahead and look-back that the smoothing uses


@dataclass(frozen=True)
class Pose:
    """A rigid pose with scale: points = scale * (canonical @ rotation.T) + shift, aligned or source pixels."""

    rotation: NDArray[np.float64]  # (3, 3)
    scale: float  # pixels for one eye distance
    shift: NDArray[np.float64]  # (3,)

    @property
    def yaw(self) -> float:
        """Degrees that the head is turned, however tilted; 0 looks into the camera."""
        return float(self.turn[0])

    @property
    def turn(self) -> NDArray[np.float64]:
        """(2,) degrees, however tilted the head is: yaw, and pitch, positive where it looks down."""
        return np.asarray(np.degrees(np.arcsin(np.clip([-self.rotation[2, 0], self.rotation[2, 1]], -1, 1))))

    @property
    def roll(self) -> float:
        return float(np.degrees(np.arctan2(self.rotation[1, 0], self.rotation[0, 0])))

    def place(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 3) canonical points -> (n, 3) pixels."""
        return np.asarray(self.scale * (points @ self.rotation.T) + self.shift)

    def remove(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 3) pixels -> (n, 3) pose-free points in eye distances."""
        return np.asarray((points - self.shift) @ self.rotation / self.scale)


def fit_poses(points: NDArray[np.floating], canonical: NDArray[np.floating]) -> list[Pose]:
    """The similarities that carry `canonical` (n, 3) onto each of `points` (t, n, 3), least squares (Umeyama 1991)."""
    a, b = canonical.astype(np.float64), points.astype(np.float64)
    ca, cb = a.mean(0), b.mean(1)
    u, s, vt = np.linalg.svd((b - cb[:, None]).swapaxes(1, 2) @ (a - ca))
    sign = np.ones_like(s)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None, :]) @ vt
    scale = (s * sign).sum(1) / ((a - ca) ** 2).sum()
    shift = cb - scale[:, None] * (rotation @ ca)
    return [Pose(r, float(k), t) for r, k, t in zip(rotation, scale, shift, strict=True)]


def fit_pose(points: NDArray[np.floating], canonical: NDArray[np.floating]) -> Pose:
    """`fit_poses` of one (n, 3)."""
    return fit_poses(points[None], canonical)[0]


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
    return _similarity(np.log(EYE_DISTANCE / pose.scale), np.radians(pose.roll), pose.shift[:2])


def _similarity(log_scale: float, roll: float, middle: NDArray[np.float64]) -> Alignment:
    k = np.exp(log_scale)
    c, s = k * np.cos(roll), k * np.sin(roll)
    turn = np.array([[c, s], [-s, c]])
    shift = np.array([ALIGNED_SIZE / 2, EYE_LINE]) - turn @ middle
    return Alignment(np.concatenate([turn, shift[:, None]], 1))


@dataclass(frozen=True)
class Followed:
    """One frame of a video with the face in it; face, pose and alignment are None where there is none to work on."""

    image: Image
    seconds: float
    face: Face | None
    pose: Pose | None  # source pixels
    alignment: Alignment | None


def follow(
    frames: Iterable[tuple[Image, float]], tracker: Tracker, canonical: NDArray[np.floating]
) -> Iterator[Followed]:
    """Tracks, poses and aligns (image, seconds) pairs; alignments are smoothed over ± SMOOTHING_REACH frames.

    Smoothing never crosses a frame without a face, nor a cut. Holds SMOOTHING_REACH frames of look-ahead.
    """
    held: deque[tuple[Followed, NDArray[np.float64]]] = deque()
    done = 0  # of `held`, how many at its left were given out
    for image, seconds in frames:
        face = tracker(image)
        pose = fit_pose(face.points[UPPER], canonical[UPPER]) if face is not None else None
        held.append((Followed(image, seconds, face, pose, None), _align_row(pose)))
        if len(held) - done > SMOOTHING_REACH:
            yield _smoothed(held, done)
            done += 1
        if done > SMOOTHING_REACH:
            held.popleft()
            done -= 1
    while done < len(held):
        yield _smoothed(held, done)
        done += 1


def _smoothed(held: Sequence[tuple[Followed, NDArray[np.float64]]], i: int) -> Followed:
    frame = held[i][0]
    if frame.pose is None:
        return frame
    low = high = i
    while low > 0 and i - low < SMOOTHING_REACH and steady(held[low - 1][0].pose, held[low][0].pose):
        low -= 1
    while high + 1 < len(held) and high - i < SMOOTHING_REACH and steady(held[high][0].pose, held[high + 1][0].pose):
        high += 1
    weight = np.exp(-0.5 * ((np.arange(low, high + 1) - i) / SMOOTHING_SIGMA) ** 2)
    rows = np.array([held[j][1] for j in range(low, high + 1)])
    rows[:, 1] = np.unwrap(rows[:, 1])  # an upside-down head's roll is 180 or -180 degrees
    row = (rows * weight[:, None]).sum(0) / weight.sum()
    return replace(frame, alignment=_similarity(row[0], row[1], row[2:]))


def steady(before: Pose | None, now: Pose | None) -> bool:
    """Whether two frames in a row show one face without a cut between them."""
    if before is None or now is None:
        return False
    jump = float(np.linalg.norm(now.shift[:2] - before.shift[:2])) / before.scale
    return jump < CUT_JUMP and abs(np.log(now.scale / before.scale)) < CUT_ZOOM


def _align_row(pose: Pose | None) -> NDArray[np.float64]:
    if pose is None:
        return np.zeros(4)
    return np.array([np.log(EYE_DISTANCE / pose.scale), np.radians(pose.roll), *pose.shift[:2]])


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
