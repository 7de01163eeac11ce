"""Geometry as its formulas are written, pixel by pixel and without haste: what the renderer's must agree with."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.landmarks import INNER_LIPS, LIP_BOTTOM, LIP_TOP, LOWER_EDGE, MESH_POINTS, OVAL, UPPER_EDGE
from difftalk.face.space import EYE_LINE, REGION, Alignment, Grid
from difftalk.render.paste import Drawn, Layer
from difftalk.render.references import Reference
from difftalk.render.warp import _orientation, _topology
from difftalk.settings import Settings

Any3 = NDArray[Any]
EDGE = cv2.BORDER_REPLICATE


def filled(polygon: Any3, size: tuple[int, int]) -> Array:
    mask = np.zeros((size[0] * 4, size[1] * 4), np.uint8)
    cv2.fillPoly(mask, [np.round((polygon + 0.5) * 4 * 16 - 8).astype(np.int32)], 255, cv2.LINE_8, 4)
    return np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)


def inner_mouth(mesh: Array, grid: Grid) -> Array:
    return filled(grid.points(mesh[INNER_LIPS, :2]), grid.size)


def warped(reference: Array, target: Array, settings: Settings) -> tuple[Array, Array]:
    """Map (144, 176, 2) and coverage (144, 176) of a still: triangle by triangle, farther ones first."""
    how, topology, centre = settings.warp, _topology(settings.warp), np.array([128.0, EYE_LINE, 0])
    rings = [centre + (reference[OVAL] - centre) * factor for factor in how.rings]
    carried = [
        ring + share * (target[OVAL] - reference[OVAL]) for ring, share in zip(rings, how.ring_shares, strict=True)
    ]
    source, moved = (
        np.concatenate([mesh[:MESH_POINTS], *beside, mesh[INNER_LIPS].mean(0, keepdims=True)])
        for mesh, beside in ((reference, rings), (target, carried))
    )
    inside = topology.face_count + topology.mouth_count
    order = [*range(len(topology.triangles) - 1, inside - 1, -1)]
    order += sorted(range(inside), key=lambda n: -float(moved[topology.triangles[n], 2].mean()))
    x, y = np.broadcast_arrays(*REGION.places)
    where, coverage = np.stack([x, y], -1), np.zeros(REGION.size, np.float32)
    for number in order:
        there, here = source[topology.triangles[number], :2], moved[topology.triangles[number], :2]
        right, down = here[1:] - here[0]
        if (right[0] * down[1] - right[1] * down[0]) * _orientation(how)[number] <= 1e-3:
            continue
        mask = np.zeros(REGION.size, np.uint8)
        cv2.fillConvexPoly(mask, np.round((here - REGION.corner) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
        matrix = there.T @ np.linalg.inv(np.concatenate([here.T, np.ones((1, 3))]))
        at = mask == 1
        where[at] = np.stack([x[at], y[at], np.ones(at.sum())], -1) @ matrix.T
        coverage[at] = number < inside
    return where, coverage


def steady(where: Array, settings: Settings) -> Array:
    median = np.stack([cv2.medianBlur(axis, 3) for axis in cv2.split(where)], -1)
    return np.where((np.abs(median - where) > settings.warp.stray).any(-1, keepdims=True), median, where)


def interior(reference: Array, target: Array, settings: Settings, grid: Grid) -> tuple[Array, Array, Array, float]:
    """Maps (h, w, 2): both lips' teeth; counted from the upper lip; from the lower one; how much is shown."""

    def edges(mesh: Array, columns: Any3) -> list[Any3]:
        by_column = [mesh[edge, :2][np.argsort(mesh[edge, 0], kind="stable")] for edge in (UPPER_EDGE, LOWER_EDGE)]
        return [np.interp(columns, *points.T) for points in by_column]

    how, (columns, rows) = settings.lips, grid.places
    (left, right), (there, beyond) = (mesh[LOWER_EDGE[[0, -1]], 0] for mesh in (target, reference))
    scale = (beyond - there) / max(right - left, 1.0)
    across = there + (columns - left) * scale
    (top, bottom), (seen_top, seen_bottom) = edges(target, columns), edges(reference, across)
    wanted, seen = np.maximum(bottom - top, 0), np.maximum(seen_bottom - seen_top, 0)
    stretch = np.minimum(scale, seen / np.maximum(wanted, how.thin))
    above, below = seen_top + (rows - top) * stretch, seen_bottom - (bottom - rows) * stretch
    share = np.minimum(seen, scale * wanted).sum() / max((scale * wanted).sum(), how.thin)
    maps = [
        np.stack(np.broadcast_arrays(across, down), -1).astype(np.float32)
        for down in (np.where(rows - top <= wanted / 2, above, below), above, below)
    ]
    shown = np.clip((share - how.shows_little) / (how.shows_enough - how.shows_little), 0, 1)
    return maps[0], maps[1], maps[2], float(shown)


