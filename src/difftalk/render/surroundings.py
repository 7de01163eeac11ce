"""The rim: how what surrounds a face moves between two frames, seen just outside the region and spread into it.

A head moves before its background, and shoulders move with neither. In the aligned space the face stands still, so the
surroundings move; what the reference shows of them inside the region has to move along. No pixel inside the region of
the frame is looked at. Knows nothing of faces, mouths or networks.

A *rim motion* is (36, 2) float32: for every point of RIM, how far from it, in aligned pixels, the reference shows what
the frame shows there. Zero: the surroundings are fixed to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image, State
from difftalk.face.space import (
    ALIGNED_SIZE,
    REGION_SIZE,
    REGION_X,
    REGION_Y,
    Alignment,
)
from difftalk.render.references import Reference, Scene
from difftalk.settings import Settings, Surroundings

RIM: Final = np.array(
    [(30, y) for y in range(104, 244, 14)]
    + [(x, 248) for x in range(48, 216, 14)]
    + [(226, y) for y in range(242, 100, -14)],
    np.float64,
)  # px, aligned: down the left, along the bottom, up the right
GRID: Final = 8  # px between the points at which the motion is computed inside the region
_LOW, _SIDE = slice(110, ALIGNED_SIZE), 32  # px, aligned: rows beside the jaw; width of the strips beside the region
_BAND: Final = (
    (_LOW, slice(REGION_X[0] - _SIDE, REGION_X[0])),
    (_LOW, slice(REGION_X[1], REGION_X[1] + _SIDE)),
    (slice(REGION_Y[1], ALIGNED_SIZE), slice(*REGION_X)),
)  # where the guesses are compared


def spread(points: NDArray[np.floating], how: Surroundings) -> NDArray[np.float64]:
    """Aligned points (n, 2) -> (n, 36) weights of the rim's points, by inverse distance (Shepard 1968)."""
    distance = np.hypot(points[:, :1] - RIM[:, 0], points[:, 1:2] - RIM[:, 1]) + how.nearest
    weight = distance**-how.power
    return np.asarray(weight / weight.sum(1, keepdims=True))


@lru_cache(maxsize=8)  # of models with other settings
def _grid_weights(how: Surroundings) -> Array:
    y, x = np.mgrid[REGION_Y[0] : REGION_Y[1] : GRID, REGION_X[0] : REGION_X[1] : GRID] + (GRID - 1) / 2
    return spread(np.stack([x, y], -1).reshape(-1, 2), how).astype(np.float32)


def field(motion: Array, settings: Settings) -> Array:
    """A rim motion (36, 2) spread over the region: (144, 176, 2) aligned px."""
    import cv2

    height, width = REGION_SIZE
    coarse = (_grid_weights(settings.surroundings) @ motion).reshape(height // GRID, width // GRID, 2)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def still_scene(frame: Alignment, reference: Alignment) -> NDArray[np.float64]:
    """(2, 3), frame's aligned space -> reference's: where a thing is that stands still in the source's picture."""
    back = frame.inverse
    linear = reference.matrix[:, :2] @ back[:, :2]
    return np.concatenate([linear, (reference.matrix[:, :2] @ back[:, 2] + reference.matrix[:, 2])[:, None]], 1)


@dataclass
class RimFollower:
    """Rim motions of frames that follow one another; the flow's correction is smoothed over them."""

    _still: bool = False  # whether the scene was last taken to stand still; else it is fixed to the head
    _flow: Array | None = None

    def reset(self) -> None:
        """At a cut, and where another reference takes over."""
        self._still, self._flow = False, None

    def state(self) -> State:
        """What it remembers; `restore` takes it back."""
        return {"still": np.array(self._still)} | ({} if self._flow is None else {"flow": self._flow})

    def restore(self, state: State) -> None:
        self._still, self._flow = bool(state["still"]), state.get("flow")

    def __call__(self, frame: Image, reference: Image, scene: NDArray[np.float64], settings: Settings) -> Array:
        """frame, reference: aligned (256, 256, 3). scene: `still_scene` of the two. -> a rim motion.

        Two guesses, a scene that stands still and one that is fixed to the head; the one that fits the rim better is
        refined by dense optical flow (DIS, Kroeger et al. 2016).
        """
        import cv2

        now, then = (np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) for picture in (frame, reference))
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size, edge = (ALIGNED_SIZE, ALIGNED_SIZE), cv2.BORDER_REPLICATE
        stood = np.asarray(cv2.warpAffine(then, scene, size, flags=how, borderMode=edge), np.uint8)
        errors = {True: _misfit(now, stood), False: _misfit(now, then)}
        still = (
            errors[False] > settings.surroundings.head * errors[True]
            if self._still
            else errors[True] < settings.surroundings.still * errors[False]
        )
        matrix, guess = (scene, stood) if still else (np.eye(2, 3), then)
        flow = _rim_flow(now, guess, settings)
        if self._flow is not None and still == self._still:
            flow = settings.surroundings.keep * self._flow + (1 - settings.surroundings.keep) * flow
        self._still, self._flow = still, flow
        found = RIM + flow
        return np.asarray(found @ matrix[:, :2].T + matrix[:, 2] - RIM, np.float32)


