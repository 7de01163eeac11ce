"""Covers: what lies before the lower face - a mask, a microphone, a hand, a caption - and how it stays there.

A small net sees the aligned face at half size and tells, in cells of 4 x 4 aligned px, how much of the region lies
behind something. What is found stays before what is drawn, with the source's own pixels. Knows nothing of how a mouth
moves, nor of audio. tools/cover.py trains the net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.landmarks import LOWER_FACE, OUTER_LIPS
from difftalk.face.space import ALIGNED_SIZE, REGION_SIZE, REGION_X, REGION_Y, Alignment
from difftalk.render.lips import filled
from difftalk.settings import Settings

if TYPE_CHECKING:
    from difftalk.engine import Graph

SEEN_X: Final = (32, 224)  # px, aligned: what the net sees
SEEN_Y: Final = (64, 256)
SIDE: Final = 96  # px of the net's picture
CELL: Final = 2 * (SEEN_X[1] - SEEN_X[0]) // SIDE  # px, aligned, side of what one number of its answer tells of
WITHIN: Final = (
    slice((REGION_Y[0] - SEEN_Y[0]) // CELL, (REGION_Y[1] - SEEN_Y[0]) // CELL),
    slice((REGION_X[0] - SEEN_X[0]) // CELL, (REGION_X[1] - SEEN_X[0]) // CELL),
)  # the region in the net's whole answer


@dataclass(frozen=True)
class Cover:
    """What lies before a face. shares: (36, 44) uint8, of 255, of the region as `alignment` has it.

    mouth: the share of the mouth, lips and what lies between, that it hides. on_face: False where all of it lies beside
    the lower face, where nothing moves.
    """

    shares: NDArray[np.uint8]
    alignment: Alignment
    mouth: float
    on_face: bool = True

    def hides_mouth(self, settings: Settings) -> bool:
        return self.mouth >= settings.cover.mouth_covered

    def weight(self, to_picture: NDArray[np.float64], size: tuple[int, int], settings: Settings) -> Array:
        """(h, w) in [0, 1]: how far a picture's pixels are the cover's.

        to_picture: (2, 3), from the region's pixels to the picture's. size: its width and height.
        """
        import cv2

        turn = to_picture[:, :2]
        matrix = np.concatenate([CELL * turn, to_picture[:, 2:] + turn @ np.full((2, 1), (CELL - 1) / 2)], 1)
        shares = cv2.warpAffine(self.shares, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32) / 255
        return np.clip(
            (shares - settings.cover.whole[0]) / np.float32(settings.cover.whole[1] - settings.cover.whole[0]), 0, 1
        )


class Lookout:
    """Finds covers."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        self._graph, self._settings = graph, settings

    def __call__(self, image: Image, alignment: Alignment, points: NDArray[np.floating]) -> Cover | None:
        """The cover of a face with the mesh `points` (478, 3), source pixels; None where there is none."""
        face = _seen(image, alignment).astype(np.float32).transpose(2, 0, 1)[None]
        mesh = alignment.points(points)
        shares = pieces(self._graph(face=np.ascontiguousarray(face))["cover"][0], self._settings)
        if not shares.any():
            return None
        mouth, lower = _cells(mesh[list(OUTER_LIPS)]), _cells(mesh[LOWER_FACE])
        hidden = float((mouth * shares).sum() / max(float(mouth.sum()), 1e-6))
        on_face = ((shares > self._settings.cover.perhaps) & (lower > 0.5)).sum() >= self._settings.cover.least
        return Cover(np.rint(255 * shares).astype(np.uint8), alignment, hidden, bool(on_face))


def _seen(image: Image, alignment: Alignment) -> Image:
    """(96, 96, 3): what the net sees of a source picture (h, w, 3)."""
    shrink = SIDE / (SEEN_X[1] - SEEN_X[0])
    matrix = shrink * alignment.matrix
    matrix[:, 2] += (0.5 - np.array([SEEN_X[0], SEEN_Y[0]])) * shrink - 0.5  # from and to pixels' centres
    return Alignment(matrix).crop(image, size=SIDE)


