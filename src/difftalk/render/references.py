"""References: pictures of a person that are warped or show the inside of the mouth, and which of them is nearest.

The mouth bank has one picture for each way of opening the mouth: a step of opening and one of width. Knows nothing of
how pictures are chosen from a film.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.landmarks import CORNERS
from difftalk.face.mouth import opening
from difftalk.face.space import (
    ALIGNED_SIZE,
    ALIGNED_SPACE,
    CLOSE,
    CLOSE_SPACE,
    EYE_DISTANCE,
    Alignment,
    Grid,
    patch_of,
)
from difftalk.settings import Settings

Way = tuple[int, int]  # of opening: steps of opening and of width


def way_of(free: NDArray[np.floating], settings: Settings) -> Way:
    """Which way of opening the mouth pose-free points (478, 3) stand for."""
    width = np.linalg.norm(free[CORNERS[0]] - free[CORNERS[1]])
    return round(float(opening(free)) / settings.references.opening_step), round(
        float(width) / settings.references.width_step
    )


def nearest(
    shapes: NDArray[np.floating],
    turns: NDArray[np.floating],
    shape: NDArray[np.floating],
    turn: NDArray[np.floating],
    before: int | None,
    settings: Settings,
) -> int:
    """Number of the mouth nearest to a mouth shape (16,) and a turn (2,), degrees.

    shapes, turns: (n, 16), (n, 2) of the bank. before: the one used last, which stays unless another is clearly nearer.
    """
    apart = (
        np.sum((shapes - shape) ** 2, axis=1)
        + (settings.references.turn_weight * np.linalg.norm(turns - turn, axis=1)) ** 2
    )
    return staying(np.sqrt(apart), before, settings.references.stay)


def staying(distance: NDArray[np.floating], before: int | None, stay: float) -> int:
    """Place of the least of the distances (n,); `before` stays unless another is nearer by more than `stay`."""
    best = int(distance.argmin())
    return before if before is not None and distance[before] <= distance[best] + stay else best


@dataclass(frozen=True)
class Reference:
    """A frame of the person whose pixels are warped.

    image: source RGB, or the part of it whose upper left corner is at `origin` (x, y). points: (478, 3) aligned mesh.
    close: its close-up, which begins at `corner` (x, y) of the close space. eyes: px apart in the source.
    """

    image: Image
    alignment: Alignment
    points: Array
    aligned: Image  # (256, 256, 3)
    close: Image  # (176, 208, 3)
    corner: tuple[int, int]
    eyes: float
    origin: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, image: Image, alignment: Alignment, points: Array) -> Reference:
        """Of a source picture and its aligned mesh (478, 3)."""
        close, corner = alignment.close_up(image, points)
        place, eyes = (int(corner[0]), int(corner[1])), EYE_DISTANCE / alignment.scale
        return cls(image, alignment, points, alignment.crop(image), close, place, eyes)

    def kept(self, settings: Settings) -> Reference:
        """With no more of the picture than the face and its surroundings, so that many can be held."""
        height, width = self.image.shape[:2]
        edges = np.array([-settings.references.face_margin, ALIGNED_SIZE + settings.references.face_margin])
        corners = np.stack(np.meshgrid(edges, edges), -1).reshape(-1, 2)
        placed = corners @ self.alignment.inverse[:, :2].T + self.alignment.inverse[:, 2]
        low = np.clip(np.floor(placed.min(0)).astype(int), 0, [width - 1, height - 1])
        high = np.clip(np.ceil(placed.max(0)).astype(int), low + 1, [width, height])
        part = self.image[low[1] : high[1], low[0] : high[0]].copy()
        return replace(self, image=part, origin=(int(low[0]), int(low[1])))

    def seen(self, zoom: int) -> Reference:
        """What the networks see of it on a grid of this zoom: its aligned frame, or its close-up."""
        if zoom == 1:
            return replace(self, image=self.aligned, alignment=ALIGNED_SPACE, origin=(0, 0))
        return replace(self, image=self.close, alignment=CLOSE_SPACE, origin=self.corner)

    def places(self, where: Array) -> Array:
        """Aligned places (h, w, 2) -> pixels of `image`."""
        import cv2

        back = self.alignment.inverse - np.array([[0, 0, self.origin[0]], [0, 0, self.origin[1]]])
        return np.asarray(cv2.transform(where, back), np.float32)

    def patch(self) -> Image:
        """(128, 176, 3): its own mouth's patch of the close-up."""
        return self.close_at(patch_of(self.points))

    def close_at(self, patch: Grid) -> Image:
        """(128, 176, 3): what the close-up shows of a patch; as at its border where that lies beyond."""
        rows, columns = (
            np.clip(np.rint(CLOSE * first + (CLOSE - 1) / 2).astype(int) - begin + np.arange(length), 0, limit - 1)
            for first, begin, length, limit in zip(
                patch.corner[::-1], self.corner[::-1], patch.size, self.close.shape[:2], strict=True
            )
        )
        return np.asarray(self.close[rows[:, None], columns])


@dataclass(frozen=True)
class Scene:
    """A video's frame around the region: aligned (256, 256, 3), of which nothing inside the region is looked at."""

    aligned: Image
    alignment: Alignment

    @classmethod
    def of(cls, image: Image, alignment: Alignment) -> Scene:
        return cls(alignment.crop(image), alignment)


@dataclass(frozen=True)
class Person:
    """Whose lower face is drawn, and from what."""

    neutral: Array  # (478, 3) pose-free
    references: list[Reference]
    turns: NDArray[np.float64]  # (n, 2) degrees, of the references
    mouths: list[Reference]
    mouth_shapes: Array  # (n, 16), of the mouths
    mouth_turns: NDArray[np.float64]  # (n, 2) degrees

    def reference_for(self, turn: NDArray[np.float64], before: int, settings: Settings) -> int:
        """Number of the reference nearest in turn; the one used before stays unless another is clearly nearer."""
        return staying(np.linalg.norm(self.turns - turn, axis=1), before, settings.references.turn_stay)

    def mouth_for(self, shape: Array, turn: NDArray[np.float64], before: int | None, settings: Settings) -> int:
        """Number of the mouth nearest to a mouth shape (16,); as above, the one used before is hard to leave."""
        return nearest(self.mouth_shapes, self.mouth_turns, shape, turn, before, settings)
