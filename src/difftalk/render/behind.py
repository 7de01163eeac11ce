"""What is behind a head: how many lines are seen there that would bend where it rolls.

Only lines across the way that a rolling head goes count: along it nothing is seen to move. Geometry and pixels only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Image


def lines(image: Image, way: NDArray[np.float64], share: NDArray[np.float64], *, around: float, most: float) -> float:
    """Levels by which a picture (h, w, 3) changes from one place of a grid to the next, along a way.

    way: (rows, columns, 2) in the picture's directions, of any length; share: (rows, columns), how far each counts.
    around: grid steps, sigma over which lines are gathered; most: levels that any place counts for.
    """
    import cv2

    rows, columns = share.shape
    coarse = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    down, right = np.gradient(coarse, axis=(0, 1))
    way = way / np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 1e-9)
    # squares are gathered, so that a line's two edges do not cancel
    squares = np.stack([(right**2).mean(-1), (right * down).mean(-1), (down**2).mean(-1)], -1)
    squares = np.asarray(cv2.GaussianBlur(squares, (0, 0), around), np.float64)
    x, y = way[..., 0], way[..., 1]
    along = squares[..., 0] * x**2 + 2 * squares[..., 1] * x * y + squares[..., 2] * y**2
    found = np.minimum(np.sqrt(np.maximum(along, 0)), most)
    return float((share * found).sum() / max(float(share.sum()), 1e-6))
