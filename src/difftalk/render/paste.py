"""Pasting: what was drawn into its frame, at the frame's own resolution.

Layer by layer, the region and then the mouth's patch over it. A layer's composite is made again from the references'
full pixels, and only what was drawn beside it is enlarged. Where a warp enlarged would show what it squeezes, about the
lips and at tears, other ways are taken. Outside the mask the frame's own bytes stay. Geometry and pixels only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image, Part, part_of
from difftalk.face.space import REGION, Alignment, Grid, soft_mask
from difftalk.render.composite import Composite
from difftalk.render.cover import Cover
from difftalk.render.lips import Lips, filled
from difftalk.render.references import Reference
from difftalk.settings import Settings
from difftalk.stages import timed

Matrix = NDArray[np.float64]  # (2, 3)
DARK: Final = np.float32(8)  # levels: what is darker than that has no brightness to compare


@dataclass(frozen=True)
class Layer:
    """A grid as drawn: picture (h, w, 3) in [-1, 1], and the composite that it started from."""

    picture: Array
    composite: Composite

    @property
    def plain(self) -> Layer:
        """With nothing drawn."""
        return replace(self, picture=self.composite.plain)

    @property
    def change(self) -> Array:
        """(h, w, 3) levels that were drawn beside what the references show."""
        of, change = self.composite, self.picture - self.composite.plain
        if of.light is not None:
            change += of.light
        change *= np.float32(127.5)
        return np.asarray(change, np.float32)


@dataclass(frozen=True)
class Drawn:
    """What was drawn of a frame: layers, each over those before; the last one shows the mouth.

    mesh: (478, 3) aligned, that they show. mouth: the reference that shows the inside of the mouth.
    """

    layers: tuple[Layer, ...]
    mesh: Array
    mouth: Reference
    settings: Settings

    @property
    def picture(self) -> Array:
        """(144, 176, 3) in [-1, 1]: the region with all that was drawn."""
        out = self.layers[0].picture
        for layer in self.layers[1:]:
            put = np.concatenate([layer.picture, layer.composite.grid.mask[..., None]], 2)
            put = REGION.of(put, layer.composite.grid)  # a mask is 0 on its border, and so beyond it
            out = out + put[..., 3:] * (put[..., :3] - out)
        return np.asarray(out, np.float32)

    @property
    def composite(self) -> Array:
        """(5, 144, 176): the region's composite."""
        return self.layers[0].composite.layers

    @property
    def plain(self) -> Drawn:
        """With nothing drawn: the composites."""
        return replace(self, layers=tuple(layer.plain for layer in self.layers))

    def onto(self, frame: Image, alignment: Alignment, reference: Reference) -> Image:
        """See `paste`."""
        return paste(frame, alignment, reference, self)


@timed("paste")
def paste(frame: Image, alignment: Alignment, reference: Reference, drawn: Drawn) -> Image:
    """The frame (h, w, 3) with what was drawn in it, at the frame's own resolution.

    Composites are sampled anew from the references' own pixels; what was drawn beside them is enlarged and added. Bytes
    where no mask is over 0 are the frame's.
    """
    out = frame.copy()
    for layer in drawn.layers:
        _put(out, alignment, reference, drawn, layer)
    return out


def _put(out: Image, alignment: Alignment, reference: Reference, drawn: Drawn, layer: Layer) -> None:
    """Puts a layer into the frame."""
    import cv2

    grid, moved = layer.composite.grid, layer.composite.warp
    box, to_box = _box(out, alignment, grid)
    if box is None:
        return
    x0, y0, x1, y1 = box
    size = (x1 - x0, y1 - y0)
    sharp, change = _enlarged(reference, moved.steady, to_box, size), layer.change
    lips = None
    if layer is drawn.layers[-1]:
        inside = layer.composite.inside
        lips = Lips.of(reference.points, drawn.mesh, moved.map, moved.inner, inside, drawn.settings)
    _mend(sharp, change, layer, lips, to_box, drawn.settings)
    if lips is not None:
        _put_mouth(sharp, change, reference, drawn, lips, to_box, alignment.scale)
    sharp += _placed(_evened(change, to_box, drawn.settings), to_box, size)
    weight = _weight(grid.size, to_box.tobytes(), size)
    old = out[y0:y1, x0:x1]
    # not old + weight * (sharp - old): its rounding would let the frame's bytes through where the weight is 1
    mixed = cv2.blendLinear(sharp, old.astype(np.float32), weight, 1 - weight)
    old[:] = np.clip(np.rint(mixed, out=mixed), 0, 255, out=mixed)


