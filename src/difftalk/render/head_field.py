"""Turning heads: a picture whose head is turned and moved in three dimensions, smoothly, with all that is drawn in it.

Every place gets a depth: the face its mesh's, the rest of the head that of a skull behind it, all else that of the
neck, about which a head turns, so that where the head ends a turn moves nothing. Shifts and tilts fade towards
shoulders and background; where lines are seen there, which would bend, they fade within the head and are held small.
All of it is laid out once for a still, on a coarse grid around its head. Geometry and pixels only; knows nothing of
time or speech.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image, part_of, smoothstep
from difftalk.face.head import NECK, HeadPose, turned
from difftalk.face.landmarks import BROWS, MESH_POINTS, OVAL
from difftalk.face.pose import Pose
from difftalk.face.space import ALIGNED_SIZE, EYE_DISTANCE, EYE_LINE, align
from difftalk.render.behind import lines
from difftalk.settings import Settings
from difftalk.stages import timed

Grid = NDArray[np.float64]
STAYS: Final = 1 / 64  # px: what moves by less shows the same pixels
Box = tuple[int, int, int, int]  # first and end: x0, y0, x1, y1, px of the source


@dataclass(frozen=True)
class Moved:
    """Where each pixel of a part of a picture comes from. where: (h, w, 2) px, x and y, of the part itself."""

    box: Box
    where: Array

    @timed("turn")
    def __call__(self, image: Image) -> Image:
        """The picture (h, w, 3), moved; beyond the box its bytes stay."""
        import cv2

        x0, y0, x1, y1 = self.box
        out, part, edge = image.copy(), image[y0:y1, x0:x1], cv2.BORDER_REPLICATE
        out[y0:y1, x0:x1] = cv2.remap(part, self.where, None, cv2.INTER_CUBIC, borderMode=edge)  # type: ignore[call-overload]
        return out


@dataclass(frozen=True)
class HeadField:
    """What is needed to move one still's head. Grids are (rows, columns) and cover the box.

    places: (rows, columns, 3) eye distances from between the eyes, as an upright head has them, z away from the camera.
    weight: in [0, 1], how far a place goes with the head; brows: with the brows. neck: (3,) as places. to_source:
    (2, 2), from there to source pixels. limits: (2, 7), how far each of a pose's numbers may go down and up.
    slack: (4,), how far roll, the neck's own shift and zoom may, each by itself.
    """

    box: Box
    places: Grid
    weight: Grid
    brows: Grid
    neck: NDArray[np.float64]
    to_source: NDArray[np.float64]
    limits: NDArray[np.float64]
    slack: NDArray[np.float64]

    @classmethod
    def of(cls, image: Image, points: Array, pose: Pose, settings: Settings) -> HeadField:
        """Of a picture, its mesh (478, 3), source pixels, and its pose."""
        how, alignment, size = settings.head, align(pose), image.shape[:2]
        scale = alignment.scale / EYE_DISTANCE
        middle = np.array([ALIGNED_SIZE / 2, EYE_LINE])
        mesh = alignment.points(points).astype(np.float64) - [*middle, pose.shift[2] * alignment.scale]
        mesh, rotation = mesh[:MESH_POINTS] / EYE_DISTANCE, turned(roll=-pose.roll) @ pose.rotation
        skull = _Skull.of(rotation, settings)
        low, high = skull.around(mesh[OVAL])
        corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
        corners = (corners * EYE_DISTANCE + middle) @ alignment.inverse[:, :2].T + alignment.inverse[:, 2]
        first = np.clip(np.floor(corners.min(0)), 0, np.array(size[::-1]) - 4).astype(int)
        end = np.clip(np.ceil(corners.max(0)), first + 4, size[::-1]).astype(int)
        x, y = (
            one + (np.arange(count) + 0.5) * (other - one) / count - 0.5
            for one, other in zip(first, end, strict=True)
            for count in [max(4, round((other - one) * scale / how.step))]
        )
        source = np.stack(np.meshgrid(x, y), -1)
        flat = (source @ alignment.matrix[:, :2].T + alignment.matrix[:, 2] - middle) / EYE_DISTANCE
        edge = np.minimum(np.minimum(x, size[1] - 1 - x)[None], np.minimum(y, size[0] - 1 - y)[:, None])
        edge -= max(x[1] - x[0], y[1] - y[0]) / 2  # so that what is between the border and the first places stays too
        within, to_source = smoothstep(edge * scale / how.border), alignment.inverse[:, :2] * EYE_DISTANCE
        part = image[first[1] : end[1], first[0] : end[0]]
        outside = _outside(flat, mesh[OVAL])
        lined = skull.lined(flat, skull.weight(flat, outside) * within, part, to_source)
        weight = skull.weight(flat, outside, lined) * within
        free, held = (np.array(one) for one in ((how.limits[2], *how.neck, how.limits[5]), how.before_lines))
        made = cls(
            (int(first[0]), int(first[1]), int(end[0]), int(end[1])),
            np.concatenate([flat, skull.depth(flat, mesh, outside)[..., None]], -1),
            weight,
            weight * _near(flat, mesh[BROWS], how.brow_reach),
            skull.neck,
            to_source,
            np.stack([-np.array(how.limits), np.array(how.limits)]),
            free + lined * (held - free),
        )
        return replace(made, limits=made._limits(pose.yaw, settings))

    @timed("head")
    def moved(self, pose: HeadPose) -> Moved | None:
        """How the picture looks in a pose, as far as it can be turned; None where nothing moves."""
        import cv2

        pose = self.limited(pose)
        if not pose.row.any():
            return None
        x0, y0, x1, y1 = self.box
        rows, columns = self.weight.shape
        shift = cv2.transform(self.shift(pose), self.to_source).astype(np.float32)
        per_node = np.array([columns / (x1 - x0), rows / (y1 - y0)], np.float32)
        nodes = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).astype(np.float32)
        back = -shift
        for _ in range(5):
            places = nodes + back * per_node
            back = -cv2.remap(shift, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        box = self._moving(back)
        if box is None:
            return None
        left, top, right, bottom = box
        where = np.asarray(cv2.resize(back, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR), np.float32)
        where = where[top:bottom, left:right]
        where[..., 0] += np.arange(right - left, dtype=np.float32)
        where[..., 1] += np.arange(bottom - top, dtype=np.float32)[:, None]
        return Moved((x0 + left, y0 + top, x0 + right, y0 + bottom), where)

    def _moving(self, back: Array) -> Box | None:
        """Which pixels of the box come from elsewhere, by where its places (rows, columns, 2) come from, px."""
        import cv2

        part = part_of(cv2.max(*cv2.split(np.abs(back))) >= STAYS, 1)
        if part is None:
            return None
        x0, y0, x1, y1 = self.box
        (top, bottom), (left, right) = (
            (max(0, one.start * size // count), min(size, -(-one.stop * size // count)))
            for one, size, count in zip(part, (y1 - y0, x1 - x0), self.weight.shape, strict=True)
        )
        return left, top, right, bottom

    def shift(self, pose: HeadPose) -> Grid:
        """(rows, columns, 2): eye distances right and down by which a pose moves each place."""
        import cv2

        turn = np.exp(pose.zoom) * pose.rotation[:2] - np.eye(3)[:2]
        shift = cv2.transform(self.places, np.concatenate([turn, [[pose.x], [pose.y]]], 1)) * self.weight[..., None]
        shift[..., 1] -= pose.brow * self.brows
        return np.asarray(shift, np.float64)

    def limited(self, pose: HeadPose) -> HeadPose:
        """The pose, softly held within the limits: what bends lines by itself, then all its numbers together."""
        own = pose.row
        own[3:5] -= (self.neck - pose.rotation @ self.neck)[:2]
        own[2:6] = self.slack * np.tanh(own[2:6] / self.slack)
        far = float(np.linalg.norm(own / np.where(own < 0, -self.limits[0], self.limits[1])))
        return self._about_neck(own * (np.tanh(far) / far)) if far > 0 else pose

    def _about_neck(self, row: NDArray[np.float64]) -> HeadPose:
        """A pose (7,) whose x and y are of the neck."""
        return HeadPose.about_neck(*map(float, row), neck=self.neck)

    def _limits(self, yaw: float, settings: Settings) -> NDArray[np.float64]:
        """(2, 7): so that no pose within them folds the picture, nor turns the head too far from the camera.

        yaw: degrees that it is turned already.
        """
        how, most = settings.head, np.array(settings.head.limits)
        strains = []
        for number, far in enumerate(most):
            down, up = (self.strain(self._about_neck(side * far * np.eye(7)[number])) for side in (-1, 1))
            strains.append(np.maximum(down, up))
        alone = np.array([min(1.0, how.strain / max(float(one.max()), 1e-6)) for one in strains])
        together = np.sqrt(sum((share * one) ** 2 for share, one in zip(alone, strains, strict=True)))
        most *= alone * min(1.0, how.strains / max(float(together.max()), 1e-6))
        limits = np.stack([-most, most])
        nearer, further = np.maximum(how.least_turn, [how.max_yaw + yaw, how.max_yaw - yaw])
        limits[:, 0] = max(-most[0], -nearer), min(most[0], further)
        return limits

    def strain(self, pose: HeadPose) -> Grid:
        """(rows, columns): share of itself by which a pose squeezes each place; where all stay under 1 nothing folds.

        The least eigenvalue of the displacement's symmetric part: that of several poses is at most their sum.
        """
        rows, columns = self.places[1, 0] - self.places[0, 0], self.places[0, 1] - self.places[0, 0]
        down, right = np.gradient(self.shift(pose), axis=(0, 1))
        slope = np.stack([right, down], -1) @ np.linalg.inv(np.stack([columns[:2], rows[:2]], 1))
        half, skew = (slope[..., 0, 0] - slope[..., 1, 1]) / 2, (slope[..., 0, 1] + slope[..., 1, 0]) / 2
        return np.asarray(np.maximum(np.hypot(half, skew) - (slope[..., 0, 0] + slope[..., 1, 1]) / 2, 0))


@dataclass(frozen=True)
class _Skull:
    """The head behind a face, as seen from the camera: an ellipse (x - middle) @ form @ (x - middle) = 1."""

    middle: NDArray[np.float64]  # (3,) eye distances from between the eyes, upright
    form: NDArray[np.float64]  # (2, 2)
    depth_of_middle: float  # from its middle to its front
    neck: NDArray[np.float64]  # (3,) whose depth all else has
    settings: Settings

    @classmethod
    def of(cls, rotation: NDArray[np.float64], settings: Settings) -> _Skull:
        how = settings.head
        full = rotation @ np.diag(1 / np.array(how.skull) ** 2) @ rotation.T
        form = full[:2, :2] - np.outer(full[:2, 2], full[2, :2]) / full[2, 2]
        middle = rotation @ np.array([0, *how.skull_middle])
        return cls(middle, form, float(1 / np.sqrt(full[2, 2])), rotation @ NECK, settings)

    def around(self, oval: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Corners (2,), (2,) of what moves at all, with the face's oval (36, 3)."""
        half, fade = np.sqrt(np.diag(np.linalg.inv(self.form))), self.settings.head.fade
        low = np.minimum(self.middle[:2] - half, oval[:, :2].min(0)) - fade
        return low, np.maximum(self.middle[:2] + half, oval[:, :2].max(0)) + fade

    def _radius(self, flat: Grid) -> Grid:
        """Squared, 1 at the head's edge."""
        beside = flat - self.middle[:2]
        return np.asarray(np.einsum("...i,ij,...j", beside, self.form, beside))

    def _front(self, flat: Grid) -> Grid:
        """Depth of places (..., 2) on the skull, and beside it."""
        front = self.middle[2] - self.depth_of_middle
        return np.asarray(self.neck[2] + (front - self.neck[2]) * np.clip(1 - self._radius(flat), 0, 1))

    def depth(self, flat: Grid, mesh: Grid, outside: Grid) -> Grid:
        """Of places (rows, columns, 2), so far outside the face: the mesh's, smoothly going over into the skull's."""
        import cv2

        how = self.settings.head
        weight = _apart(flat, mesh)
        weight *= np.float32(-0.5 / how.blur**2)
        weight -= (mesh[:, 2] / how.front).astype(np.float32)
        weight -= weight.max(-1, keepdims=True)
        np.exp(weight, out=weight)
        before = weight @ (mesh[:, 2] - self._front(mesh[:, :2])) / weight.sum(-1)
        depth = self._front(flat) + smoothstep(1 - outside / how.jaw) * before
        return np.asarray(cv2.GaussianBlur(depth, (0, 0), how.blur / how.step), np.float64)

    def weight(self, flat: Grid, outside: Grid, lined: float = 0.0) -> Grid:
        """How far places, so far outside the face, go with the head. lined: in [0, 1], how far there are lines."""
        how = self.settings.head
        beyond = np.minimum(outside, np.maximum(np.sqrt(self._radius(flat)) - 1, 0) * how.skull[0])
        away = (1 - lined) * beyond / how.fade + lined * outside / how.lines_fade
        return smoothstep(1 - away)

    def lined(self, flat: Grid, weight: Grid, part: Image, to_source: Grid) -> float:
        """In [0, 1]: how far there are lines behind the head, where a roll would bend them."""
        how = self.settings.head
        (low, high), (beside, above) = how.lines, how.lines_beside
        behind = (np.sqrt(self._radius(flat)) > beside) & (flat[..., 1] < above)
        way = np.stack([self.neck[1] - flat[..., 1], flat[..., 0] - self.neck[0]], -1) @ to_source.T
        share = behind * weight * (1 - weight)
        found = lines(part, way, share, around=how.lines_around / how.step, most=how.lines_most)
        return float(smoothstep(np.array((found - low) / (high - low))))


