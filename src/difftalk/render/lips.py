"""The lips as they are pasted: where each of them ends, and where they meet, at the source's own resolution.

As a mouth closes, all that was between its lips is squeezed into one pixel of the region; enlarged from there it would
be a dark, jagged line. So each lip goes on beyond its edge, as its edge is, and which of them a pixel shows is found
where it is pasted. Geometry only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.landmarks import INNER_LIPS, LIP_BOTTOM, LIP_TOP, LOWER_EDGE, UPPER_EDGE
from difftalk.face.space import Grid
from difftalk.render.inner_mouth import Interior
from difftalk.settings import Settings


@dataclass(frozen=True)
class Lips:
    """Part of a grid, (h, w), that holds the lips' edges; `part` cuts it out of the grid's pixels.

    lips, inside: maps (h, w, 2) of the skin and of the mouth's inside, each as it goes on downwards from the upper lip
    and upwards from the lower one. depth: aligned px from the line midway between the lips, down. near: where the lips'
    maps differ from the warp's. shut: in [0, 1], how far the lips meet. opening: (n, 2) polygon of the inner mouth, px
    of the part; inner: how much of each pixel lies in it. apart: in [0, 1], how far the whole mouth is open. zoom: the
    grid's.
    """

    part: tuple[slice, slice]
    lips: tuple[Array, Array]
    inside: tuple[Array, Array]
    depth: Array
    near: NDArray[np.bool_]
    shut: Array
    opening: Array
    inner: Array
    apart: float
    zoom: int

    @classmethod
    def of(
        cls, reference: Array, target: Array, where: Array, inner: Array, inside: Interior, settings: Settings
    ) -> Lips | None:
        """The lips of the target mesh (478, 3), shown by those of the reference mesh (478, 3), both aligned.

        where, inner: the warp's map and inner mouth, on the grid of its inside. None where the lips lie beyond it.
        """
        how, grid = settings.lips, inside.grid
        part = _part(grid.points(target[INNER_LIPS, :2]), settings, grid)
        columns, rows = grid.places[0][part[1]], grid.places[1][part[0]]
        if not rows.size * columns.size:
            return None
        (top, *upper), (bottom, *lower) = (_edge(reference, target, edge, columns) for edge in (UPPER_EDGE, LOWER_EDGE))
        over, under, inner = rows - top, rows - bottom, inner[part]
        opening = (target[INNER_LIPS, :2] - np.array([columns[0], rows[0, 0]])) * grid.zoom
        left, right = target[INNER_LIPS, 0].min(), target[INNER_LIPS, 0].max()
        near = (over > -how.seam) & (under < how.seam) & ((columns >= left) & (columns <= right)) | (inner > 0)
        gap, opened = np.maximum(bottom - top, 0), target[LIP_BOTTOM, 1] - target[LIP_TOP, 1]
        shut, all_shut = (np.clip((how.parted - wide) / (how.parted - how.shut), 0, 1) for wide in (gap, opened))
        edge = np.float32(how.overlap * all_shut)
        return cls(
            part,
            (
                _changed(where[part], near, upper[0], upper[1] + np.minimum(over, -edge)),
                _changed(where[part], near, lower[0], lower[1] + np.maximum(under, edge)),
            ),
            inside.sides(part),
            np.asarray(rows - (top + bottom) / 2, np.float32),
            near,
            near * shut,
            opening,
            inner,
            float(1 - all_shut),
            grid.zoom,
        )

    def joined(self, change: Array, settings: Settings) -> Array:
        """A change (h, w, 3) of the part without its dots along lips that meet."""
        import cv2

        if not self.shut.any():
            return change
        along, across = (self.zoom * sigma for sigma in settings.lips.join)
        even = cv2.GaussianBlur(change, (0, 0), sigmaX=along, sigmaY=across)
        return np.asarray(change + self.shut[..., None] * (even - change), np.float32)


def filled(polygon: NDArray[np.floating], size: tuple[int, int]) -> Array:
    """(height, width) of `size`, in [0, 1]: how much of each pixel lies in a polygon (n, 2) of pixels."""
    import cv2

    out = np.zeros(size, np.float32)
    (left, right), (top, bottom) = (
        (max(0, floor(axis.min()) - 1), min(limit, ceil(axis.max()) + 2))
        for axis, limit in zip(polygon.T, size[::-1], strict=True)
    )
    if right > left and bottom > top:
        mask = np.zeros(((bottom - top) * 4, (right - left) * 4), np.uint8)
        corners = np.rint((polygon - (left, top) + 0.5) * 4 * 16 - 8).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_8, 4)
        covered = cv2.resize(mask, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        np.divide(covered, np.float32(255), out=out[top:bottom, left:right])
    return out


def _part(edges: NDArray[np.floating], settings: Settings, grid: Grid) -> tuple[slice, slice]:
    """The grid's rows and columns around points (n, 2) of the lips' edges, a pixel wider than what is `near`."""
    margin, size = np.array([2, 2 + grid.zoom * settings.lips.seam]), grid.size[::-1]
    low = np.clip(np.floor(edges.min(0) - margin).astype(int), 0, size)
    high = np.clip(np.ceil(edges.max(0) + margin).astype(int) + 1, 0, size)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _edge(reference: Array, target: Array, edge: NDArray[np.int64], columns: Array) -> list[Array]:
    """The target's row of a lip's edge at the columns, and x and y of the same place in the reference."""
    across = np.maximum.accumulate(target[edge, 0])
    return [np.interp(columns, across, v).astype(np.float32) for v in (target[edge, 1], *reference[edge, :2].T)]


def _changed(where: Array, share: NDArray[np.bool_], x: Array, y: Array) -> Array:
    """A map (h, w, 2) that leads to x and y where `share` says so."""
    out = where.copy()
    np.copyto(out[..., 0], x, where=share)
    np.copyto(out[..., 1], y, where=share)
    return out
