"""Composites: a reference's own pixels, moved to the mouth shape of another frame.

The 854 triangles of the face mesh and three rings around the face carry the reference to the target mesh; where both
agree nothing moves; beyond them the surroundings move as the rim does. The inside of the mouth comes from a frame that
shows it, as far as there is one; the network paints the rest. Geometry only: knows nothing of audio, files or networks.

A *map* is (h, w, 2) float32: for every pixel of a grid, the region or a patch, aligned coordinates in the reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, part_of
from difftalk.face.landmarks import INNER_LIPS, MESH_POINTS, OVAL
from difftalk.face.space import ALIGNED_SIZE, EYE_LINE, REGION, REGION_SIZE, REGION_X, REGION_Y, Grid
from difftalk.model import SHIPPED
from difftalk.render.inner_mouth import Interior
from difftalk.render.lips import filled
from difftalk.render.references import Reference
from difftalk.render.surroundings import field, spread
from difftalk.settings import Settings
from difftalk.settings import Warp as WarpSettings

_SUBPIXEL_BITS: Final = 4
_TOPOLOGY: Final = SHIPPED / "mesh_topology.json"


@dataclass(frozen=True)
class Warp:
    """Where each pixel of a grid comes from. map: (h, w, 2) aligned px; inner, coverage: (h, w) in [0, 1]."""

    map: Array
    inner: Array
    coverage: Array
    settings: Settings
    grid: Grid = REGION

    def on(self, grid: Grid, target: Array) -> Warp:
        """The same on another grid. target: the mesh (478, 3) that it leads to, whose inner mouth is sharp there."""
        coverage = grid.of(self.coverage, self.grid)
        return Warp(grid.of(self.steady, self.grid), inner_mouth(target, grid), coverage, self.settings, grid)

    @cached_property
    def steady(self) -> Array:
        """The map without single pixels that look elsewhere than those around them.

        Beside a turned face's outline triangles are thinner than a pixel; a pixel that is next to one is far beyond it
        in the reference.
        """
        import cv2

        axes, stray = cv2.split(self.map), self.settings.warp.stray
        medians = [cv2.medianBlur(axis, 3) for axis in axes]
        away = cv2.max(*(cv2.absdiff(*pair) for pair in zip(axes, medians, strict=True)))
        if away.max() <= stray:
            return self.map
        for axis, median in zip(axes, medians, strict=True):
            np.copyto(axis, median, where=away > stray)
        return np.asarray(cv2.merge(axes), np.float32)

    @cached_property
    def torn(self) -> NDArray[np.bool_]:
        """(h, w): where pixels side by side look so far apart that what lies between is not to be seen."""
        import cv2

        around = np.ones((3, 3), np.uint8)
        spans = cv2.subtract(cv2.dilate(self.map, around), cv2.erode(self.map, around))
        tear = self.settings.warp.tear / self.grid.zoom
        if spans.max() <= tear:
            return np.zeros(self.grid.size, np.bool_)
        return np.asarray(cv2.max(*cv2.split(spans)) > tear)


@dataclass(frozen=True)
class _Topology:
    triangles: NDArray[np.int64]  # over mesh points, the rings' points, the mouth's middle
    face_count: int  # the first so many are of the face, then the mouth's inside, then the rings
    mouth_count: int


@lru_cache(maxsize=8)  # of models with other settings
def _topology(how: WarpSettings) -> _Topology:
    face = np.array(json.loads(_TOPOLOGY.read_text())["triangles"])
    face = face[(face < MESH_POINTS).all(1)]
    count, strips = len(OVAL), []
    for ring in range(len(how.rings)):
        inside = OVAL if ring == 0 else MESH_POINTS + (ring - 1) * count + np.arange(count)
        outside = MESH_POINTS + ring * count + np.arange(count)
        after = np.roll(np.arange(count), -1)
        strips.append(np.stack([inside, inside[after], outside], 1))
        strips.append(np.stack([inside[after], outside[after], outside], 1))
    middle = MESH_POINTS + len(how.rings) * count
    fan = np.stack([INNER_LIPS, np.roll(INNER_LIPS, -1), np.full(len(INNER_LIPS), middle)], 1)
    return _Topology(np.concatenate([face, fan, *strips]), len(face), len(fan))


def _extended(mesh: Array, rings: NDArray[np.float64]) -> NDArray[np.float64]:
    """A mesh's points, those of the rings (n, 3) and the mouth's middle."""
    return np.concatenate([mesh[:MESH_POINTS], rings, mesh[INNER_LIPS].mean(0, keepdims=True)])


def _rings(mesh: Array, how: WarpSettings) -> NDArray[np.float64]:
    """(108, 3): a mesh's oval, scaled from between the eyes."""
    centre = np.array([ALIGNED_SIZE / 2, EYE_LINE, 0.0])
    return np.concatenate([centre + (mesh[OVAL] - centre) * factor for factor in how.rings])


