"""Faces: detect, mesh, track, choose.

The detector and the 478-point mesh are MediaPipe's graphs, given as callables by `model`. All points are pixels of the
picture as it was given. Knows nothing of alignment, mouths, audio or networks of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.boxes import Box, box_of, merge, other_way_up, turned_back
from difftalk.face.landmarks import BLENDSHAPE_POINTS, LEFT_EYE, POINTS, RIGHT_EYE
from difftalk.settings import Settings

if TYPE_CHECKING:
    from difftalk.engine import Graph


_DETECTOR_SIDE: Final = 128
_MESH_SIDE: Final = 256


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
class Found:
    """A detection and the mesh in it. score: mean of the detection's and of that of the view that confirmed it."""

    box: Box
    face: Face
    score: float


def _eye_centres(points: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    return points[list(RIGHT_EYE)].mean(0), points[list(LEFT_EYE)].mean(0)


def _anchors() -> Array:
    rows = []
    for grid, count in ((16, 2), (8, 6)):
        y, x = np.mgrid[:grid, :grid]
        rows.append(np.repeat(np.stack([(x + 0.5) / grid, (y + 0.5) / grid], -1).reshape(-1, 2), count, 0))
    return np.concatenate(rows).astype(np.float32)


class Detector:
    """One look at a whole picture, seen at 128 px."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        self._graph, self._settings, self._anchors = graph, settings, _anchors()

    def __call__(self, image: Image) -> list[Box]:
        """Faces that stand upright, or nearly, in an RGB picture."""
        import cv2

        height, width = image.shape[:2]
        longest = max(height, width)
        if longest > 2 * _DETECTOR_SIDE:  # a plain bilinear warp aliases
            image = _shrunk(image, 2 * _DETECTOR_SIDE / longest)
        k = _DETECTOR_SIDE / max(image.shape[:2])
        matrix = np.array([[k, 0, (128 - image.shape[1] * k) / 2], [0, k, (128 - image.shape[0] * k) / 2]])
        square = cv2.warpAffine(image, matrix, (_DETECTOR_SIDE, _DETECTOR_SIDE), flags=cv2.INTER_LINEAR)
        blob = square.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        first, second = self._graph(input=np.ascontiguousarray(blob)).values()
        regressors, classes = (second, first) if first.shape[-1] == 1 else (first, second)
        score = 1 / (1 + np.exp(-np.clip(classes[0, :, 0], -80, 80)))
        keep = score > self._settings.finding.min_score
        rows = regressors[0][keep] / _DETECTOR_SIDE
        anchors = self._anchors[keep]
        centre, size = rows[:, :2] + anchors, rows[:, 2:4]
        eyes = rows[:, 4:8].reshape(-1, 2, 2) + anchors[:, None]
        flat = np.concatenate([centre - size / 2, centre + size / 2, eyes.reshape(-1, 4)], 1).reshape(-1, 4, 2)
        pad = np.array([(longest - width) / 2, (longest - height) / 2])
        flat = flat * longest - pad
        return merge([box_of(float(s), corners) for s, corners in zip(score[keep], flat, strict=True)])


class FaceFinder:
    """Detector and mesh over pictures of any size; holds no state between calls."""

    def __init__(
        self, *, detector: Callable[[Image], list[Box]], mesh: Graph, blendshapes: Graph, settings: Settings
    ) -> None:
        self._detect, self._mesh, self._blendshapes = detector, mesh, blendshapes
        self.settings = settings

    def find(self, image: Image, *, patient: bool = True) -> list[Found]:
        """Faces of an RGB picture, turned by any angle, largest first: those of the first look that leaves no doubt.

        Looks at the whole in four orientations, then at ever finer tiles. patient: False leaves out the slow looks,
        tiles under a quarter of the long side and turned tiles. A face whose eyes are too near each other, or a
        doubtful one, counts if there is no other.
        """
        height, width = image.shape[:2]
        longest, doubtful = max(height, width), list[Found]()
        for number, (side, turn) in enumerate(_looks(longest, patient, self.settings)):
            found = self._look(image, side, turn)
            if _large(found, self.settings) and found[0].score >= self.settings.finding.sure_score:
                return found
            if found and side < longest:
                found += self._around(image, found[0].box)
            doubtful = _best([*doubtful, *found])
            if number >= 3 and _large(doubtful, self.settings):  # not before all orientations of the whole
                break
        return doubtful

    def _around(self, image: Image, box: Box) -> list[Found]:
        """What is confirmed in the surroundings of a detection, in four orientations."""
        x, y = (max(0, round(centre - 1.5 * box.size)) for centre in box.centre)
        tile, found = image[y : y + round(3 * box.size), x : x + round(3 * box.size)], list[Found]()
        for turn in range(4):
            seen = self._detect(np.ascontiguousarray(np.rot90(tile, turn)))
            boxes = [turned_back(one, turn, tile.shape[1], tile.shape[0], x, y) for one in seen]
            found += self._all_confirmed(image, boxes)
        return found

    def _look(self, image: Image, side: int, turn: int) -> list[Found]:
        """What is confirmed in tiles of `side` px, each turned left by so many quarters, largest first."""
        whole, boxes = side >= max(image.shape), list[Box]()
        small = image if whole else _shrunk(image, _DETECTOR_SIDE / side)
        tile_side, scale = (side if whole else _DETECTOR_SIDE), image.shape[1] / small.shape[1]
        for y in _tile_starts(small.shape[0], tile_side, self.settings):
            for x in _tile_starts(small.shape[1], tile_side, self.settings):
                tile = small[y : y + tile_side, x : x + tile_side]
                if int(tile.max()) - int(tile.min()) < self.settings.finding.plain:
                    continue
                seen = self._detect(np.ascontiguousarray(np.rot90(tile, turn)))
                boxes += [turned_back(box, turn, tile.shape[1], tile.shape[0], x, y, scale) for box in seen]
        return self._all_confirmed(image, boxes if whole else merge(boxes))

    def _all_confirmed(self, image: Image, boxes: list[Box]) -> list[Found]:
        found = [self._confirmed(image, box) for box in sorted(boxes, key=lambda box: -box.size)]
        return [one for one in found if one is not None]

    def _confirmed(self, image: Image, box: Box) -> Found | None:
        """The mesh of a detection if the detector, shown the face upright and large, sees the eyes where the mesh has.

        The mesh fits a face into any picture, and one the wrong way up into a face that is upside down. A doubtful face
        must be steady as well.
        """
        face = self.from_box(image, box)
        found = self._seen(image, box, face) if face.score >= self.settings.finding.min_score else None
        if found is None or abs(roi_of(face.points)[3]) < np.pi / 2:
            return found
        return self._righted(image, found) or found

    def _seen(self, image: Image, box: Box, face: Face) -> Found | None:
        how = self.settings.finding
        cx, cy, size, angle = roi_of(face.points)
        view, matrix = _cut(image, (cx, cy, how.view * size, angle))
        eyes = np.stack(_eye_centres(face.points))[:, :2]
        for again in self._detect(view):
            seen = np.array([again.right_eye, again.left_eye]) @ matrix[:, :2].T + matrix[:, 2]
            apart = np.linalg.norm(seen - eyes, axis=1).max() / face.eye_distance
            score = (box.score + again.score) / 2
            if score >= how.seen_score and apart <= how.seen_apart:
                return Found(box, face, score) if score >= how.sure_score or self._steady(image, face) else None
        return None

    def _righted(self, image: Image, found: Found) -> Found | None:
        """The upright face with the same eyes, if there is one: that of a face in a mask is found upside down."""
        x, y = 2 * np.stack(_eye_centres(found.face.points))[:, :2].mean(0)
        cx, cy, size, angle = roi_of(found.face.points)
        face = self.mesh(image, (x - cx, y - cy, size, angle + np.pi))
        return (
            self._seen(image, other_way_up(found.box), face)
            if face.score >= self.settings.finding.right_score
            else None
        )

    def _steady(self, image: Image, face: Face) -> bool:
        """Whether the mesh stays where it is when it is sought in other squares: what is no face gets another mesh."""
        cx, cy, size, angle = roi_of(face.points)
        others = [
            self.mesh(image, (cx, cy, size * k, angle + turn)).points
            for k, turn in self.settings.finding.steady_squares
        ]
        moved = [np.linalg.norm((other - face.points)[:, :2], axis=1).mean() / face.eye_distance for other in others]
        return bool(max(moved) <= self.settings.finding.steady)

    def mesh(self, image: Image, roi: tuple[float, float, float, float]) -> Face:
        """The mesh inside a rotated square `roi` = (centre x, centre y, side, angle in radians)."""
        crop, matrix = _cut(image, roi)
        blob = np.ascontiguousarray(crop.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        outputs = list(self._mesh(input=blob).values())
        points = next(o for o in outputs if o.size == POINTS * 3).reshape(POINTS, 3)
        score = 1 / (1 + np.exp(-float(outputs[1].reshape(-1)[0])))
        k = roi[2] / _MESH_SIDE
        xy = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return Face(np.concatenate([xy, points[:, 2:] * k], 1).astype(np.float32), score)

    def from_box(self, image: Image, box: Box) -> Face:
        """Mesh of a detection; a second look from the first mesh steadies it."""
        (rx, ry), (lx, ly) = box.right_eye, box.left_eye
        first = self.mesh(image, (*box.centre, 1.5 * box.size, float(np.arctan2(ly - ry, lx - rx))))
        return self.mesh(image, roi_of(first.points)) if first.score >= self.settings.finding.min_score else first

    def blendshapes(self, points: Array) -> Array:
        """(52,) blendshape scores, 0 to 1, of a mesh; the net knows faces that are about upright."""
        back = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), round(roi_of(points)[3] / (np.pi / 2)) % 4)
        upright = points[BLENDSHAPE_POINTS, :2] @ back.T.astype(np.float32)
        out = self._blendshapes(input=np.ascontiguousarray(upright[None], dtype=np.float32))
        return next(iter(out.values())).reshape(-1).astype(np.float32)


def _shrunk(image: Image, scale: float) -> Image:
    """The picture at a scale, through an area filter; as it is where that is not smaller."""
    import cv2

    if scale >= 1:
        return image
    after = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, after, interpolation=cv2.INTER_AREA), np.uint8)


def _cut(image: Image, roi: tuple[float, float, float, float]) -> tuple[NDArray[np.uint8], NDArray[np.floating]]:
    """A rotated square as (256, 256, 3), and the (2, 3) matrix from it to the picture."""
    import cv2

    cx, cy, size, angle = roi
    c, s, k = np.cos(angle), np.sin(angle), size / _MESH_SIDE
    half = _MESH_SIDE / 2
    matrix = np.array([[c * k, -s * k, cx - half * k * (c - s)], [s * k, c * k, cy - half * k * (s + c)]])
    crop = cv2.warpAffine(
        image,
        matrix,
        (_MESH_SIDE, _MESH_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(crop, np.uint8), matrix


def roi_of(points: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """The next frame's square: box of the points in the eyes' frame, × 1.5 (MediaPipe's tracker)."""
    angle = float(np.arctan2(points[263, 1] - points[33, 1], points[263, 0] - points[33, 0]))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    q = points[:, :2] @ turn.T
    cx, cy = (q.min(0) + q.max(0)) / 2 @ turn
    return float(cx), float(cy), float(1.5 * (q.max(0) - q.min(0)).max()), angle


def _looks(longest: int, patient: bool, settings: Settings) -> Iterator[tuple[int, int]]:
    """Sides of tiles in px and quarters by which the picture is turned, in the order in which they are worth it."""
    yield from ((longest, turn) for turn in range(4))
    divisors = [2, 4] + [d for d in (8, 16, 32) if patient and longest // d >= settings.finding.finest_tile]
    for turn in range(4 if patient else 1):
        yield from ((max(_DETECTOR_SIDE, longest // divisor), turn) for divisor in divisors)


def _tile_starts(length: int, side: int, settings: Settings) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (settings.finding.tile_step * side))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _large(found: Sequence[Found], settings: Settings) -> bool:
    return bool(found) and found[0].face.eye_distance >= settings.finding.min_eye_distance


def _best(found: Sequence[Found]) -> list[Found]:
    """Of several faces in one place the one with the highest score; largest first."""
    out: list[Found] = []
    for one in sorted(found, key=lambda one: -one.score):
        x, y = one.box.centre
        if all(np.hypot(x - o.box.centre[0], y - o.box.centre[1]) > 0.5 * max(one.box.size, o.box.size) for o in out):
            out.append(one)
    return sorted(out, key=lambda one: -one.box.size)