def composite(
    reference: Reference, mouth: Reference, mesh: Array, where: Array, settings: Settings, grid: Grid
) -> Array:
    """(h, w, 4): RGB in [-1, 1] and the inner mouth."""
    inside, _, _, share = interior(mouth.points, mesh, settings, grid)
    inner = inner_mouth(mesh, grid)[..., None]
    skin, teeth = (
        cv2.remap(seen.image, seen.places(at), None, cv2.INTER_LINEAR, borderMode=EDGE).astype(np.float32) / 127.5 - 1  # type: ignore[call-overload]
        for seen, at in ((reference.seen(grid.zoom), where), (mouth.seen(grid.zoom), inside))
    )
    return np.concatenate([skin * (1 - inner) + share * teeth * inner, inner], 2)


def shown_of(picture: Array, layers: Array, settings: Settings) -> Array:
    """What a decoded picture (1, 3, h, w) over a composite (5, h, w) shows: (h, w, 3)."""
    how, plain, inner = settings.drawing, layers[:3].transpose(1, 2, 0), layers[3]
    wide = cv2.GaussianBlur(cv2.dilate(inner, np.ones((how.mouth_rim, how.mouth_rim))), (0, 0), how.mouth_soft)
    share = 1 - how.change_held * (1 - wide[..., None])
    held = np.asarray(plain + share * (picture[0].transpose(1, 2, 0) - plain), np.float32)
    light = held + 1
    skin = np.median(plain[inner == 0][::7], axis=0) + 1 + how.tint_dark
    even = cv2.GaussianBlur(light, (0, 0), how.tint_reach) + how.tint_dark
    less = np.minimum(1, even[..., :1] * (skin / skin[0] * np.array([1, *how.most_tint])) / even)
    weights = np.array([0.299, 0.587, 0.114])
    kept = less * (even @ weights / ((less * even) @ weights))[..., None]
    plain = np.asarray(held + inner[..., None] * (kept - 1) * light, np.float32)
    detail = plain - cv2.GaussianBlur(plain, (0, 0), how.crisp_reach)
    crisp = inner * cv2.GaussianBlur(inner, (0, 0), how.crisp_reach)
    return np.asarray(np.clip(plain + how.crispness * crisp[..., None] * detail, -1, 1), np.float32)


def pasted(frame: Image, alignment: Alignment, reference: Reference, drawn: Drawn) -> Image:
    """The frame (h, w, 3) of a still with a warp that is nowhere torn."""
    out = frame.astype(np.float32)
    for layer in drawn.layers:
        grid, back = layer.composite.grid, alignment.inverse
        matrix = np.concatenate([back, [[0, 0, 1]]]) @ np.concatenate([grid.matrix, [[0, 0, 1]]])
        weight = _on(grid.mask, matrix, frame, cv2.BORDER_CONSTANT)[..., None]
        old = np.round(out)
        out = np.clip(
            np.round((1 - weight) * old + weight * _sharp(layer, matrix, frame, alignment, reference, drawn)), 0, 255
        )
        out = np.where(weight > 0, out, old)
    return out.astype(np.uint8)


def _on(layers: Array, matrix: Any3, frame: Image, edge: int = EDGE) -> Array:
    return np.asarray(cv2.warpAffine(layers, matrix[:2], frame.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=edge))


def _own(reference: Reference, where: Array, matrix: Any3 | None, frame: Image) -> Array:
    places = reference.places(where) if matrix is None else _on(reference.places(where), matrix, frame)
    return np.asarray(cv2.remap(reference.image, places, None, cv2.INTER_CUBIC, borderMode=EDGE), np.float32)  # type: ignore[call-overload]


def _evened(layers: Array, matrix: Any3, settings: Settings) -> Array:
    pixel = 1 / np.hypot(matrix[0, 0], matrix[1, 0])
    if pixel <= settings.drawing.even_from:
        return layers
    return np.asarray(cv2.GaussianBlur(layers, (0, 0), 0.5 * (pixel**2 - 1) ** 0.5), np.float32)


def _sharp(layer: Layer, matrix: Any3, frame: Image, alignment: Alignment, reference: Reference, drawn: Drawn) -> Array:
    """(h, w, 3) levels of what a layer shows, for every pixel of the frame."""
    settings, where = drawn.settings, layer.composite.warp.map
    change = (layer.picture - layer.composite.layers[:3].transpose(1, 2, 0)) * 127.5
    sharp = _own(reference, steady(where, settings), matrix, frame)
    if layer is drawn.layers[-1]:
        change, mouth, near = _mouth(layer, change, matrix, frame, alignment, reference, drawn)
        sharp = np.where(near, mouth, sharp)
    return sharp + _on(_evened(change, matrix, settings), matrix, frame)