def _carried(rings: NDArray[np.float64], moved: Array, rim: Array | None, settings: Settings) -> NDArray[np.float64]:
    """The reference's rings (108, 3) as the target has them, whose oval has moved by (36, 3)."""
    share = np.repeat(settings.warp.ring_shares, len(moved))[:, None]
    out = rings + share * np.tile(moved, (len(settings.warp.rings), 1))
    if rim is not None:
        out[:, :2] -= (1 - share) * (spread(out[:, :2], settings.surroundings) @ rim)
    return np.asarray(out)


def warp(reference: Array, target: Array, rim: Array | None = None, *, settings: Settings) -> Warp:
    """The warp that carries the reference mesh (478, 3) to the target mesh (478, 3), both aligned.

    rim: (36, 2) rim motion of the surroundings; without it they are fixed to the head.
    """
    import cv2

    topology, rings = _topology(settings.warp), _rings(reference, settings.warp)
    source = _extended(reference, rings)
    moved = _extended(target, _carried(rings, target[OVAL] - reference[OVAL], rim, settings))
    corners = moved[topology.triangles]
    order, face_from = _seen(corners, settings.warp)
    corners = corners[order]
    labels = _labels(corners[..., :2])
    x, y = _mapped(labels, _affine(source[topology.triangles[order]], corners))
    if rim is not None:
        beside = (labels == 0).astype(np.float32)
        for axis, shift in zip((x, y), cv2.split(field(rim, settings)), strict=True):
            axis += beside * shift
    where = np.asarray(cv2.merge([x, y]), np.float32)
    return Warp(where, inner_mouth(target), (labels > face_from).astype(np.float32), settings)


def _seen(corners: NDArray[np.float64], how: WarpSettings) -> tuple[NDArray[np.int64], int]:
    """Triangles (n, 3, 3) in the region that face the camera, later ones before earlier; how many of them are rings."""
    topology = _topology(how)
    x, y = corners[..., 0].T, corners[..., 1].T
    seen = _areas(x, y) * _orientation(how) > 1e-3
    for axis, (first, end) in ((x, REGION_X), (y, REGION_Y)):
        seen &= (np.maximum(np.maximum(axis[0], axis[1]), axis[2]) > first) & (
            np.minimum(np.minimum(axis[0], axis[1]), axis[2]) < end
        )
    inside = topology.face_count + topology.mouth_count
    rings = np.flatnonzero(seen[inside:])[::-1] + inside  # outermost first
    face = np.flatnonzero(seen[:inside])
    face = face[np.argsort(-corners[face, :, 2].sum(1), kind="stable")]  # far ones first
    return np.concatenate([rings, face]), len(rings)


