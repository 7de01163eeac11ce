"""Faces: detect, mesh, track, choose; align; crop and paste; the one fixed mask.

The detector and the 478-point mesh are MediaPipe's graphs, given as callables by `model`. This module knows nothing of
mouths, audio or networks of ours.

Spaces. *Source*: pixels of the picture as it was given. *Aligned*: 256 x 256, eyes level at y 72 and 64 px apart in
three dimensions, found from points that the jaw does not move. *Region*: the part of the aligned space that is drawn
anew, x 40-216, y 96-240. A similarity that maps source to aligned is a (2, 3) float64 matrix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from difftalk.engine import Graph

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

ALIGNED_SIZE: Final = 256  # px, both sides of the aligned space
EYE_DISTANCE: Final = 64.0  # px between the eye centres in three dimensions, aligned space
EYE_LINE: Final = 72.0  # px from the top of the aligned space
REGION_X: Final = (40, 216)  # px, aligned space
REGION_Y: Final = (96, 240)
REGION_SIZE: Final = (REGION_Y[1] - REGION_Y[0], REGION_X[1] - REGION_X[0])  # height, width
FEATHER: Final = 12  # px, aligned space: the mask's soft rim
MIN_SCORE: Final = 0.5
MIN_EYE_DISTANCE: Final = 16.0  # px in the source
MAX_YAW: Final = 45.0  # degrees: beyond it a frame is passed through
POINTS: Final = 478
SMOOTHING_SIGMA: Final = 1.5  # frames: how far the alignment is smoothed over time
SMOOTHING_REACH: Final = 4  # frames of look-ahead and look-back that the smoothing uses

# The points on which alignment and pose rest: eyes, brows, nose bridge, temples. Nothing that the jaw or lips move.
UPPER: Final = np.array(
    [33, 133, 362, 263, 168, 6, 197, 9, 8, 107, 336, 70, 300, 46, 276, 127, 356, 10, 67, 297, 103, 332, 54, 284, 21, 251,
     162, 389, 151, 108, 337, 55, 285, 122, 351, 130, 359, 243, 463, 193, 417, 245, 465, 189, 413]
)  # fmt: skip
RIGHT_EYE: Final = (33, 133)  # corners; the person's right
LEFT_EYE: Final = (362, 263)
BLENDSHAPE_POINTS: Final = np.array(
    [0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81, 82,
     84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157,
     158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270,
     276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334,
     336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398,
     400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477]
)  # fmt: skip
_DETECTOR_SIDE: Final = 128
_MESH_SIDE: Final = 256


@dataclass(frozen=True)
class Box:
    """A detection: score, corners in source pixels, right and left eye."""

    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    right_eye: tuple[float, float]
    left_eye: tuple[float, float]

    @property
    def size(self) -> float:
        return max(self.x1 - self.x0, self.y1 - self.y0)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


@dataclass(frozen=True)
class Face:
    """One face in one picture.

    points: (478, 3) source pixels, z in the same unit, smaller is nearer. score: 0 to 1.
    """

    points: Array
    score: float

    @property
    def eye_distance(self) -> float:
        """Distance between the eye centres in three dimensions, source pixels."""
        right, left = _eye_centres(self.points)
        return float(np.linalg.norm(left - right))


@dataclass(frozen=True)
class Pose:
    """A rigid pose with scale: points = scale * (canonical @ rotation.T) + shift, aligned or source pixels."""

    rotation: NDArray[np.float64]  # (3, 3)
    scale: float  # pixels for one eye distance
    shift: NDArray[np.float64]  # (3,)

    @property
    def yaw(self) -> float:
        """Degrees; 0 looks into the camera."""
        return float(np.degrees(np.arctan2(self.rotation[0, 2], self.rotation[2, 2])))

    @property
    def pitch(self) -> float:
        return float(np.degrees(np.arcsin(np.clip(-self.rotation[1, 2], -1, 1))))

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


def _eye_centres(points: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    return points[list(RIGHT_EYE)].mean(0), points[list(LEFT_EYE)].mean(0)


def _anchors() -> Array:
    rows = []
    for grid, count in ((16, 2), (8, 6)):
        y, x = np.mgrid[:grid, :grid]
        rows.append(np.repeat(np.stack([(x + 0.5) / grid, (y + 0.5) / grid], -1).reshape(-1, 2), count, 0))
    return np.concatenate(rows).astype(np.float32)


class FaceFinder:
    """Detector and mesh over pictures of any size; holds no state between calls."""

    def __init__(self, *, detector: Graph, mesh: Graph, blendshapes: Graph) -> None:
        self._detector, self._mesh, self._blendshapes = detector, mesh, blendshapes
        self._anchors = _anchors()

    def detect(self, image: Image) -> list[Box]:
        """Faces of an RGB picture, largest first. Looks at the whole, then at two scales of tiles."""
        boxes = self._detect_once(image, 0, 0)
        if boxes:
            return sorted(boxes, key=lambda box: -box.size)
        height, width = image.shape[:2]
        for divisor in (2, 4):
            side = max(_DETECTOR_SIDE, max(height, width) // divisor)
            for y in _tile_starts(height, side):
                for x in _tile_starts(width, side):
                    boxes += self._detect_once(image[y : y + side, x : x + side], x, y)
            if boxes:
                return sorted(_merge(boxes), key=lambda box: -box.size)
        return []

    def _detect_once(self, image: Image, x: int, y: int) -> list[Box]:
        import cv2

        height, width = image.shape[:2]
        longest = max(height, width)
        scale = _DETECTOR_SIDE / longest
        if scale < 0.5:  # an area filter first: a plain bilinear warp aliases
            shrink = 2 * scale
            image = cv2.resize(image, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        k = _DETECTOR_SIDE / max(image.shape[:2])
        matrix = np.array([[k, 0, (128 - image.shape[1] * k) / 2], [0, k, (128 - image.shape[0] * k) / 2]])
        square = cv2.warpAffine(image, matrix, (_DETECTOR_SIDE, _DETECTOR_SIDE), flags=cv2.INTER_LINEAR)
        blob = square.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        first, second = self._detector(input=np.ascontiguousarray(blob)).values()
        regressors, classes = (second, first) if first.shape[-1] == 1 else (first, second)
        score = 1 / (1 + np.exp(-np.clip(classes[0, :, 0], -80, 80)))
        keep = score > MIN_SCORE
        rows = regressors[0][keep] / _DETECTOR_SIDE
        anchors = self._anchors[keep]
        centre, size = rows[:, :2] + anchors, rows[:, 2:4]
        eyes = rows[:, 4:8].reshape(-1, 2, 2) + anchors[:, None]
        flat = np.concatenate([centre - size / 2, centre + size / 2, eyes.reshape(-1, 4)], 1).reshape(-1, 4, 2)
        pad = np.array([(longest - width) / 2, (longest - height) / 2])
        flat = flat * longest - pad + np.array([x, y])
        boxes = [
            Box(float(s), *map(float, f[:2].ravel()), (float(f[2, 0]), float(f[2, 1])), (float(f[3, 0]), float(f[3, 1])))
            for s, f in zip(score[keep], flat, strict=True)
        ]
        return _merge(boxes)

    def mesh(self, image: Image, roi: tuple[float, float, float, float]) -> Face:
        """The mesh inside a rotated square `roi` = (centre x, centre y, side, angle in radians)."""
        import cv2

        cx, cy, size, angle = roi
        c, s, k = np.cos(angle), np.sin(angle), size / _MESH_SIDE
        half = _MESH_SIDE / 2
        matrix = np.array([[c * k, -s * k, cx - half * k * (c - s)], [s * k, c * k, cy - half * k * (s + c)]])
        crop = cv2.warpAffine(
            image, matrix, (_MESH_SIDE, _MESH_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        blob = np.ascontiguousarray(crop.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        outputs = list(self._mesh(input=blob).values())
        points = next(o for o in outputs if o.size == POINTS * 3).reshape(POINTS, 3)
        score = 1 / (1 + np.exp(-float(outputs[1].reshape(-1)[0])))
        xy = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return Face(np.concatenate([xy, points[:, 2:] * k], 1).astype(np.float32), score)

    def from_box(self, image: Image, box: Box) -> Face:
        """Mesh of a detection; a second look from the first mesh steadies it."""
        (rx, ry), (lx, ly) = box.right_eye, box.left_eye
        first = self.mesh(image, (*box.centre, 1.5 * box.size, float(np.arctan2(ly - ry, lx - rx))))
        return self.mesh(image, roi_of(first.points)) if first.score >= MIN_SCORE else first

    def blendshapes(self, points: Array) -> Array:
        """(52,) blendshape scores, 0 to 1, of a mesh."""
        out = self._blendshapes(input=np.ascontiguousarray(points[BLENDSHAPE_POINTS, :2][None], dtype=np.float32))
        return next(iter(out.values())).reshape(-1).astype(np.float32)


def roi_of(points: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """The next frame's square: box of the points in the eyes' frame, × 1.5 (MediaPipe's tracker)."""
    angle = float(np.arctan2(points[263, 1] - points[33, 1], points[263, 0] - points[33, 0]))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    q = points[:, :2] @ turn.T
    cx, cy = (q.min(0) + q.max(0)) / 2 @ turn
    return float(cx), float(cy), float(1.5 * (q.max(0) - q.min(0)).max()), angle


def _tile_starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _overlap(a: Box, b: Box) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    inter = max(width, 0.0) * max(height, 0.0)
    area = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - inter
    return inter / area if area > 0 else 0.0


def _merge(boxes: Sequence[Box]) -> list[Box]:
    """Weighted non-maximum suppression (BlazeFace, section 3.4)."""
    left, out = sorted(boxes, key=lambda box: -box.score), []
    while left:
        best = left[0]
        same = [box for box in left if box is best or _overlap(best, box) > 0.3]
        left = [box for box in left if box not in same]
        weight = np.array([box.score for box in same])
        rows = np.array([[b.x0, b.y0, b.x1, b.y1, *b.right_eye, *b.left_eye] for b in same])
        x0, y0, x1, y1, rx, ry, lx, ly = map(float, (rows * weight[:, None]).sum(0) / weight.sum())
        out.append(Box(best.score, x0, y0, x1, y1, (rx, ry), (lx, ly)))
    return out


@dataclass
class Tracker:
    """Follows one face over the frames of a video: the largest first, then the one that stays in its place."""

    finder: FaceFinder
    faces_seen: int = 0  # the most faces that one detection found
    _last: Face | None = None
    _place: tuple[float, float, float] | None = None  # centre and size of the face last seen

    def __call__(self, image: Image) -> Face | None:
        """The face of the next frame, or None."""
        face = self._follow(image) or self._search(image)
        self._last = face
        if face is not None:
            cx, cy, size, _ = roi_of(face.points)
            self._place = (cx, cy, size)
        return face

    def _follow(self, image: Image) -> Face | None:
        if self._last is None:
            return None
        face = self.finder.mesh(image, roi_of(self._last.points))
        return face if face.score >= MIN_SCORE and _plausible(face, self._last) else None

    def _search(self, image: Image) -> Face | None:
        boxes = self.finder.detect(image)
        self.faces_seen = max(self.faces_seen, len(boxes))
        if self._place is not None:  # a face that left comes back near its place
            x, y, size = self._place
            boxes = sorted(boxes, key=lambda b: np.hypot(b.centre[0] - x, b.centre[1] - y) / size - 0.5 * b.size / size)
        for box in boxes:
            face = self.finder.from_box(image, box)
            if face.score >= MIN_SCORE:
                return face
        return None


def _plausible(face: Face, last: Face) -> bool:
    """A mesh that jumps or changes size by half within a frame is another face, or none (a cut)."""
    ratio = face.eye_distance / max(last.eye_distance, 1e-6)
    jump = np.linalg.norm(face.points[UPPER, :2].mean(0) - last.points[UPPER, :2].mean(0))
    return bool(0.67 < ratio < 1.5 and jump < 0.75 * last.eye_distance)

# --- align, crop, paste, mask -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """A similarity from the source to the aligned space: aligned = matrix[:, :2] @ source + matrix[:, 2]."""

    matrix: NDArray[np.float64] = field(repr=False)  # (2, 3)

    @property
    def scale(self) -> float:
        """Aligned pixels for one source pixel."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    @property
    def inverse(self) -> NDArray[np.float64]:
        """(2, 3): aligned -> source."""
        turn = np.linalg.inv(self.matrix[:, :2])
        return np.concatenate([turn, -turn @ self.matrix[:, 2:]], 1)

    def points(self, points: NDArray[np.floating]) -> Array:
        """(n, 3) or (n, 2) source points -> aligned, z scaled along."""
        xy = points[:, :2] @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.concatenate([xy, points[:, 2:] * self.scale], 1).astype(np.float32)

    def crop(self, image: Image) -> Image:
        """Source picture (h, w, 3) -> aligned picture (256, 256, 3); an area filter where it shrinks by more than half."""
        import cv2

        matrix = self.matrix
        while self.scale < 0.5 and min(image.shape[:2]) >= 4 and np.hypot(matrix[0, 0], matrix[1, 0]) < 0.5:
            height, width = image.shape[:2]
            image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            fx, fy = width / (width // 2), height / (height // 2)
            # pixel centres: x = fx * (x' + 0.5) - 0.5
            shrink = np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5], [0, 0, 1]])
            matrix = matrix @ shrink
        size = (ALIGNED_SIZE, ALIGNED_SIZE)
        return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


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


def follow(frames: Iterable[tuple[Image, float]], tracker: Tracker, canonical: NDArray[np.floating]) -> Iterator[Followed]:
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
    while low > 0 and i - low < SMOOTHING_REACH and _steady(held[low - 1], held[low]):
        low -= 1
    while high + 1 < len(held) and high - i < SMOOTHING_REACH and _steady(held[high], held[high + 1]):
        high += 1
    weight = np.exp(-0.5 * ((np.arange(low, high + 1) - i) / SMOOTHING_SIGMA) ** 2)
    row = (np.array([held[j][1] for j in range(low, high + 1)]) * weight[:, None]).sum(0) / weight.sum()
    return replace(frame, alignment=_similarity(row[0], row[1], row[2:]))


def _steady(a: tuple[Followed, NDArray[np.float64]], b: tuple[Followed, NDArray[np.float64]]) -> bool:
    """Whether two neighbouring frames show one face without a cut between them."""
    if a[0].pose is None or b[0].pose is None:
        return False
    jump = float(np.linalg.norm(a[1][2:] - b[1][2:]))
    return jump < 0.5 * a[0].pose.scale and abs(a[1][0] - b[1][0]) < 0.3


def _align_row(pose: Pose | None) -> NDArray[np.float64]:
    if pose is None:
        return np.zeros(4)
    return np.array([np.log(EYE_DISTANCE / pose.scale), np.radians(pose.roll), *pose.shift[:2]])


def region_mask() -> Array:
    """(144, 176) weights in [0, 1] of the region, the same for every frame and person; 0 on its border."""
    height, width = REGION_SIZE

    def ramp(length: int) -> NDArray[np.float64]:
        distance = np.minimum(np.arange(length), np.arange(length)[::-1])
        return 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / FEATHER, 0, 1))

    return np.outer(ramp(height), ramp(width)).astype(np.float32)


def crop_region(aligned: NDArray[np.uint8]) -> Image:
    """Aligned picture (256, 256, c) -> its region (144, 176, c), a view."""
    return aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]]
