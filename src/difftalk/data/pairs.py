"""Pairs: which consecutive frames of a clip tell most of a face, the most telling first.

A pair (i - 1, i) is named by i: who draws the frame i also sees the one before it. Pairs are told apart by opening and
width of the mouth, turn of the head and time. Knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.clip import ClipShapes, clip_shapes
from difftalk.data.sample import Curve, Sample
from difftalk.face.landmarks import CORNERS
from difftalk.face.mouth import Geometry, opening
from difftalk.face.tracker import steady

FAR: Final = np.array([0.05, 0.05, 5.0, 4.0, 0.5])  # eye distances twice, degrees twice, share of the clip: equally far
FOLLOWS: Final = 2.5  # frames' durations that may lie between two consecutive ones


@dataclass(frozen=True)
class Telling:
    """What is known of a clip's frames before one is chosen.

    neutral: (478, 3). traits: (t, 5), equally far in units of FAR. follows: (t,), whether the frame before is there.
    """

    sample: Sample
    curve: Curve
    neutral: Array
    traits: NDArray[np.float64]
    follows: NDArray[np.bool_]

    @classmethod
    def of(cls, sample: Sample, geometry: Geometry) -> Telling:
        parts = clip_shapes(geometry, np.stack([sample.aligned_mesh(i) for i in range(len(sample.meshes))]))
        openings = opening(parts.free).astype(np.float32)
        curve = Curve(sample.seconds, parts.shapes, openings)
        return cls(sample, curve, parts.neutral, _traits(parts, curve), _follows(sample, geometry))


def _traits(parts: ClipShapes, curve: Curve) -> NDArray[np.float64]:
    width = np.linalg.norm(parts.free[:, CORNERS[0]] - parts.free[:, CORNERS[1]], axis=1)
    turns = np.stack([pose.turn for pose in parts.poses])
    time = (curve.seconds - curve.seconds[0]) / max(float(np.ptp(curve.seconds)), 1e-9)
    return np.asarray(np.column_stack([curve.openings, width, turns, time]) / FAR)


def _follows(sample: Sample, geometry: Geometry) -> NDArray[np.bool_]:
    """Whether a frame comes right after the one before it, with no cut between them."""
    near = np.diff(sample.seconds) < FOLLOWS / max(sample.record.frame_rate, 1)
    poses = [geometry.pose(mesh) for mesh in sample.meshes]
    whole = [steady(before, now, geometry.settings) for before, now in pairwise(poses)]
    return np.concatenate([[False], near & np.array(whole, bool)])


def ordered_pairs(telling: Telling) -> list[int]:
    """All pairs: the widest open, the most closed, the first and the last, then always the one farthest from those.

    With the first and the last there is a frame far from every other, wherever the clip has one.
    """
    pairs = np.flatnonzero(telling.follows)
    if not len(pairs):
        return []
    traits, openings = telling.traits[pairs], telling.curve.openings[pairs]
    distance, order = np.full(len(pairs), np.inf), []
    for seed in (int(openings.argmax()), int(openings.argmin()), 0, len(pairs) - 1):
        if seed not in order:
            order.append(seed)
            distance = np.minimum(distance, np.linalg.norm(traits - traits[seed], axis=1))
    distance[order] = -1
    while len(order) < len(pairs):
        chosen = int(distance.argmax())
        order.append(chosen)
        distance = np.minimum(distance, np.linalg.norm(traits - traits[chosen], axis=1))
        distance[chosen] = -1
    return [int(i) for i in pairs[order]]
