"""Lids: a picture whose eyes are closed as far as wanted, by the upper lids' own skin.

The skin above an eye is drawn down over it, up to where something dark begins: the rim of glasses stays where it is.
What is too dark or too bright in it to be skin is evened. Knows nothing of when anybody blinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image, smoothstep
from difftalk.face.landmarks import LOWER_LIDS, UPPER_LIDS
from difftalk.settings import Life, Settings
from difftalk.stages import timed

Line = NDArray[np.float64]  # (columns,) or (columns, 3)
EYE_WIDTH: Final = 0.42  # eye distances
ROWS: Final = 16  # that a band of skin is looked at in


@timed("lids")
def close_lids(image: Image, points: Array, closed: float, settings: Settings) -> Image:
    """The picture with both eyes closed so far, 0 to 1; points: (478, 3) source pixels."""
    out = image.copy()
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        eye = _Eye.of(points[list(upper), :2].astype(np.float64), points[list(lower), :2].astype(np.float64))
        x0, y0, x1, y1 = eye.box(image, settings.life)
        if x1 - x0 > 1 and y1 - y0 > 1:
            colour, over = _lid(image, eye, (x0, y0, x1, y1), closed, settings.life)
            below = image[y0:y1, x0:x1]
            out[y0:y1, x0:x1] = np.rint(below + over[..., None] * (colour - below))
    return out


@dataclass(frozen=True)
class _Eye:
    """An eye in its own axes, px: u from corner to corner, v down. lid, base: v of its upper and lower edge there."""

    first: Line  # (2,) the corner at u = 0
    axes: NDArray[np.float64]  # (2, 2): along and down, of length 1
    u: Line
    lid: Line
    base: Line

    @classmethod
    def of(cls, upper: NDArray[np.float64], lower: NDArray[np.float64]) -> _Eye:
        across = upper[-1] - upper[0]
        width = max(float(np.linalg.norm(across)), 1e-6)
        along = across / width
        axes = np.stack([along, [-along[1], along[0]]])
        u = np.linspace(0, width, max(8, round(width)))
        lid, base = (np.interp(u, *((line - upper[0]) @ axes.T).T) for line in (upper, lower))
        return cls(upper[0], axes, u, lid, np.maximum(base, lid))

    @property
    def unit(self) -> float:
        """An eye distance."""
        return float(self.u[-1]) / EYE_WIDTH

    def box(self, image: Image, how: Life) -> tuple[int, int, int, int]:
        lines = ((self.lid, -how.lid_room), (self.base, how.lid_margin + 0.04))
        places = np.concatenate([self._places(line + reach * self.unit) for line, reach in lines])
        x0, y0 = np.maximum(np.floor(places.min(0)).astype(int) - 1, 0)
        x1, y1 = np.minimum(np.ceil(places.max(0)).astype(int) + 2, [image.shape[1], image.shape[0]])
        return int(x0), int(y0), int(x1), int(y1)

    def _places(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., columns, 2) source pixels."""
        return np.asarray(self.first + self.u[:, None] * self.axes[0] + v[..., None] * self.axes[1])

    def band(self, image: Image, top: Line, bottom: Line) -> Array:
        """(ROWS, columns, 3): the picture from one line to another."""
        import cv2

        share = np.linspace(0, 1, ROWS)[:, None]
        where = self._places(top + share * (bottom - top)).astype(np.float32)
        return np.asarray(
            cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),  # type: ignore[call-overload]
            np.float32,
        )


