"""The mouth's inside in a composite: another frame's own pixels, carried between the lips of the target mesh.

Upper teeth hang on the upper lip and lower teeth on the lower one: a pixel keeps its distance from the lip that it is
nearer to, so teeth keep their size and it is the dark between them that grows or vanishes. Geometry only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Part
from difftalk.face.landmarks import LOWER_EDGE, UPPER_EDGE
from difftalk.face.space import REGION, Grid
from difftalk.settings import Settings


@dataclass(frozen=True)
class Interior:
    """Where each pixel between the lips comes from, column by column of a grid; means nothing outside the inner mouth.

    across: (w,) aligned x of the reference. stretch: (w,) its px for one of the target, down. above, below: (w,) its y
    at the target's y 0, as counted from the upper lip and from the lower one. middle: (w,) the target's y down to which
    the upper one counts. share: in [0, 1], how far the reference's mouth is open enough to be looked into.
    """

    grid: Grid
    across: NDArray[np.floating]
    stretch: NDArray[np.floating]
    above: NDArray[np.floating]
    below: NDArray[np.floating]
    middle: NDArray[np.floating]
    share: float

    @property
    def map(self) -> Array:
        """(h, w, 2) aligned px of the reference, for every pixel of the grid."""
        return self.within(np.s_[:, :])

    def within(self, part: Part) -> Array:
        """The map (h, w, 2) of a part of the grid."""
        rows, columns = self.grid.places[1][part[0]], part[1]
        start = np.where(rows <= self.middle[columns], self.above[columns], self.below[columns])
        return self._joined(start + rows * self.stretch[columns], columns)

    def sides(self, part: Part) -> tuple[Array, Array]:
        """Maps (h, w, 2) of a part of the grid, all of it counted from the upper lip, and from the lower one."""
        down, columns = self.grid.places[1][part[0]] * self.stretch[part[1]], part[1]
        return self._joined(down + self.above[columns], columns), self._joined(down + self.below[columns], columns)

    def _joined(self, down: NDArray[np.floating], columns: slice) -> Array:
        where = np.empty((*down.shape, 2), np.float32)
        where[..., 0], where[..., 1] = self.across[columns], down
        return where


def interior(reference: Array, target: Array, settings: Settings, grid: Grid = REGION) -> Interior:
    """The inside of the reference mesh's mouth (478, 3), carried into the target mesh's (478, 3), both aligned."""
    how, columns = settings.lips, grid.places[0]
    left, right = map(float, target[LOWER_EDGE[[0, -1]], 0])
    there, beyond = map(float, reference[LOWER_EDGE[[0, -1]], 0])
    scale = (beyond - there) / max(right - left, 1.0)
    across = there + (columns - left) * scale
    (top, bottom), (reference_top, reference_bottom) = _edges(target, columns), _edges(reference, across)
    wanted, seen = np.maximum(bottom - top, 0), np.maximum(reference_bottom - reference_top, 0)
    stretch = np.minimum(scale, seen / np.maximum(wanted, how.thin))
    open_share = np.minimum(seen, scale * wanted).sum() / max(float(scale * wanted.sum()), how.thin)
    share = (float(open_share) - how.shows_little) / (how.shows_enough - how.shows_little)
    return Interior(
        grid,
        across,
        stretch,
        reference_top - top * stretch,
        reference_bottom - bottom * stretch,
        top + wanted / 2,
        min(max(share, 0.0), 1.0),
    )


def _edges(mesh: Array, columns: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of the inner edges of upper and lower lip at the columns."""
    found = []
    for edge in (UPPER_EDGE, LOWER_EDGE):
        x, y = mesh[edge, 0], mesh[edge, 1]
        order = np.argsort(x, kind="stable")
        found.append(np.interp(columns, x[order], y[order]))
    return found[0], found[1]
