"""A speaker's own way: how far, around what and how this person moves their mouth, learnt from their own film.

The motion says what the usual person's mouth would do. Where a video's own sound goes with its lips, two ridge
regressions (Hoerl & Kennard 1970) tell from it what this person's does; the shorter the film, the less they change.
Knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.mouth import COMPONENTS, smooth_opening
from difftalk.settings import Settings
from difftalk.speech.motion import MOTION_RATE, SOUNDS, Heard, opening_of
from difftalk.speech.offset import best_offset

if TYPE_CHECKING:
    from difftalk.face.mouth import Geometry


@dataclass(frozen=True)
class OwnWay:
    """own = rest + shapes @ turn + sounds @ ear. rest: (16,). turn: (16, 16). ear: (SOUNDS, 16)."""

    rest: Array
    turn: Array
    ear: Array

    def __call__(self, heard: Heard, share: float) -> Array:
        """Mouth shapes (t, 16) as this person makes them; share: in [0, 1], how far."""
        own = self.rest + heard.shapes @ self.turn + heard.sounds @ self.ear
        return np.asarray(heard.shapes + np.float32(share) * (own - heard.shapes), np.float32)

    @classmethod
    def usual(cls) -> OwnWay:
        """Anybody's."""
        size, none = np.eye(COMPONENTS, dtype=np.float32), np.zeros((SOUNDS, COMPONENTS), np.float32)
        return cls(none[0], size, none)

    def toward(self, other: OwnWay, share: float) -> OwnWay:
        """What lies between, `share` of the way to the other."""
        pairs = ((self.rest, other.rest), (self.turn, other.turn), (self.ear, other.ear))
        return OwnWay(*(one + np.float32(share) * (two - one) for one, two in pairs))


def learn(heard: Heard, shown: NDArray[np.floating], row: NDArray[np.floating], settings: Settings) -> OwnWay:
    """From what is heard in a film and what its mouth does, (t, 16), frame by frame. row: (16,) of the opening.

    First the person's mean and spreads, and how components go together, the opening's course left as it is; then what
    the sounds add to that; then the opening's spread, which both have made less.
    """
    turn, rest = _mixed(heard.shapes, shown, row, settings)
    made, spread = rest + heard.shapes @ turn, np.maximum(shown.std(0), settings.own_way.least_spread)
    sounds, missing = heard.sounds - heard.sounds.mean(0), (shown - made) / spread
    penalty = settings.own_way.sound_frames * np.eye(sounds.shape[1])
    ear = np.linalg.solve(sounds.T @ sounds + penalty, sounds.T @ (missing - missing.mean(0))) * spread
    made = made + sounds @ ear
    known, opened = _known(len(shown), settings.own_way.opening_frames), (heard.shapes @ row, shown @ row, made @ row)
    usual, own, now = (max(float(curve.std()), settings.own_way.least_spread) for curve in opened)
    wider = np.eye(COMPONENTS) + (usual ** (1 - known) * own**known / now - 1) * _onto(row)
    middle = made.mean(0)
    rest = middle + (rest - heard.sounds.mean(0) @ ear - middle) @ wider
    return OwnWay(*(part.astype(np.float32) for part in (rest, turn @ wider, ear @ wider)))


def _mixed(
    heard: NDArray[np.floating],
    shown: NDArray[np.floating],
    row: NDArray[np.floating],
    settings: Settings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn (16, 16) and rest (16,): in units of both spreads shown = heard (1 + W), but for the opening's course."""
    how = settings.own_way
    known, middle = _known(len(shown), how.own_frames), heard.mean(0)
    spread, own = (np.maximum(part.std(0), how.least_spread) for part in (heard, shown))
    x, y = (heard - middle) / spread, (shown - shown.mean(0)) / own
    mix = np.eye(COMPONENTS) + np.linalg.solve(x.T @ x + how.shape_frames * np.eye(COMPONENTS), x.T @ (y - x))
    part = _known(len(shown), how.spread_frames)
    after = spread ** (1 - part) * own**part / np.maximum((x @ mix).std(0), how.least_spread)
    turn = mix / spread[:, None] * after
    usual, opened = (max(float((part @ row).std()), how.least_spread) for part in (heard, shown))
    turn = turn @ (np.eye(COMPONENTS) - _onto(row)) + (opened / usual) ** known * _onto(row)
    return turn, middle + known * (shown.mean(0) - middle) - middle @ turn


def _onto(row: NDArray[np.floating]) -> NDArray[np.float64]:
    """(16, 16): shapes -> their part along the opening's row."""
    return np.asarray(np.outer(row, row) / (row @ row), np.float64)


def _known(frames: int, half: float) -> float:
    return frames / (frames + half)


def learn_aligned(heard: Heard, shown: NDArray[np.floating], geometry: Geometry) -> OwnWay | None:
    """As `learn`, once sound and lips are brought together. None where they do not go together."""
    how = geometry.settings.own_way
    truth, made = (smooth_opening(opening_of(np.asarray(s, np.float32), geometry)) for s in (shown, heard.shapes))
    offset, r = best_offset(truth, made, reach=how.reach)
    rows = np.arange(len(shown))
    rows = rows[(rows + offset >= 0) & (rows + offset < len(heard))]
    if r < how.least_r or len(rows) < how.least_frames:
        return None
    there = Heard(heard.shapes[rows + offset], heard.sounds[rows + offset])
    return learn(there, shown[rows], geometry.opening_row(), geometry.settings)


def at_rate(seconds: NDArray[np.floating], shapes: NDArray[np.floating]) -> Array:
    """Shapes (n, 16) at any times, brought to 25/s from time 0."""
    times = np.arange(0, seconds[-1] + 1e-6, 1 / MOTION_RATE)
    return np.stack([np.interp(times, seconds, column) for column in shapes.T], 1).astype(np.float32)
