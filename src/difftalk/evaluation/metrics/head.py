"""Head figures: how much and how fast a head moves, and whether with the voice. Knows nothing of pixels."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.data.head_track import smooth
from difftalk.speech.head_motion import NAMES
from difftalk.speech.motion import MOTION_RATE

TURNS: Final = ("yaw", "pitch", "roll")
BROAD: Final = 0.2  # seconds, sigma, over which speed and loudness are compared
QUIETEST: Final = 40.0  # dB under the loudest: softer counts as this


def head_spread(poses: NDArray[np.floating]) -> dict[str, float]:
    """(t, 7) at 25/s -> standard deviation of every number, and of the turns' speeds in a second."""
    speeds = np.diff(poses, axis=0) * MOTION_RATE
    return dict(zip(NAMES, map(float, poses.std(0)), strict=True)) | {
        f"{name}_speed": float(speeds[:, i].std()) for i, name in enumerate(TURNS)
    }


def head_figures(
    truth: NDArray[np.floating], made: NDArray[np.floating], levels: NDArray[np.floating]
) -> dict[str, float]:
    """Spreads of the made head (t, 7) over the true one's; of both, how the turning goes with loudness.

    levels: (t,) dBFS of each frame.
    """
    true, own = head_spread(truth), head_spread(made)
    ratios = {name: own[name] / max(true[name], 1e-9) for name in own}
    return ratios | {"loud_r": loud_r(made, levels), "loud_r_true": loud_r(truth, levels)}


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
