"""Composites: a reference's own pixels, moved to the mouth shape of another frame.

The 854 triangles of the face mesh and three rings around the face carry the reference to the target mesh; where both
agree nothing moves; beyond them the surroundings move as the rim does. The inside of the mouth comes from a frame that
shows it, as far as there is one; the network paints the rest. Geometry only: knows nothing of audio, files or networks.

A *map* is (h, w, 2) float32: for every pixel of a grid, the region or a patch, aligned coordinates in the reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.landmarks import INNER_LIPS, MESH_POINTS, OVAL
from difftalk.face.space import ALIGNED_SIZE, EYE_LINE, REGION, REGION_SIZE, REGION_X, REGION_Y, Grid
from difftalk.model import SHIPPED
from difftalk.render.inner_mouth import Interior
from difftalk.render.lips import filled
from difftalk.render.references import Reference
from difftalk.render.surroundings import field, spread
from difftalk.settings import Settings

_SUBPIXEL_BITS: Final = 4
_TOPOLOGY: Final = SHIPPED / "mesh_topology.json"


@dataclass(frozen=True)
class Warp:
    """Where each pixel of a grid comes from. map: (h, w, 2) aligned px; inner, coverage: (h, w) in [0, 1]."""

    map: Array
    inner: Array
    coverage: Array
    grid: Grid = REGION

    def on(self, grid: Grid, target: Array, settings: Settings) -> Warp:
        """The same on another grid. target: the mesh (478, 3) that it leads to, whose inner mouth is sharp there."""
        coverage = grid.of(self.coverage, self.grid)
        return Warp(grid.of(self.steady(settings), self.grid), inner_mouth(target, grid), coverage, grid)

    def steady(self, settings: Settings) -> Array:
        """The map without single pixels that look elsewhere than those around them.

        Beside a turned face's outline triangles are thinner than a pixel; a pixel that is next to one is far beyond it
        in the reference.
        """
        import cv2

        median = np.stack([cv2.medianBlur(axis, 3) for axis in cv2.split(self.map)], -1)
        strays = (np.abs(median - self.map) > settings.warp.stray).any(-1, keepdims=True)
        return np.where(strays, median, self.map)

    def torn(self, settings: Settings) -> NDArray[np.bool_]:
        """(h, w): where pixels side by side look so far apart that what lies between is not to be seen."""
        import cv2

        around = np.ones((3, 3), np.uint8)
        spans = [cv2.dilate(axis, around) - cv2.erode(axis, around) for axis in cv2.split(self.map)]
        return np.asarray(self.grid.zoom * np.maximum(*spans) > settings.warp.tear)


@dataclass(frozen=True)
class _Topology:
    triangles: NDArray[np.int64]  # over mesh points, the rings' points, the mouth's middle
    face_count: int  # the first so many are of the face, then the mouth's inside, then the rings
    mouth_count: int


@lru_cache(maxsize=8)  # of models with other settings
def _topology(settings: Settings) -> _Topology:
    face = np.array(json.loads(_TOPOLOGY.read_text())["triangles"])
    face = face[(face < MESH_POINTS).all(1)]
    count, strips = len(OVAL), []
    for ring in range(len(settings.warp.rings)):
        inside = OVAL if ring == 0 else MESH_POINTS + (ring - 1) * count + np.arange(count)
        outside = MESH_POINTS + ring * count + np.arange(count)
        after = np.roll(np.arange(count), -1)
        strips.append(np.stack([inside, inside[after], outside], 1))
        strips.append(np.stack([inside[after], outside[after], outside], 1))
    middle = MESH_POINTS + len(settings.warp.rings) * count
    fan = np.stack([INNER_LIPS, np.roll(INNER_LIPS, -1), np.full(len(INNER_LIPS), middle)], 1)
    return _Topology(np.concatenate([face, fan, *strips]), len(face), len(fan))


def _extend(
    reference: Array,
    target: Array,
    rim: Array | None = None,
    *,
    settings: Settings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mesh points, rings and the mouth's middle, (468 + 108 + 1, 3), of reference and target."""
    how = settings.warp
    centre = np.array([ALIGNED_SIZE / 2, EYE_LINE, 0.0])
    oval, moved = reference[OVAL].astype(np.float64), target[OVAL] - reference[OVAL]
    rings = [centre + (oval - centre) * factor for factor in how.rings]
    carried = [ring + share * moved for ring, share in zip(rings, how.ring_shares, strict=True)]
    if rim is not None:
        for ring, share in zip(carried, how.ring_shares, strict=True):
            ring[:, :2] -= (1 - share) * (spread(ring[:, :2], settings) @ rim)
    middles = [mesh[INNER_LIPS].mean(0, keepdims=True) for mesh in (reference, target)]
    return (
        np.concatenate([reference[:MESH_POINTS], *rings, middles[0]]),
        np.concatenate([target[:MESH_POINTS], *carried, middles[1]]),
    )


