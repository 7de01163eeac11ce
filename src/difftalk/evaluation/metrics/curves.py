"""Mouth curves: what a tracked mouth does over time, and how well one such curve follows another.

All are read off pose-free meshes in eye distances, at 25 frames a second. Reports quote the opening smoothed over 3
frames. `shift` is always in frames: truth[i] goes with made[i + shift]; a clip's own shift is its lip/audio offset.
Knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.data.clip import clip_shapes
from difftalk.face.landmarks import CHIN_TIP, LIPS, LOWER_LIP, MOUTH_CORNERS, NOSE_BASE, UPPER_LIP
from difftalk.face.mouth import Geometry, opening, smooth_opening
from difftalk.speech.motion import MOTION_RATE
from difftalk.speech.offset import best_offset, correlation_at

Curve = NDArray[np.float64]
Figures = dict[str, float]

CLOSED: Final = 0.03  # eye distances: an opening below is closed
OPEN: Final = 0.08  # and above is open
CLOSURE_FRAMES: Final = 2  # that a closure lasts at least
CLOSURE_SLACK: Final = 2  # frames by which a closure may be early or late
WINDOW: Final = 2 * MOTION_RATE  # frames in which a shift is looked for
STIFF: Final = 0.003  # eye distances: a mouth of less spread does not move
NEAR: Final = 5  # frames of shift that a window must leave room for
REACH: Final = 15  # frames of shift that are tried either way


@dataclass(frozen=True)
class MouthCurves:
    """opening, width, jaw, rounding: (t,) eye distances. lips: (t, 40, 2) lip points in the face's own frame."""

    opening: Curve
    width: Curve
    jaw: Curve
    rounding: Curve
    lips: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.opening)


def mouth_curves(meshes: NDArray[np.floating], geometry: Geometry) -> MouthCurves:
    """Meshes (t, 478, 3), any similarity of the picture, at 25/s.

    opening: inner lips, points 13-14. width: mouth corners. jaw: base of the nose to the tip of the chin. rounding: how
    far the lips' middle stands before the corners.
    """
    free = clip_shapes(geometry, np.asarray(meshes, np.float32)).free.astype(np.float64)
    left, right = free[:, MOUTH_CORNERS[0]], free[:, MOUTH_CORNERS[1]]
    front = (free[:, UPPER_LIP, 2] + free[:, LOWER_LIP, 2]) / 2 - (left[:, 2] + right[:, 2]) / 2
    jaw = np.linalg.norm(free[:, CHIN_TIP] - free[:, NOSE_BASE], axis=1)
    return MouthCurves(opening(free), np.linalg.norm(left - right, axis=1), jaw, -front, free[:, LIPS, :2])


def follow_figures(truth: MouthCurves, made: MouthCurves, offset: int) -> Figures:
    """How the made mouth follows the true one: correlations, spread, shifts, closures, lip distance."""
    found = window_shifts(truth.opening, made.opening)
    recall, precision = closures(truth.opening, made.opening, offset)
    figures = {
        "r": opening_correlation(truth.opening, made.opening, offset),
        "r_shift0": opening_correlation(truth.opening, made.opening, 0),
        "spread": opening_spread(truth.opening, made.opening),
        "shift_found": float(np.mean(np.abs(found - offset) <= 1)) if len(found) else np.nan,
        "shift": float(np.nanmedian(found) - offset) if np.isfinite(found).any() else np.nan,
        "closure_recall": recall,
        "closure_precision": precision,
        "lip_distance": lip_distance(truth, made, offset),
    }
    for name in ("width", "jaw", "rounding"):
        figures[f"r_{name}"] = opening_correlation(getattr(truth, name), getattr(made, name), offset)
    return figures


def opening_correlation(truth: NDArray[np.floating], made: NDArray[np.floating], shift: int) -> float:
    """Pearson correlation of two curves, each smoothed over 3 frames; 0 where one does not move."""
    return correlation_at(smooth_opening(truth), smooth_opening(made), shift)


def opening_spread(truth: NDArray[np.floating], made: NDArray[np.floating]) -> float:
    """Standard deviation of the made opening over the true one's."""
    return float(smooth_opening(made).std() / max(float(smooth_opening(truth).std()), 1e-9))


