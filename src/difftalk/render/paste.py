"""Pasting: a drawn region into its frame, at the frame's own resolution.

The composite is made again from the references' full pixels, and only the networks' difference is enlarged. Where a
warp enlarged would show what it squeezes, about the lips and at tears, other ways are taken. Outside the mask the
frame's own bytes stay. Geometry and pixels only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.space import (
    REGION_SIZE,
    REGION_X,
    REGION_Y,
    Alignment,
    region_mask,
)
from difftalk.render.cover import Cover
from difftalk.render.inner_mouth import Interior
from difftalk.render.lips import Lips, filled
from difftalk.render.references import Reference
from difftalk.render.warp import Warp, known
from difftalk.settings import Settings

DARK: Final = np.float32(8)  # levels: what is darker than that has no brightness to compare


def paste(frame: Image, alignment: Alignment, reference: Reference, drawn: Drawn) -> Image:
    """The frame (h, w, 3) with the drawn region in it, at the frame's own resolution.

    The composite is sampled anew from the references' own pixels; the network's picture minus its composite is enlarged
    and added. Bytes where the mask is 0 are the frame's.
    """
    import cv2

    box, to_box = _box(frame, alignment)
    if box is None:
        return frame
    x0, y0, x1, y1 = box
    size = (x1 - x0, y1 - y0)
    sharp = _enlarged(reference, drawn.warp.steady(drawn.settings), to_box, size)
    change = (drawn.picture - drawn.composite[:3].transpose(1, 2, 0)) * 127.5
    if drawn.colour is not None:
        change = change + drawn.colour * 127.5 * known(drawn.warp, drawn.inside)[..., None]
    lips = Lips.of(reference.points, drawn.mesh, drawn.warp.map, drawn.inside, drawn.settings)
    _mend(sharp, change, drawn, lips, to_box)
    if lips is not None:
        _put_mouth(sharp, change, reference, drawn, lips, to_box, alignment.scale)
    changed = cv2.warpAffine(change, to_box, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(region_mask(), to_box, size, flags=cv2.INTER_LINEAR, borderValue=(0.0,))[..., None]
    picture = sharp + changed
    out = frame.copy()
    old = out[y0:y1, x0:x1].astype(np.float32)
    # not old + weight * (picture - old): its rounding would let the frame's bytes through where the weight is 1
    mixed = np.clip(np.rint((1 - weight) * old + weight * picture), 0, 255).astype(np.uint8)
    out[y0:y1, x0:x1] = np.where(weight > 0, mixed, out[y0:y1, x0:x1])
    return out


def put_before(drawn: Image, source: Image, cover: Cover | None, settings: Settings) -> Image:
    """The drawn frame (h, w, 3) with the cover before it, as the source's frame has it."""
    if cover is None:
        return drawn
    box, to_box = _box(drawn, cover.alignment)
    if box is None:
        return drawn
    x0, y0, x1, y1 = box
    weight, out = cover.weight(to_box, (x1 - x0, y1 - y0), settings)[..., None], drawn.copy()
    below, above = out[y0:y1, x0:x1].astype(np.float32), source[y0:y1, x0:x1]
    out[y0:y1, x0:x1] = np.rint(below + weight * (above - below))
    return out


def _enlarged(
    reference: Reference, where: Array, to_box: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float32]:
    """The reference's own pixels at a map of the region, for every pixel of the box; size: its width and height."""
    import cv2

    edge = cv2.BORDER_REPLICATE
    source = _apply(reference.alignment.inverse, where) - np.array(reference.origin, np.float32)
    places = cv2.warpAffine(source, to_box, size, flags=cv2.INTER_LINEAR, borderMode=edge)
    pixels = cv2.remap(reference.image, places, None, cv2.INTER_CUBIC, borderMode=edge)  # type: ignore[call-overload]
    return np.asarray(pixels, np.float32)


