"""Head figures: how much and how fast a head moves, and whether with the voice. Knows nothing of pixels."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.data.head_track import smooth
from difftalk.speech.motion import MOTION_RATE

TURNS: Final = ("yaw", "pitch", "roll")
BROAD: Final = 0.2  # seconds, sigma, over which speed and loudness are compared
QUIETEST: Final = 40.0  # dB under the loudest: softer counts as this


def head_figures(poses: NDArray[np.floating], levels: NDArray[np.floating]) -> dict[str, float]:
    """How far a head (t, 7) at 25/s turns, degrees; how fast, degrees a second; whether with the voice.

    Standard deviations; of the three speeds the root of the sum of squares. levels: (t,) dBFS of each frame.
    """
    turns = poses[:, : len(TURNS)]
    speeds = np.diff(turns, axis=0) * MOTION_RATE
    spread = dict(zip(TURNS, map(float, turns.std(0)), strict=True))
    return spread | {"speed": float(np.sqrt((speeds.std(0) ** 2).sum())), "loud_r": loud_r(poses, levels)}


def loud_r(poses: NDArray[np.floating], levels: NDArray[np.floating]) -> float:
    """Correlation of a head's turning speed with loudness, both smoothed over 0.2 s; 0 where one does not change.

    poses: (t, 7) at 25/s. levels: (t,) dBFS.
    """
    turning = np.linalg.norm(np.diff(poses[:, : len(TURNS)], axis=0), axis=1)
    loud = np.maximum(levels, levels.max() - QUIETEST)[1 : len(poses)]
    a, b = (smooth(values, BROAD) for values in (turning[: len(loud)], loud))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 1e-9 else 0.0