def _cells(outline: Array) -> Array:
    """(36, 44) in [0, 1]: how much of each cell lies in a polygon (n, 3) of aligned points."""
    corner = np.array([REGION_X[0], REGION_Y[0]], np.float32)
    half = np.float32(0.5)
    return filled(
        (outline[:, :2] - corner + half) / np.float32(CELL) - half, (REGION_SIZE[0] // CELL, REGION_SIZE[1] // CELL)
    )


def pieces(shares: Array, settings: Settings) -> Array:
    """Of the net's answer (h, w) the pieces that are large and sure enough, with their edges; all else is 0."""
    import cv2

    how = settings.cover
    count, labels = cv2.connectedComponents((shares > how.perhaps).astype(np.uint8), connectivity=4)
    kept = np.zeros(shares.shape, np.uint8)
    for piece in (labels == label for label in range(1, count)):
        if piece.sum() >= how.least and shares[piece].max() > (
            how.large_sure if piece.sum() >= how.large else how.sure
        ):
            kept[piece] = 1
    return np.asarray(shares * cv2.dilate(kept, np.ones((3, 3), np.uint8)), np.float32)


def settled(
    covers: Sequence[Cover | None], alignments: Sequence[Alignment | None], settings: Settings
) -> list[Cover | None]:
    """A video's covers, frame by frame: those of a moment are left out, gaps of a moment closed.

    A cover reaches as far as in the frames beside it. alignments: None where a frame has no face.
    """
    there = _lasting(
        _closed([cover is not None and cover.on_face for cover in covers], settings.cover.shortest),
        settings.cover.shortest,
    )
    out: list[Cover | None] = []
    for number, alignment in enumerate(alignments):
        near = [cover for cover in covers[max(0, number - 1) : number + 2] if cover is not None]
        if alignment is None or not there[number] or not near:
            out.append(None)
        else:
            widest = np.max([cover.shares for cover in near], 0)
            out.append(Cover(widest, alignment, max(cover.mouth for cover in near)))
    return out


def mouth_hidden(covers: Sequence[Cover | None], settings: Settings) -> NDArray[np.bool_]:
    """(t,): where a video's mouth is covered, without moments and without gaps of a moment."""
    flags = _lasting([cover is not None and cover.hides_mouth(settings) for cover in covers], settings.cover.shortest)
    return _closed(flags, settings.cover.seen_again)


def _closed(flags: Sequence[bool] | NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Without gaps of fewer frames (odd) between two that are."""
    return ~_lasting(~np.pad(flags, frames), frames)[frames:-frames]


def _lasting(flags: Sequence[bool] | NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Without runs of fewer frames (odd)."""
    import cv2

    row = np.pad(np.asarray(flags, np.uint8), frames)[None]
    return np.asarray(cv2.morphologyEx(row, cv2.MORPH_OPEN, np.ones((1, frames), np.uint8))[0, frames:-frames] > 0)


def filled_in(image: Image, cover: Cover, settings: Settings) -> Image:
    """The picture (h, w, 3) with what lies around the cover in its place, blurred: a guess."""
    import cv2

    how = settings.cover
    height, width = image.shape[:2]
    aligned, region = cover.alignment.crop(image), np.array([[1.0, 0, REGION_X[0]], [0, 1.0, REGION_Y[0]]])
    around = np.ones((2 * how.room + 1, 2 * how.room + 1), np.uint8)
    hole = cv2.dilate((cover.weight(region, (ALIGNED_SIZE, ALIGNED_SIZE), settings) > 0).astype(np.uint8), around)
    guess = cv2.inpaint(aligned, hole, how.room, cv2.INPAINT_TELEA)
    layers = np.concatenate([guess, 255 * hole[..., None]], 2)
    back = cv2.warpAffine(layers, cover.alignment.inverse, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
    share = back[..., 3:] / 255
    return np.asarray(np.rint(image + share * (back[..., :3] - image)), np.uint8)