def _mend(sharp: Array, change: Array, drawn: Drawn, lips: Lips | None, to_box: NDArray[np.float64]) -> None:
    """Where the warp is torn the region's own picture, without single pixels, takes the place of the enlarged warp.

    Not about the lips, which are pasted by themselves.
    """
    import cv2

    torn = drawn.warp.torn(drawn.settings)
    if lips is not None:
        torn[lips.part] &= ~cv2.dilate(lips.near.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if not torn.any():
        return
    change[torn] = 0
    rows, columns = np.flatnonzero(torn.any(1)), np.flatnonzero(torn.any(0))
    part = np.s_[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
    box, to_part, size = _within(to_box, part, torn[part].shape, sharp)
    if sharp[box].size:
        own = (cv2.medianBlur(drawn.picture[part].copy(), 3) + 1) * 127.5
        layers = np.concatenate([own, torn[part][..., None].astype(np.float32)], 2)
        layers = cv2.warpAffine(layers, to_part, size, flags=cv2.INTER_LINEAR)
        sharp[box] += layers[..., 3:] * (layers[..., :3] - sharp[box])


def _put_mouth(
    sharp: Array,
    change: Array,
    reference: Reference,
    drawn: Drawn,
    lips: Lips,
    to_box: NDArray[np.float64],
    pixel: float,
) -> None:
    """Puts lips and inner mouth into the box's picture, and what the networks change about them into the region's.

    pixel: aligned px for one of the box.
    """
    import cv2

    seen = replace(drawn, mouth=drawn.mouth.small())
    coarse = _mouth(reference.small(), seen, lips, np.eye(2, 3), lips.inner, 1.0)
    picture = (drawn.picture[lips.part] + 1) * 127.5
    change[lips.part] = lips.joined(np.where(lips.near[..., None], picture - coarse, change[lips.part]), drawn.settings)
    box, to_part, size = _within(to_box, lips.part, lips.near.shape, sharp)
    if not sharp[box].size:
        return
    fine, share = filled(_apply(to_part, lips.opening), size[::-1]), np.float32(drawn.inside.share)
    mask = share * fine + (1 - share) * cv2.warpAffine(lips.inner, to_part, size, flags=cv2.INTER_LINEAR)
    found = _mouth(reference, drawn, lips, to_part, mask, pixel)
    kept = np.concatenate([coarse, _detail_kept(coarse, picture, lips.inner, drawn.settings)[..., None]], 2)
    kept = cv2.warpAffine(kept, to_part, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    found = np.asarray(kept[..., :3] + kept[..., 3:] * (found - kept[..., :3]), np.float32)
    near = cv2.warpAffine(lips.near.astype(np.float32), to_part, size, flags=cv2.INTER_LINEAR) > 0
    sharp[box] = np.where(near[..., None], found, sharp[box])


def _detail_kept(coarse: Array, picture: Array, inner: Array, settings: Settings) -> Array:
    """How much (h, w) of the references' detail is shown: less in the inner mouth where the networks draw it darker.

    The gaps between teeth that are drawn dark would be black lines.
    """
    ratio = (picture.mean(2) + DARK) / (coarse.mean(2) + DARK)
    return np.asarray(1 - inner * (1 - np.clip(ratio / settings.drawing.detail_whole, 0, 1)), np.float32)


def _mouth(
    reference: Reference, drawn: Drawn, lips: Lips, to_part: NDArray[np.float64], mask: Array, pixel: float
) -> Array:
    """Lips and inner mouth (h, w, 3) of the references' own pixels, in [0, 255].

    What no reference shows of the inner mouth is as the networks drew it. to_part: (2, 3), from the part of the region
    to what is wanted of it. mask: (h, w) of the inner mouth. pixel: aligned px for one of these.
    """
    import cv2

    height, width = mask.shape
    size, share, sides = (width, height), np.float32(drawn.inside.share), []
    layers = np.concatenate([(drawn.picture[lips.part] + 1) * 127.5, lips.depth[..., None]], 2)
    layers = cv2.warpAffine(layers, to_part, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    own, depth, inner = layers[..., :3], layers[..., 3:], lips.apart * mask[..., None]
    for lip, inside in zip(lips.lips, lips.inside, strict=True):
        shown = own + share * (_enlarged(drawn.mouth, inside, to_part, size) - own) if share > 0 else own
        sides.append(_enlarged(reference, lip, to_part, size) * (1 - inner) + shown * inner)
    upper = np.clip(0.5 - depth / pixel, 0, 1)
    return np.asarray(sides[0] * upper + sides[1] * (1 - upper), np.float32)


def _apply(matrix: NDArray[np.float64], points: Array) -> Array:
    out = points @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    return out.astype(np.float32)


def _box(frame: Image, alignment: Alignment) -> tuple[tuple[int, int, int, int] | None, NDArray[np.float64]]:
    """The frame's pixels that the region covers, and the (2, 3) map from the region to that box."""
    inverse = alignment.inverse
    shift = inverse[:, :2] @ np.array([REGION_X[0], REGION_Y[0]]) + inverse[:, 2]
    low, high = _covered(inverse[:, :2], shift, REGION_SIZE, frame.shape)
    to_box = np.concatenate([inverse[:, :2], (shift - low)[:, None]], 1)
    x0, y0, x1, y1 = (int(edge) for edge in (*low, *high))
    return ((x0, y0, x1, y1) if x1 - x0 > 1 and y1 - y0 > 1 else None), to_box


def _within(
    to_box: NDArray[np.float64], part: tuple[slice, slice], shape: tuple[int, int], picture: Array
) -> tuple[tuple[slice, slice], NDArray[np.float64], tuple[int, int]]:
    """Where a part of the region, of this shape, lies in the box's picture; the map to there, its width and height."""
    shift = to_box[:, :2] @ np.array([part[1].start, part[0].start]) + to_box[:, 2]
    low, high = _covered(to_box[:, :2], shift, shape, picture.shape)
    box = np.s_[low[1] : high[1], low[0] : high[0]]
    to_part = np.concatenate([to_box[:, :2], (shift - low)[:, None]], 1)
    return box, to_part, (int(high[0] - low[0]), int(high[1] - low[1]))


def _covered(
    turn: NDArray[np.float64], shift: NDArray[np.float64], size: tuple[int, int], within: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixels of a picture of shape `within` that one of `size` covers when it is put there: first, end; x, y."""
    height, width = size
    placed = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]) @ turn.T + shift
    low, high = np.floor(placed.min(0)).astype(int), np.ceil(placed.max(0)).astype(int) + 1
    limits = np.array([within[1], within[0]])
    return np.clip(low, 0, limits), np.clip(high, 0, limits)


@dataclass(frozen=True)
class Drawn:
    """A region as drawn: picture (144, 176, 3) in [-1, 1], the composite it started from, its warp, its target mesh.

    inside, mouth: what the composite's inner mouth was filled with. colour: (144, 176, 3) that was added to the
    references', [-1, 1] units.
    """

    picture: Array
    composite: Array
    warp: Warp
    mesh: Array
    inside: Interior
    mouth: Reference
    settings: Settings
    colour: Array | None = None

    def onto(self, frame: Image, alignment: Alignment, reference: Reference) -> Image:
        """See `paste`."""
        return paste(frame, alignment, reference, self)