@lru_cache(maxsize=4)  # a still's boxes stay
def _weight(grid: tuple[int, int], to_box: bytes, size: tuple[int, int]) -> Array:
    """(h, w) in [0, 1]: a mask of this size, as a matrix (2, 3) puts it into a box of this width and height."""
    return _placed(soft_mask(grid), np.frombuffer(to_box).reshape(2, 3), size)


def put_before(drawn: Image, source: Image, cover: Cover | None, settings: Settings) -> Image:
    """The drawn frame (h, w, 3) with the cover before it, as the source's frame has it."""
    if cover is None:
        return drawn
    box, to_box = _box(drawn, cover.alignment, REGION)
    if box is None:
        return drawn
    x0, y0, x1, y1 = box
    weight, out = cover.weight(to_box, (x1 - x0, y1 - y0), settings)[..., None], drawn.copy()
    below, above = out[y0:y1, x0:x1].astype(np.float32), source[y0:y1, x0:x1]
    out[y0:y1, x0:x1] = np.rint(below + weight * (above - below))
    return out


def _enlarged(
    reference: Reference, where: Array, to_box: Matrix | None, size: tuple[int, int], part: Part = np.s_[:, :]
) -> Array:
    """The reference's own pixels at a map of a grid, for those of a part of the box; size: its width and height."""
    import cv2

    places, edge = _placed(reference.places(where), to_box, size)[part], cv2.BORDER_REPLICATE
    pixels = cv2.remap(reference.image, places, None, cv2.INTER_CUBIC, borderMode=edge)  # type: ignore[call-overload]
    return np.asarray(pixels, np.float32)


def _placed(layers: Array, to_box: Matrix | None, size: tuple[int, int]) -> Array:
    """Layers (h, w, ...) of a grid on the pixels of a box of this width and height; None: these are the grid's."""
    import cv2

    if to_box is None:
        return layers
    how, edge = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(layers, to_box, size, flags=how, borderMode=edge), np.float32)