def _affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangles (n, 3, 2) -> (n, 2, 3) affine maps from target to source coordinates; flat targets give zeros."""
    a, b = target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    safe = np.where(np.abs(area) < 1e-6, 1.0, area)
    inverse = np.stack([np.stack([b[:, 1], -b[:, 0]], 1), np.stack([-a[:, 1], a[:, 0]], 1)], 1) / safe[:, None, None]
    edges = np.stack([source[:, 1] - source[:, 0], source[:, 2] - source[:, 0]], 2)
    linear = edges @ inverse
    shift = source[:, 0] - (linear @ target[:, 0, :, None])[..., 0]
    return np.concatenate([linear, shift[..., None]], 2)


def warp(reference: Array, target: Array, rim: Array | None = None, *, settings: Settings) -> Warp:
    """The warp that carries the reference mesh (478, 3) to the target mesh (478, 3), both aligned.

    rim: (36, 2) rim motion of the surroundings; without it they are fixed to the head.
    """
    import cv2

    topology = _topology(settings)
    source, moved = _extend(reference, target, rim, settings=settings)
    corners = moved[topology.triangles]
    flat = corners[:, :, :2] - np.array([REGION_X[0], REGION_Y[0]])
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    facing = area * _orientation(settings) > 1e-3
    low, high = flat.min(1), flat.max(1)
    seen = facing & (high > 0).all(1) & (low[:, 0] < REGION_SIZE[1]) & (low[:, 1] < REGION_SIZE[0])
    inside = topology.face_count + topology.mouth_count
    rings = np.flatnonzero(seen[inside:])[::-1] + inside  # outermost first
    face = np.flatnonzero(seen[:inside])
    face = face[np.argsort(-corners[face, :, 2].mean(1), kind="stable")]  # far ones first
    order = np.concatenate([rings, face])
    labels = np.zeros(REGION_SIZE, np.int32)
    fixed = np.round(flat[order] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for label, triangle in enumerate(fixed, 1):
        cv2.fillConvexPoly(labels, triangle, label, cv2.LINE_8, _SUBPIXEL_BITS)
    offset = np.array([REGION_X[0], REGION_Y[0]])
    maps = np.concatenate(
        [[[[1.0, 0, 0], [0, 1.0, 0]]], _affine(source[topology.triangles[order]][..., :2], flat[order] + offset)]
    )
    pixel = maps.astype(np.float32)[labels]
    x, y = _grid()
    where = pixel[..., 0] * x + pixel[..., 1] * y + pixel[..., 2]
    if rim is not None:
        where += field(rim, settings) * (labels == 0)[..., None]
    coverage = (labels > len(rings)).astype(np.float32)
    return Warp(where, inner_mouth(target), coverage)


@lru_cache(maxsize=8)  # of models with other settings
def _orientation(settings: Settings) -> NDArray[np.float64]:
    """Sign of each triangle's area where it faces the camera, read off the canonical face."""
    from difftalk.face.mouth import Geometry

    canonical = Geometry.load(_TOPOLOGY.parent).canonical * 64 + np.array([ALIGNED_SIZE / 2, EYE_LINE, 0])
    points = _extend(canonical, canonical, settings=settings)[0][_topology(settings).triangles][..., :2]
    a, b = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    sign = np.sign(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    topology = _topology(settings)
    sign[topology.face_count : topology.face_count + topology.mouth_count] = -1  # the lips run the other way round
    return sign


@lru_cache(maxsize=1)
def _grid() -> tuple[Array, Array]:
    y, x = np.mgrid[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]].astype(np.float32)
    return x[..., None], y[..., None]


def inner_mouth(points: Array, grid: Grid = REGION) -> Array:
    """(h, w) soft mask in [0, 1] of the inner-lip polygon of an aligned mesh."""
    return filled(grid.points(points[INNER_LIPS, :2]), grid.size)


def compose(reference: Reference, moved: Warp, mouth: Reference, inside: Interior) -> Array:
    """The networks' composite (5, h, w) on the warp's grid: RGB in [-1, 1], inner mouth, coverage.

    The inner mouth's colours are those of `mouth` times the interior's share, which is also its coverage.
    """
    zoom, inner = moved.grid.zoom, moved.inner[..., None]
    colour = _sampled(reference.seen(zoom), moved.map)
    filled = np.float32(inside.share) * _sampled(mouth.seen(zoom), inside.map) if inside.share > 0 else np.float32(0)
    colour = colour * (1 - inner) + filled * inner
    coverage = moved.coverage * (1 - moved.inner) + np.float32(inside.share) * moved.inner
    return np.concatenate([colour.transpose(2, 0, 1), moved.inner[None], coverage[None]]).astype(np.float32)


def known(moved: Warp, inside: Interior) -> Array:
    """(h, w) in [0, 1]: where the composite has pixels of a reference."""
    return np.asarray(1 - np.float32(1 - inside.share) * moved.inner, np.float32)


def _sampled(reference: Reference, where: Array) -> Array:
    """(h, w, 3) in [-1, 1]: the reference's pixels at a map."""
    import cv2

    edge, places = cv2.BORDER_REPLICATE, reference.places(where)
    pixels = cv2.remap(reference.image, places, None, cv2.INTER_LINEAR, borderMode=edge)  # type: ignore[call-overload]
    return np.asarray(pixels.astype(np.float32) / 127.5 - 1, np.float32)
