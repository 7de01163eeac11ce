"""Mouth patches: the mouth of a source's own frame at 128 px an eye distance, and what its inside looks like.

*Patch*: 160 x 112 at twice the aligned space's scale, its roll and the middle of the true lips. *Inner mouth*: inside
the inner lips of the mesh that is shown, without a rim of 2 px, so that the lip's edge does not count. *Inner box*: the
112 x 64 about the middle of the true inner lips, at that scale: around a mouth wide open, and always the same size, so
that a net's filters see the same teeth in every frame. The whole patch is mostly lip and skin, which others measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.evaluation.metrics.curves import OPEN, Figures
from difftalk.evaluation.metrics.perception import early_distance, lpips_distance
from difftalk.evaluation.metrics.pictures import gradient_energy
from difftalk.face.landmarks import INNER_LIPS, LIP_BOTTOM, LIP_TOP, LIPS
from difftalk.face.space import EYE_DISTANCE, Alignment
from difftalk.render.lips import filled

SCALE: Final = 2  # of a patch over the aligned space
PATCH: Final = (160, 112)  # px, width and height
BOX: Final = (112, 64)
RIM: Final = 2  # px
LEAST_AREA: Final = 60  # px of an inner mouth that is looked at
LEAST_FRAMES: Final = 2  # with an open mouth


@dataclass(frozen=True)
class Patch:
    """picture: (112, 160, 3) RGB. lips: (20, 2) px, the inner lips shown. middle: (2,) px of the true inner lips.

    gap: between the inner lips shown, eye distances.
    """

    picture: Image
    lips: Array
    middle: Array
    gap: float

    @classmethod
    def of(cls, image: Image, alignment: Alignment, shown: Array, true: Array | None = None) -> Patch:
        """Of a source picture (h, w, 3). shown, true: aligned meshes (478, 3), the same unless told."""
        true = shown if true is None else true
        width, height = PATCH
        corner = SCALE * true[LIPS, :2].mean(0).astype(np.float64) - np.array([width, width]) / 2
        placed = Alignment(SCALE * alignment.matrix - np.array([[0, 0, corner[0]], [0, 0, corner[1]]]))
        top = (width - height) // 2
        picture = np.ascontiguousarray(placed.crop(image, width)[top : top + height])
        origin = corner + np.array([0, top])
        lips, inner = ((SCALE * mesh[INNER_LIPS, :2] - origin).astype(np.float32) for mesh in (shown, true))
        gap = float(np.linalg.norm(shown[LIP_TOP, :2] - shown[LIP_BOTTOM, :2]) / EYE_DISTANCE)
        return cls(picture, lips, (inner.min(0) + inner.max(0)) / 2, gap)

    @cached_property
    def inner(self) -> NDArray[np.bool_]:
        """(112, 160): the inner mouth shown, without its rim."""
        import cv2

        inside = (filled(self.lips, PATCH[::-1]) > 0.99).astype(np.uint8)
        side = 2 * RIM + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        return np.asarray(cv2.erode(inside, kernel), np.bool_)

    @property
    def is_open(self) -> bool:
        return self.gap > OPEN and int(self.inner.sum()) >= LEAST_AREA

    @property
    def texture(self) -> float:
        """Gradient energy of the inner mouth."""
        return gradient_energy(self.picture, self.inner.astype(np.float64))

    @property
    def colour(self) -> NDArray[np.float64]:
        """(3,) mean CIELAB of the inner mouth: L* in 0-100, a*, b*."""
        import cv2

        lab = cv2.cvtColor(self.picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        return np.asarray(lab[self.inner].astype(np.float64).mean(0))

    @property
    def box(self) -> Array:
        """(64, 112, 3) in [-1, 1] about the middle of the true inner lips."""
        width, height = BOX
        limits = np.array(PATCH) - np.array(BOX)
        x, y = np.clip(np.round(self.middle - np.array(BOX) / 2), 0, limits).astype(int)
        return self.picture[y : y + height, x : x + width].astype(np.float32) / 127.5 - 1


def inner_figures(made: Sequence[Patch], true: Sequence[Patch]) -> Figures:
    """Texture over the truth's, and how far the mean colours of all open inner mouths are apart; NaN where few are.

    Frames need not belong together.
    """
    opened = [[patch for patch in patches if patch.is_open] for patches in (made, true)]
    if min(map(len, opened)) < LEAST_FRAMES:
        return dict.fromkeys(("inner_texture", "tint", "lightness"), np.nan)
    textures = [float(np.mean([patch.texture for patch in patches])) for patches in opened]
    colours = [np.mean([patch.colour for patch in patches], 0) for patches in opened]
    apart = colours[0] - colours[1]
    return {
        "inner_texture": textures[0] / textures[1] if textures[1] > 0 else np.nan,
        "tint": float(np.hypot(apart[1], apart[2])),
        "lightness": float(abs(apart[0])),
    }


def paired_figures(made: Sequence[Patch], true: Sequence[Patch]) -> Figures:
    """The inner boxes of the same frames side by side, where the true mouth is open; NaN where there are few."""
    pairs = [(a.box, b.box) for a, b in zip(made, true, strict=True) if b.is_open]
    if len(pairs) < LEAST_FRAMES:
        return dict.fromkeys(("inner_lpips", "inner_early"), np.nan)
    shown, wanted = [a for a, _ in pairs], [b for _, b in pairs]
    return {
        "inner_lpips": float(lpips_distance()(shown, wanted).mean()),
        "inner_early": float(early_distance()(shown, wanted).mean()),
    }