def _mend(sharp: Array, change: Array, layer: Layer, lips: Lips | None, to_box: Matrix, settings: Settings) -> None:
    """Where the warp is torn the layer's own picture, without single pixels, takes the place of the enlarged warp.

    Not about the lips, which are pasted by themselves.
    """
    import cv2

    torn = layer.composite.warp.torn.copy()
    if lips is not None:
        torn[lips.part] &= ~cv2.dilate(lips.near.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if not torn.any():
        return
    change[torn] = 0
    rows, columns = np.flatnonzero(torn.any(1)), np.flatnonzero(torn.any(0))
    part = np.s_[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
    box, to_part, size = _within(to_box, part, torn[part].shape, sharp)
    if sharp[box].size:
        own = (cv2.medianBlur(layer.picture[part].copy(), 3) + 1) * 127.5
        layers = np.concatenate([own, torn[part][..., None].astype(np.float32)], 2)
        layers = cv2.warpAffine(layers, to_part, size, flags=cv2.INTER_LINEAR)
        sharp[box] += layers[..., 3:] * (layers[..., :3] - sharp[box])


def _put_mouth(
    sharp: Array,
    change: Array,
    reference: Reference,
    drawn: Drawn,
    lips: Lips,
    to_box: Matrix,
    pixel: float,
) -> None:
    """Puts lips and inner mouth into the box's picture, and what the networks change about them into the layer's.

    pixel: aligned px for one of the box.
    """
    import cv2

    layer, zoom = drawn.layers[-1], lips.zoom
    seen = replace(drawn, mouth=drawn.mouth.seen(zoom))
    picture = (layer.picture[lips.part] + 1) * np.float32(127.5)
    coarse = _mouth(reference.seen(zoom), seen, lips, picture, None, lips.inner, 1 / zoom)
    change[lips.part] = lips.joined(np.where(lips.near[..., None], picture - coarse, change[lips.part]), drawn.settings)
    box, to_part, size = _within(to_box, lips.part, lips.near.shape, sharp)
    if not sharp[box].size:
        return
    share = np.float32(layer.composite.inside.share)
    mask = share * filled(_apply(to_part, lips.opening), size[::-1])
    mask += (1 - share) * cv2.warpAffine(lips.inner, to_part, size, flags=cv2.INTER_LINEAR)
    found = _mouth(reference, drawn, lips, picture, to_part, mask, pixel)
    kept = np.dstack([coarse, _detail_kept(coarse, picture, lips.inner, drawn.settings)])
    kept = _placed(kept, to_part, size)
    found = kept[..., :3] + kept[..., 3:] * (found - kept[..., :3])
    near = cv2.warpAffine(lips.near.astype(np.float32), to_part, size, flags=cv2.INTER_LINEAR) > 0
    np.copyto(sharp[box], found, where=near[..., None])


def _detail_kept(coarse: Array, picture: Array, inner: Array, settings: Settings) -> Array:
    """How much (h, w) of the references' detail is shown: less in the inner mouth where the networks draw it darker.

    The gaps between teeth that are drawn dark would be black lines.
    """
    import cv2

    drawn, shown = (cv2.transform(one, np.full((1, 3), 1 / 3)) + DARK for one in (picture, coarse))
    return np.asarray(1 - inner * (1 - np.clip(drawn / shown / settings.drawing.detail_whole, 0, 1)), np.float32)


def _mouth(
    reference: Reference,
    drawn: Drawn,
    lips: Lips,
    picture: Array,
    to_part: Matrix | None,
    mask: Array,
    pixel: float,
) -> Array:
    """Lips and inner mouth (h, w, 3) of the references' own pixels, in [0, 255].

    What no reference shows of the inner mouth is as the networks drew it in the picture (h, w, 3), levels of the lips'
    part of the grid. to_part: (2, 3), from there to what is wanted of it. mask: (h, w) of the inner mouth. pixel:
    aligned px for one of these.
    """
    size, share = mask.shape[::-1], np.float32(drawn.layers[-1].composite.inside.share)
    upper = np.clip(0.5 - _placed(lips.depth, to_part, size) / np.float32(pixel), 0, 1)
    own = picture if to_part is None else _placed(_evened(picture, to_part, drawn.settings), to_part, size)
    out = np.zeros((*mask.shape, 3), np.float32)
    for lip, inside, weight in zip(lips.lips, lips.inside, (upper, 1 - upper), strict=True):
        part = part_of(weight)
        if part is None:
            continue
        side, inner = _enlarged(reference, lip, to_part, size, part), (lips.apart * mask[part])[..., None]
        if lips.apart > 0:
            shown = own[part]
            if share > 0:
                shown = shown + share * (_enlarged(drawn.mouth, inside, to_part, size, part) - shown)
            side += inner * (shown - side)
        out[part] += weight[part][..., None] * side
    return out


def _evened(layers: Array, to_box: Matrix, settings: Settings) -> Array:
    """Layers (h, w, c) of a grid, evened where they are put into a box whose pixels are much larger."""
    import cv2

    pixel = 1 / float(np.hypot(to_box[0, 0], to_box[1, 0]))  # px of the grid for one of the box
    if pixel <= settings.drawing.even_from:
        return layers
    return np.asarray(cv2.GaussianBlur(layers, (0, 0), 0.5 * (pixel**2 - 1) ** 0.5), np.float32)


def _apply(matrix: NDArray[np.float64], points: Array) -> Array:
    out = points @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    return out.astype(np.float32)


def _box(
    frame: Image, alignment: Alignment, grid: Grid
) -> tuple[tuple[int, int, int, int] | None, NDArray[np.float64]]:
    """The frame's pixels that a grid covers, and the (2, 3) map from the grid to that box."""
    back, own = alignment.inverse, grid.matrix
    turn, shift = back[:, :2] @ own[:, :2], back[:, :2] @ own[:, 2] + back[:, 2]
    low, high = _covered(turn, shift, grid.size, frame.shape)
    to_box = np.concatenate([turn, (shift - low)[:, None]], 1)
    x0, y0, x1, y1 = (int(edge) for edge in (*low, *high))
    return ((x0, y0, x1, y1) if x1 - x0 > 1 and y1 - y0 > 1 else None), to_box


def _within(
    to_box: Matrix, part: tuple[slice, slice], shape: tuple[int, int], picture: Array
) -> tuple[tuple[slice, slice], NDArray[np.float64], tuple[int, int]]:
    """Where a part of the grid, of this shape, lies in the box's picture; the map to there, its width and height."""
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
