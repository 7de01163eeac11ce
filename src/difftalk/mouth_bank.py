"""The mouth bank: frames of a video that show the inside of its person's mouth, one for each way of opening it.

A way is a step of opening and of width; the frame kept for it is the one that looks most towards the camera. Knows
nothing of pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.mouth import opening

OPENING_STEP: Final = 0.05  # eye distances
WIDTH_STEP: Final = 0.12  # eye distances
MAX_MOUTHS: Final = 12
TURN_WEIGHT: Final = 0.3  # units of mouth shape that a degree of turn counts for
STAY: Final = 0.3  # units of mouth shape another mouth must be nearer before it takes over
TURN_STAY: Final = 3.0  # degrees another reference must be nearer before it takes over
CORNERS: Final = (78, 308)  # of the inner lips

Way = tuple[int, int]  # of opening: steps of opening and of width


def way_of(free: NDArray[np.floating]) -> Way:
    """Which way of opening the mouth pose-free points (478, 3) stand for."""
    width = np.linalg.norm(free[CORNERS[0]] - free[CORNERS[1]])
    return round(float(opening(free)) / OPENING_STEP), round(float(width) / WIDTH_STEP)


def nearest(
    shapes: NDArray[np.floating],
    turns: NDArray[np.floating],
    shape: NDArray[np.floating],
    turn: NDArray[np.floating],
    before: int | None,
) -> int:
    """Number of the mouth nearest to a mouth shape (16,) and a turn (2,), degrees.

    shapes, turns: (n, 16), (n, 2) of the bank. before: the one used last, which stays unless another is clearly nearer.
    """
    apart = np.sum((shapes - shape) ** 2, axis=1) + (TURN_WEIGHT * np.linalg.norm(turns - turn, axis=1)) ** 2
    return staying(np.sqrt(apart), before, STAY)


def staying(distance: NDArray[np.floating], before: int | None, stay: float) -> int:
    """Place of the least of the distances (n,); `before` stays unless another is nearer by more than `stay`."""
    best = int(distance.argmin())
    return before if before is not None and distance[before] <= distance[best] + stay else best