@dataclass(frozen=True)
class _Skin:
    """What there is above an eye to draw down. even: (columns, 3), its colour; room: (columns,) px, how far up."""

    even: Line
    room: Line

    @classmethod
    def of(cls, image: Image, eye: _Eye, how: Life) -> _Skin:
        import cv2

        soft = max(how.lid_blur * len(eye.u) / EYE_WIDTH, 0.5)
        under = eye.band(image, eye.base + how.lid_under[0] * eye.unit, eye.base + how.lid_under[1] * eye.unit)
        usual = np.median(under.reshape(-1, 3), 0)
        band = eye.band(image, eye.lid - how.lid_room * eye.unit, eye.lid - how.lash_reach * eye.unit)
        light = band.mean(-1) / max(float(usual.mean()), 1.0)
        skin = ((light > how.lid_light[0]) & (light < how.lid_light[1])).astype(np.float32)
        rows = np.concatenate([(band * skin[..., None]).mean(0), skin.mean(0)[:, None]], 1)[None]
        rows = np.asarray(cv2.GaussianBlur(rows, (0, 0), soft, borderType=cv2.BORDER_REFLECT)[0], np.float64)
        even = (rows[:, :3] + how.lid_usual * usual) / (rows[:, 3:] + how.lid_usual)
        return cls(even, (how.lash_reach + (how.lid_room - how.lash_reach) * _free(light, soft, how)) * eye.unit)


def _free(light: Array, soft: float, how: Life) -> Line:
    """(columns,): share of a band (ROWS, columns) under the rim of glasses; all of it where none goes along the eye."""
    import cv2

    dark = light[::-1] < how.rim
    if dark.any(0).mean() < how.rim_along:
        return np.ones(light.shape[1])
    first = np.argmax(np.concatenate([dark, np.ones_like(dark[:1])]), 0) / ROWS
    first = cv2.erode(first[None], np.ones((1, 2 * round(soft) + 1)))
    return np.asarray(cv2.GaussianBlur(first, (0, 0), soft, borderType=cv2.BORDER_REFLECT)[0], np.float64)


def _lid(
    image: Image, eye: _Eye, box: tuple[int, int, int, int], closed: float, how: Life
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The colour of each pixel of a box, and how far it covers what is there."""
    import cv2

    skin, unit = _Skin.of(image, eye, how), eye.unit
    yy, xx = np.mgrid[box[1] : box[3], box[0] : box[2]]
    u, v = np.moveaxis((np.stack([xx, yy], -1) - eye.first) @ eye.axes.T, -1, 0)
    end = smoothstep(np.minimum(eye.u, eye.u[-1] - eye.u) / (how.corner * eye.u[-1]))
    drop = closed * (how.blink_depth * (eye.base - eye.lid) + how.lid_margin * unit * end)
    lid, drop, room, end = np.moveaxis(_at(u, eye, np.stack([eye.lid, drop, skin.room, end], 1)), -1, 0)
    share = np.clip((v - lid + room) / np.maximum(room + drop, 1e-6), 0, 1)
    back = drop * share * (1 + 3 * share - 2 * share**2) / 2  # skin is drawn out less near the lashes
    where = (np.stack([xx, yy], -1) - back[..., None] * eye.axes[1]).astype(np.float32)
    drawn = cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    even = _at(u, eye, skin.even)
    lashes = smoothstep((v - back - lid) / (how.lash_reach * unit) + 1)
    off = end * smoothstep(5 * share) * _off(drawn.astype(np.float64), even, lashes, how)
    colour = drawn + off[..., None] * (even - drawn)
    over = np.clip(lid + drop - v + 0.5, 0, 1) * np.clip(2 * drop, 0, 1) * (v > lid - room)
    return colour, over * ((u > 0) & (u < eye.u[-1]))


def _off(drawn: NDArray[np.float64], even: NDArray[np.float64], lashes: NDArray[np.float64], how: Life) -> Line:
    """Share of what was drawn down to be evened, so that it differs little. lashes: in [0, 1], where it may be dark."""
    darker = 1 - drawn.mean(-1) / np.maximum(even.mean(-1), 1.0)
    most, away = how.lid_contrast, np.maximum(np.abs(darker), 1e-6)
    off = 1 - most * np.tanh(away / most) / away
    return np.asarray(np.where(darker > 0, off * (1 - lashes), np.maximum(off, lashes)))


def _at(u: NDArray[np.float64], eye: _Eye, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., n): what lines (columns, n) are at places (...)."""
    return np.stack([np.interp(u, eye.u, one) for one in columns.T], -1)
