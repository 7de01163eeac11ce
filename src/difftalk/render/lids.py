"""Lids: a picture whose eyes are closed as far as wanted, by the upper lids' own skin.

The skin above an eye is drawn down over it, so glasses do not bend. Knows nothing of when anybody blinks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.landmarks import LOWER_LIDS, UPPER_LIDS
from difftalk.settings import Settings


def close_lids(image: Image, points: Array, closed: float, settings: Settings) -> Image:
    """The picture with both eyes closed so far, 0 to 1; points: (478, 3) source pixels."""
    out, closed = image.copy(), settings.life.blink_depth * closed
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
    back = drop * share * (1 + 3 * share - 2 * share**2) / 2  # skin is drawn out less near the lashes
    where = np.stack([xx - back * down[0], yy - back * down[1]], -1).astype(np.float32)
    drawn = cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    over = (np.clip(edge - v + 0.5, 0, 1) * np.clip(2 * drop, 0, 1))[..., None]
    below = image[y0:y1, x0:x1]
    out[y0:y1, x0:x1] = np.rint(below + over * (drawn.astype(np.float32) - below))