def _labels(corners: NDArray[np.float64]) -> NDArray[np.int32]:
    """(144, 176): which of the triangles (n, 3, 2), counted from 1, a pixel of the region shows; 0 beside them."""
    import cv2

    labels, draw = np.zeros(REGION_SIZE, np.int32), cv2.fillConvexPoly
    fixed = np.rint((corners - (REGION_X[0], REGION_Y[0])) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for label, triangle in enumerate(fixed, 1):
        draw(labels, triangle, label, cv2.LINE_8, _SUBPIXEL_BITS)
    return labels


def _areas(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the areas, with signs, of triangles of corners (3, n)."""
    return np.asarray((x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0]))


def _affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangles (n, 3, 2 or 3) -> (6, n), rows of the affine maps from target to source; no target is flat."""
    (x, y), (u, v) = ((one[..., 0].T, one[..., 1].T) for one in (target, source))
    share, rows = 1 / _areas(x, y), []
    for axis in (u, v):
        one, other = axis[1] - axis[0], axis[2] - axis[0]
        right = (one * (y[2] - y[0]) - other * (y[1] - y[0])) * share
        down = (other * (x[1] - x[0]) - one * (x[2] - x[0])) * share
        rows += [right, down, axis[0] - right * x[0] - down * y[0]]
    return np.stack(rows)


def _mapped(labels: NDArray[np.int32], maps: NDArray[np.float64]) -> tuple[Array, Array]:
    """x and y (144, 176) to which labels' maps (6, n) lead; where there is none, the pixel's own place."""
    identity = np.array([1.0, 0, 0, 0, 1, 0])[:, None]
    at, (columns, rows) = labels.astype(np.intp), REGION.places
    layers = [row.take(at) for row in np.concatenate([identity, maps], 1).astype(np.float32)]
    for right, down, shift in (layers[:3], layers[3:]):
        right *= columns
        down *= rows
        right += down
        right += shift
    return layers[0], layers[3]


@lru_cache(maxsize=8)  # of models with other settings
def _orientation(how: WarpSettings) -> NDArray[np.float64]:
    """Sign of each triangle's area where it faces the camera, read off the canonical face."""
    from difftalk.face.mouth import Geometry

    topology = _topology(how)
    canonical = Geometry.load(_TOPOLOGY.parent).canonical * 64 + np.array([ALIGNED_SIZE / 2, EYE_LINE, 0])
    points = _extended(canonical, _rings(canonical, how))[topology.triangles]
    sign = np.sign(_areas(points[..., 0].T, points[..., 1].T))
    sign[topology.face_count : topology.face_count + topology.mouth_count] = -1  # the lips run the other way round
    return sign


def inner_mouth(points: Array, grid: Grid = REGION) -> Array:
    """(h, w) soft mask in [0, 1] of the inner-lip polygon of an aligned mesh."""
    return filled(grid.points(points[INNER_LIPS, :2]), grid.size)


def compose(reference: Reference, moved: Warp, mouth: Reference, inside: Interior) -> Array:
    """The networks' composite (5, h, w) on the warp's grid: RGB in [-1, 1], inner mouth, coverage.

    The inner mouth's colours are those of `mouth` times the interior's share, which is also its coverage.
    """
    zoom, layers = moved.grid.zoom, np.empty((5, *moved.grid.size), np.float32)
    layers[:3], layers[3], layers[4] = _sampled(reference.seen(zoom), moved.map), moved.inner, moved.coverage
    part = part_of(moved.inner)
    if part is not None:
        inner, share, colour = moved.inner[part], np.float32(inside.share), layers[(slice(3), *part)]
        colour *= 1 - inner
        if share > 0:
            colour += share * inner * _sampled(mouth.seen(zoom), inside.within(part))
        layers[4][part] = moved.coverage[part] * (1 - inner) + share * inner
    return layers


def known(moved: Warp, inside: Interior) -> Array:
    """(h, w) in [0, 1]: where the composite has pixels of a reference."""
    return np.asarray(1 - np.float32(1 - inside.share) * moved.inner, np.float32)


def _sampled(reference: Reference, where: Array) -> Array:
    """(3, h, w) in [-1, 1]: the reference's pixels at a map."""
    import cv2

    edge, places = cv2.BORDER_REPLICATE, reference.places(where)
    pixels = cv2.remap(reference.image, places, None, cv2.INTER_LINEAR, borderMode=edge)  # type: ignore[call-overload]
    planes = np.empty((3, *where.shape[:2]), np.float32)
    for plane, own in zip(planes, cv2.split(pixels), strict=True):
        np.divide(own, np.float32(127.5), out=plane)
    planes -= 1
    return planes