def _outside(flat: Grid, outline: Grid) -> Grid:
    """How far places (rows, columns, 2) are outside a polygon (n, 2 or 3)."""
    right, down = (np.roll(outline, -1, 0)[:, :2] - outline[:, :2]).T
    x, y = (flat[..., axis, None] - outline[:, axis] for axis in (0, 1))
    along = np.clip((x * right + y * down) / np.maximum(right**2 + down**2, 1e-12), 0, 1)
    away = np.sqrt(((x - along * right) ** 2 + (y - along * down) ** 2).min(-1))
    above = y < 0
    crosses = above != np.roll(above, -1, -1)
    inside = (crosses & ((x * down > y * right) == (down < 0))).sum(-1) % 2 == 1
    return np.where(inside, 0.0, away)


def _near(flat: Grid, points: Grid, reach: float) -> Grid:
    """1 at points (n, 3), nothing far from them."""
    return np.asarray(np.exp(-0.5 * _apart(flat, points).min(-1) / reach**2), np.float64)


def _apart(flat: Grid, points: Grid) -> Array:
    """(rows, columns, n): squares of how far places are from points (n, 3), as they are seen."""
    apart = -2 * flat @ points[:, :2].T
    apart += (flat**2).sum(-1, keepdims=True)
    apart += (points[:, :2] ** 2).sum(-1)
    return apart.astype(np.float32)