def best_shift(truth: NDArray[np.floating], made: NDArray[np.floating], *, reach: int = REACH) -> tuple[int, float]:
    """The shift within ± reach at which the curves agree best, and the correlation there; of equals the least."""
    return best_offset(smooth_opening(truth), smooth_opening(made), reach=reach)


def window_shifts(truth: NDArray[np.floating], made: NDArray[np.floating]) -> Curve:
    """The best shift of every 2-second window of the truth, a second apart, in the whole made curve; (n,).

    nan where no shift agrees, as with a mouth that does not move. Windows so near an end that a shift of 5 frames would
    leave the made curve are left out.
    """
    a, b = smooth_opening(truth), smooth_opening(made)
    out = []
    for start in range(NEAR, min(len(a), len(b)) - WINDOW - NEAR + 1, MOTION_RATE):
        shifts = range(max(-REACH, -start), min(REACH, len(b) - WINDOW - start) + 1)
        part = a[start : start + WINDOW]
        score, _, shift = max((correlation_at(part, b[start + k : start + k + WINDOW], 0), -abs(k), k) for k in shifts)
        out.append(float(shift) if score > 0 else np.nan)
    return np.array(out)


def closures(truth: NDArray[np.floating], made: NDArray[np.floating], offset: int) -> tuple[float, float]:
    """Recall and precision of closures, nan where there are none.

    A closure is an opening under 0.03 for at least 2 frames between openings over 0.08. One of the truth is met where
    the made one is closed within 2 frames of it, and the other way round.
    """
    moved = np.asarray(made)[np.clip(np.arange(len(truth)) + offset, 0, len(made) - 1)]

    def met(spans: list[tuple[int, int]], curve: NDArray[np.floating]) -> float:
        if not spans:
            return np.nan
        hits = [curve[max(0, a - CLOSURE_SLACK) : b + CLOSURE_SLACK].min() < CLOSED for a, b in spans]
        return float(np.mean(hits))

    return met(closed_spans(truth), moved), met(closed_spans(moved), np.asarray(truth))


def closed_spans(curve: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Closures of an opening curve as (first frame, one past the last)."""
    values = np.asarray(curve, np.float64)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (values < CLOSED).astype(int), [0]])))
    runs = [(int(i), int(j)) for i, j in edges.reshape(-1, 2) if j - i >= CLOSURE_FRAMES]
    stops = [0, *(j for _, j in runs)]
    starts = [*(i for i, _ in runs), len(values)]
    opened = [bool((values[i:j] > OPEN).any()) for i, j in zip(stops, starts, strict=True)]  # before, between, after
    return [run for k, run in enumerate(runs) if opened[k] and opened[k + 1]]


def lip_distance(truth: MouthCurves, made: MouthCurves, offset: int) -> float:
    """Mean distance of the 40 lip points, eye distances, each clip's mean lips taken out (LMD, Chen et al. 2018)."""
    count = len(truth)
    rows = np.arange(count) + offset
    kept = (rows >= 0) & (rows < len(made))
    if not kept.any():
        return np.nan
    a, b = truth.lips[kept], made.lips[rows[kept]]
    return float(np.linalg.norm((a - a.mean(0)) - (b - b.mean(0)), axis=-1).mean())


def rest_figures(made: NDArray[np.floating], speech: NDArray[np.floating], neutral: float) -> Figures:
    """A mouth that should rest beside the same mouth in speech: its spread over that one's, its mean above the neutral.

    A mouth that does not move in speech either cannot rest: its spread counts as 1.
    """
    values, unit = np.asarray(made, np.float64), float(np.std(speech))
    spread = float(values.std()) / unit if unit > STIFF else 1.0
    return {"rest_spread": spread, "rest_open": float((values.mean() - neutral) / max(unit, CLOSED))}


def luck(curves: dict[str, Curve], people: dict[str, str]) -> Figures:
    """What curves that have nothing to do with each other reach: every clip's truth against other people's.

    floor: mean r without a shift. free: mean of the best r when any shift within ± 15 frames is allowed.
    """
    names = list(curves)
    pairs = [(a, b) for a in names for b in names if people[a] != people[b]]
    if not pairs:
        return {}
    plain = [opening_correlation(curves[a], curves[b], 0) for a, b in pairs]
    free = [best_shift(curves[a], curves[b])[1] for a, b in pairs]
    return {"floor": float(np.mean(plain)), "free": float(np.mean(free))}
