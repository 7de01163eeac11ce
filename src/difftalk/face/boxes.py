"""Boxes: a detector's answers; merged, turned back to the picture, turned about the eyes. Geometry only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """A detection: score, corners in source pixels, right and left eye."""

    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    right_eye: tuple[float, float]
    left_eye: tuple[float, float]

    @property
    def size(self) -> float:
        return max(self.x1 - self.x0, self.y1 - self.y0)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


def box_of(score: float, points: NDArray[np.floating]) -> Box:
    """points: (4, 2) upper left and lower right corner, right and left eye."""
    (x0, y0), (x1, y1), (rx, ry), (lx, ly) = points.tolist()
    return Box(score, x0, y0, x1, y1, (rx, ry), (lx, ly))


def overlap(a: Box, b: Box) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    inter = max(width, 0.0) * max(height, 0.0)
    area = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - inter
    return inter / area if area > 0 else 0.0


def merge(boxes: Sequence[Box]) -> list[Box]:
    """Weighted non-maximum suppression (BlazeFace, section 3.4)."""
    left, out = sorted(boxes, key=lambda box: -box.score), []
    while left:
        best = left[0]
        same = [box for box in left if box is best or overlap(best, box) > 0.3]
        left = [box for box in left if box not in same]
        weight = np.array([box.score for box in same])
        rows = np.array([[b.x0, b.y0, b.x1, b.y1, *b.right_eye, *b.left_eye] for b in same])
        x0, y0, x1, y1, rx, ry, lx, ly = map(float, (rows * weight[:, None]).sum(0) / weight.sum())
        out.append(Box(best.score, x0, y0, x1, y1, (rx, ry), (lx, ly)))
    return out


def turned_back(box: Box, turn: int, width: int, height: int, x: int, y: int, scale: float = 1.0) -> Box:
    """A box of a tile (width, height) that was turned left by so many quarters, in the picture.

    x, y: the tile's corner. scale: from the tile's pixels to the picture's.
    """
    points = np.array([(box.x0, box.y0), (box.x1, box.y1), box.right_eye, box.left_eye])
    for quarter in range(turn, 0, -1):
        points = np.stack([(width if quarter % 2 else height) - points[:, 1], points[:, 0]], 1)
    points = (points + np.array([x, y])) * scale
    return box_of(box.score, np.stack([points[:2].min(0), points[:2].max(0), points[2], points[3]]))


def other_way_up(box: Box) -> Box:
    """The box of a face with the same eyes that is the other way up."""
    (rx, ry), (lx, ly) = box.right_eye, box.left_eye
    return Box(
        box.score, rx + lx - box.x1, ry + ly - box.y1, rx + lx - box.x0, ry + ly - box.y0, box.left_eye, box.right_eye
    )