def _mouth(
    layer: Layer, change: Array, matrix: Any3, frame: Image, alignment: Alignment, reference: Reference, drawn: Drawn
) -> tuple[Array, Array, Any3]:
    """The layer's change; lips and mouth as they are shown, for every pixel of the frame, and where they are."""
    how, grid, mesh = drawn.settings.lips, layer.composite.grid, drawn.mesh
    columns, rows = grid.places
    (top, *upper), (bottom, *lower) = (
        [
            np.interp(columns, np.maximum.accumulate(mesh[edge, 0]), axis)
            for axis in (mesh[edge, 1], *reference.points[edge, :2].T)
        ]
        for edge in (UPPER_EDGE, LOWER_EDGE)
    )
    gap, opened = np.maximum(bottom - top, 0), mesh[LIP_BOTTOM, 1] - mesh[LIP_TOP, 1]
    shut, all_shut = (np.clip((how.parted - wide) / (how.parted - how.shut), 0, 1) for wide in (gap, opened))
    edges, inner = mesh[INNER_LIPS, :2], inner_mouth(mesh, grid)
    between = (columns >= edges[:, 0].min()) & (columns <= edges[:, 0].max())
    near = ((rows - top > -how.seam) & (rows - bottom < how.seam) & between | (inner > 0))[..., None]
    where = layer.composite.warp.map
    beyond = (np.minimum(rows - top, -how.overlap * all_shut), np.maximum(rows - bottom, how.overlap * all_shut))
    lips = [
        np.where(near, np.stack(np.broadcast_arrays(x, y + by), -1), where).astype(np.float32)
        for (x, y), by in zip((upper, lower), beyond, strict=True)
    ]
    _, above, below, share = interior(drawn.mouth.points, mesh, drawn.settings, grid)
    picture = np.asarray((layer.picture + 1) * 127.5, np.float32)
    depth = (rows - (top + bottom) / 2).astype(np.float32)

    def seen(by: Reference, mouth: Reference, matrix: Any3 | None, mask: Array, pixel: float) -> Array:
        own = picture if matrix is None else _on(_evened(picture, matrix, drawn.settings), matrix, frame)
        weight, sides = (1 - all_shut) * mask[..., None], []
        for lip, inside in zip(lips, (above, below), strict=True):
            shown = own + share * (_own(mouth, inside, matrix, frame) - own)
            sides.append(_own(by, lip, matrix, frame) * (1 - weight) + shown * weight)
        upper = np.clip(0.5 - (depth if matrix is None else _on(depth, matrix, frame)) / pixel, 0, 1)[..., None]
        return np.asarray(sides[0] * upper + sides[1] * (1 - upper), np.float32)

    coarse = seen(reference.seen(grid.zoom), drawn.mouth.seen(grid.zoom), None, inner, 1 / grid.zoom)
    change = np.where(near, picture - coarse, change)
    part = _part(grid, edges, how.seam)
    even = cv2.GaussianBlur(change[part], (0, 0), sigmaX=grid.zoom * how.join[0], sigmaY=grid.zoom * how.join[1])
    change[part] += (near * shut[:, None])[part] * (even - change[part])
    opening = np.concatenate([grid.points(edges), np.ones((len(edges), 1))], 1) @ matrix[:2].T
    mask = share * filled(opening, frame.shape[:2]) + (1 - share) * _on(inner, matrix, frame, cv2.BORDER_CONSTANT)
    fine = seen(reference, drawn.mouth, matrix, mask, alignment.scale)
    ratio = (picture.mean(2) + 8) / (coarse.mean(2) + 8)
    kept = 1 - inner * (1 - np.clip(ratio / drawn.settings.drawing.detail_whole, 0, 1))
    coarse, kept = _on(coarse, matrix, frame), _on(kept.astype(np.float32), matrix, frame)[..., None]
    return change, coarse + kept * (fine - coarse), _on(near.astype(np.float32)[..., 0], matrix, frame)[..., None] > 0


def _part(grid: Grid, edges: Any3, seam: float) -> tuple[slice, slice]:
    points, margin = grid.points(edges), np.array([2, 2 + grid.zoom * seam])
    (x0, y0), (x1, y1) = np.floor(points.min(0) - margin), np.ceil(points.max(0) + margin) + 1
    return slice(max(0, int(y0)), int(y1)), slice(max(0, int(x0)), int(x1))
