"""A speaker's own way: how far, around what and how this person moves their mouth, learnt from their own film.

The motion says what the usual person's mouth would do. Where a video's own sound goes with its lips, a ridge regression
tells from it what this person's does; the shorter the film, the less it changes. Knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.motion import MOTION_RATE, best_offset, opening_of
from difftalk.mouth import COMPONENTS, smooth_opening

if TYPE_CHECKING:
    from difftalk.mouth import Geometry

Array = NDArray[np.float32]

RIDGE: Final = 300.0  # frames that the motion as it is weighs, in units of its spread
SPREAD_FRAMES: Final = 50.0  # of film from which spread and mean are half the person's own
LEAST_FRAMES: Final = 75  # from which anything is learnt
LEAST_R: Final = 0.35  # of the opening, under which the sound is not the mouth's own
REACH: Final = 10  # frames at 25/s within which the lips may lead or lag the sound
LEAST_SPREAD: Final = 1e-3


@dataclass(frozen=True)
class OwnWay:
    """own = rest + shapes @ turn. rest: (16,). turn: (16, 16)."""

    rest: Array
    turn: Array

    def __call__(self, shapes: Array, share: float) -> Array:
        """Mouth shapes (t, 16) as this person makes them; share: in [0, 1], how far."""
        own = self.rest + shapes @ self.turn
        return np.asarray(shapes + np.float32(share) * (own - shapes), np.float32)


def learn(heard: NDArray[np.floating], shown: NDArray[np.floating]) -> OwnWay:
    """From what the motion says of a sound and what the mouth did with it, (t, 16) each, frame by frame at 25/s.

    In units of both spreads: shown = heard (1 + W), W by ridge regression (Hoerl & Kennard 1970), so drawn to none.
    Then spread and mean, each as much the person's own as there is film.
    """
    count = len(heard)
    middle, own_middle = heard.mean(0), shown.mean(0)
    spread, own_spread = (np.maximum(part.std(0), LEAST_SPREAD) for part in (heard, shown))
    x, y = (heard - middle) / spread, (shown - own_middle) / own_spread
    turn = np.eye(COMPONENTS) + np.linalg.solve(x.T @ x + RIDGE * np.eye(COMPONENTS), x.T @ (y - x))
    known = count / (count + SPREAD_FRAMES)
    after = spread ** (1 - known) * own_spread**known / np.maximum((x @ turn).std(0), LEAST_SPREAD)
    whole = turn / spread[:, None] * after
    rest = middle + known * (own_middle - middle) - middle @ whole
    return OwnWay(rest.astype(np.float32), whole.astype(np.float32))


def learn_aligned(heard: NDArray[np.floating], shown: NDArray[np.floating], geometry: Geometry) -> OwnWay | None:
    """As `learn`, once sound and lips are brought together. None where they do not go together."""
    truth, made = (smooth_opening(opening_of(np.asarray(part, np.float32), geometry)) for part in (shown, heard))
    offset, r = best_offset(truth, made, reach=REACH)
    rows = np.arange(len(shown))
    rows = rows[(rows + offset >= 0) & (rows + offset < len(heard))]
    if r < LEAST_R or len(rows) < LEAST_FRAMES:
        return None
    return learn(heard[rows + offset], shown[rows])


def at_rate(seconds: NDArray[np.floating], shapes: NDArray[np.floating]) -> Array:
    """Shapes (n, 16) at any times, brought to 25/s from time 0."""
    times = np.arange(0, seconds[-1] + 1e-6, 1 / MOTION_RATE)
    return np.stack([np.interp(times, seconds, column) for column in shapes.T], 1).astype(np.float32)
