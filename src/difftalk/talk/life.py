"""A still lives a little: smooth head motion, nods with the speech, and blinks, as functions of time and seed.

Head motion is a small similarity of the whole head that fades to nothing towards shoulders and picture border; it is
applied to the picture first, so all later work sees an ordinary moved frame. A blink moves the upper lids' skin only:
glasses do not bend. Knows nothing of mouths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.landmarks import LOWER_LIDS, UPPER_LIDS
from difftalk.face.space import EYE_DISTANCE, Alignment
from difftalk.settings import Settings


@dataclass(frozen=True)
class Life:
    """Head motion and blinks of one still. amount: 1 as measured, 0 none."""

    alignment: Alignment
    points: Array  # (478, 3) source pixels
    amount: float
    seed: int
    settings: Settings

    def frame(self, image: Image, seconds: float, emphasis: float = 0.0) -> tuple[Image, Alignment]:
        """The picture at a time, and the alignment that goes with it. emphasis: of the speech, -1 to 1: a nod."""
        if self.amount == 0:
            return image, self.alignment
        closed = self._closed(seconds)
        lidded = (
            _close_lids(image, self.points, self.settings.life.blink_depth * closed, self.settings)
            if closed > 0.02
            else image
        )
        return self._moved(lidded, seconds, emphasis)

    def _closed(self, seconds: float) -> float:
        """How far the lids are down at a time, 0 to 1."""
        rng, at = np.random.default_rng((self.seed, 1)), 0.0
        closing, shut, opening = self.settings.life.blink_seconds
        while at < seconds + 1:
            at += float(rng.uniform(*self.settings.life.blink_gap))
            since = seconds - at
            if 0 <= since < closing + shut + opening:
                if since < closing:
                    return _ease(since / closing)
                return 1.0 if since < closing + shut else 1 - _ease((since - closing - shut) / opening)
        return 0.0

    def _sway(self, seconds: float) -> NDArray[np.float64]:
        """x, y, roll, zoom at a time, each in [-1, 1], 0 at the start."""
        phases = np.random.default_rng((self.seed, 2)).uniform(0, 2 * np.pi, (4, len(self.settings.life.periods)))
        angles = 2 * np.pi / np.array(self.settings.life.periods)
        wave = (np.sin(angles * seconds + phases) - np.sin(phases)).mean(1) / 2
        return np.asarray(wave * self.amount)

    def _moved(self, image: Image, seconds: float, emphasis: float = 0.0) -> tuple[Image, Alignment]:
        import cv2

        how = self.settings.life
        x, y, roll, zoom = self._sway(seconds)
        # a similarity S of the aligned space about the head's middle; the moved alignment is A after S was undone
        k, angle = 1 + how.zoom * zoom, np.radians(how.roll * roll)
        turn = k * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        nod = how.nod * self.amount * emphasis
        centre, shift = (
            np.array(how.head_centre),
            EYE_DISTANCE * np.array([how.sway * x, 0.6 * how.sway * y + nod]),
        )
        undo = np.linalg.inv(turn)
        undo_shift = centre - undo @ (centre + shift)
        linear = undo @ self.alignment.matrix[:, :2]
        moved = Alignment(np.concatenate([linear, (undo @ self.alignment.matrix[:, 2] + undo_shift)[:, None]], 1))
        height, width = image.shape[:2]
        grid = _field(self.alignment, undo, undo_shift, (height, width), self.settings)
        where = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.add(where, _places(height, width), dst=where)
        out = cv2.remap(image, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return out, moved


@lru_cache(maxsize=1)
def _places(height: int, width: int) -> Array:
    """(height, width, 2): every pixel's own x and y."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], -1)


def _ease(share: float) -> float:
    return float(0.5 - 0.5 * np.cos(np.pi * share))


def _field(
    alignment: Alignment,
    undo: NDArray[np.float64],
    undo_shift: NDArray[np.float64],
    size: tuple[int, int],
    settings: Settings,
) -> Array:
    """Where each pixel comes from, minus itself, on a coarse grid of the source."""
    how = settings.life
    height, width = size
    rows, columns = max(8, height // 8), max(8, width // 8)
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    source = np.stack([(x + 0.5) * width / columns - 0.5, (y + 0.5) * height / rows - 0.5], -1)
    aligned = source @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]
    delta = (aligned @ undo.T + undo_shift - aligned) @ alignment.inverse[:, :2].T
    reach = np.linalg.norm((aligned - np.array(how.head_centre)) / np.array(how.head_size), axis=-1)
    weight = np.clip((how.fade - reach) / (how.fade - 1), 0, 1)
    edge = np.minimum.reduce([source[..., 0], width - 1 - source[..., 0], source[..., 1], height - 1 - source[..., 1]])
    weight = weight * weight * (3 - 2 * weight) * np.clip((edge - edge.min()) / (0.04 * max(size)), 0, 1)
    return np.asarray(delta * weight[..., None], np.float32)


def _close_lids(image: Image, points: Array, closed: float, settings: Settings) -> Image:
    """Draws the skin of both upper lids down by `closed` of the eye's opening."""
    out = image.copy()
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        _close_lid(
            out,
            image,
            points[list(upper), :2].astype(np.float64),
            points[list(lower), :2].astype(np.float64),
            closed,
            settings,
        )
    return out


def _close_lid(
    out: Image, image: Image, upper: NDArray[np.float64], lower: NDArray[np.float64], closed: float, settings: Settings
) -> None:
    import cv2

    first, last = upper[0], upper[-1]
    along = (last - first) / max(float(np.linalg.norm(last - first)), 1e-6)
    down = np.array([-along[1], along[0]])
    width = float(np.linalg.norm(last - first))
    room = settings.life.lid_room * width / 0.42  # an eye is about 0.42 eye distances wide
    box = np.concatenate([upper - room * down, lower + 0.1 * width * down])
    x0, y0 = np.maximum(np.floor(box.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(box.max(0)).astype(int) + 2, [image.shape[1], image.shape[0]])
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    yy, xx = np.mgrid[y0:y1, x0:x1]
    local = np.stack([xx, yy], -1) - first
    u, v = local @ along, local @ down
    lid = np.interp(u, (upper - first) @ along, (upper - first) @ down)
    base = np.interp(u, (lower - first) @ along, (lower - first) @ down)
    drop = closed * np.maximum(base - lid, 0) * ((u > 0) & (u < width))
    top, edge = lid - room, lid + drop
    share = np.clip((v - top) / np.maximum(edge - top, 1e-6), 0, 1)
    back = np.where((v > top) & (v < edge), v - (top + share * (lid - top)), 0.0)
    where = np.stack([xx - back * down[0], yy - back * down[1]], -1).astype(np.float32)
    drawn = cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    out[y0:y1, x0:x1] = drawn