@lru_cache(maxsize=8)  # of models with other settings
def _patch_pixels(how: Surroundings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns (36, 165) of the pixels around every point of RIM."""
    y, x = np.mgrid[
        -how.patch[1] : how.patch[1] + 1,
        -how.patch[0] : how.patch[0] + 1,
    ].reshape(2, 1, -1)
    columns, rows = RIM.astype(int).T[..., None]
    return rows + y, columns + x


def _median(values: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    """Without np.median's regard for what is no number, which takes longer than this."""
    count = values.shape[axis]
    ordered = np.sort(values, axis)
    return np.asarray((ordered.take((count - 1) // 2, axis) + ordered.take(count // 2, axis)) / 2)


def _misfit(now: NDArray[np.uint8], guess: NDArray[np.uint8]) -> float:
    return float(np.mean([np.abs(now[part].astype(np.int16) - guess[part]).mean() for part in _BAND]))


def _rim_flow(now: NDArray[np.uint8], guess: NDArray[np.uint8], settings: Settings) -> Array:
    """Median flow around every point of RIM, frame -> guess; inside the region the frame is taken for the guess."""
    import cv2

    outside = now.copy()
    inside = slice(*REGION_Y), slice(*REGION_X)
    outside[inside] = guess[inside]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # has buffers: not to be shared by threads
    dense = finder.calc(outside, guess, None)  # type: ignore[call-overload]
    found = _median(dense[_patch_pixels(settings.surroundings)], 1)
    return np.asarray(np.clip(found, -settings.surroundings.max_flow, settings.surroundings.max_flow), np.float32)


def rim_colour(scene: Scene, reference: Reference, settings: Settings) -> Array:
    """(1, 176, 3), [-1, 1] units: how the scene's light differs from the reference's, read off just above the mask.

    No pixel inside the mask enters: the band is the 6 rows above the region. One offset for each third of its width.
    """
    import cv2

    rows = slice(REGION_Y[0] - 6, REGION_Y[0])
    away = scene.aligned[rows].astype(np.float32) - reference.aligned[rows]
    edges = np.linspace(REGION_X[0] + 32, REGION_X[1] - 32, 4).astype(int)
    offsets = [_median(away[:, a:b].reshape(-1, 3), 0) for a, b in pairwise(edges)]
    seen = np.array(offsets, np.float32)[None] / 127.5
    band = np.sign(seen) * np.clip(np.abs(seen) - settings.surroundings.light_noise, 0, settings.surroundings.max_light)
    return np.asarray(cv2.resize(band, (REGION_SIZE[1], 1), interpolation=cv2.INTER_LINEAR), np.float32)
