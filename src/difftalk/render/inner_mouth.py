"""The mouth's inside in a composite: another frame's own pixels, carried between the lips of the target mesh.

Upper teeth hang on the upper lip and lower teeth on the lower one: a pixel keeps its distance from the lip that it is
nearer to, so teeth keep their size and it is the dark between them that grows or vanishes. Geometry only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.landmarks import LOWER_EDGE, UPPER_EDGE
from difftalk.face.space import REGION, Grid
from difftalk.settings import Settings


@dataclass(frozen=True)
class Interior:
    """Where each pixel between the lips comes from.

    map: (h, w, 2) aligned px of the reference, for every pixel of a grid; means nothing outside the inner mouth. above,
    below: (h, w) its y as counted from the upper lip and from the lower one. share: in [0, 1], how far the reference's
    mouth is open enough to be looked into.
    """

    map: Array
    above: Array
    below: Array
    share: float


def interior(reference: Array, target: Array, settings: Settings, grid: Grid = REGION) -> Interior:
    """The inside of the reference mesh's mouth (478, 3), carried into the target mesh's (478, 3), both aligned."""
    how, (columns, rows) = settings.lips, grid.places
    left, right = target[LOWER_EDGE[[0, -1]], 0]
    there, beyond = reference[LOWER_EDGE[[0, -1]], 0]
    scale = (beyond - there) / max(float(right - left), 1.0)
    across = there + (columns - left) * scale
    (top, bottom), (reference_top, reference_bottom) = _edges(target, columns), _edges(reference, across)
    wanted, seen = np.maximum(bottom - top, 0), np.maximum(reference_bottom - reference_top, 0)
    stretch = np.minimum(scale, seen / np.maximum(wanted, how.thin))
    above, below = reference_top + (rows - top) * stretch, reference_bottom - (bottom - rows) * stretch
    down = np.where(rows - top <= wanted / 2, above, below)
    where = np.stack(np.broadcast_arrays(across, down), -1).astype(np.float32)
    open_share = np.minimum(seen, scale * wanted).sum() / max(float(scale * wanted.sum()), how.thin)
    share = np.clip(
        (open_share - how.shows_little) / (how.shows_enough - how.shows_little),
        0,
        1,
    )
    return Interior(where, above, below, float(share))


def _edges(mesh: Array, columns: NDArray[np.floating]) -> tuple[Array, Array]:
    """Rows of the inner edges of upper and lower lip at the columns."""
    found = []
    for edge in (UPPER_EDGE, LOWER_EDGE):
        points = mesh[edge, :2]
        points = points[np.argsort(points[:, 0], kind="stable")]
        found.append(np.interp(columns, points[:, 0], points[:, 1]).astype(np.float32))
    return found[0], found[1]
