"""Head poses: how far a head is turned and moved from how it looks in a still, and the brows with it.

What is tracked in a film and what a still is moved by are the same seven numbers. Knows nothing of pictures, nor of
where poses come from.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.face.pose import Pose

NECK: Final = np.array([0.0, 1.2, 1.2])  # eye distances from between the eyes: what a head turns about; as canonical


@dataclass(frozen=True)
class HeadPose:
    """Relative to a rest, as an upright head is seen.

    yaw, pitch, roll: degrees, as in `Pose`: to the picture's left, down, clockwise. x, y: eye distances that the middle
    between the eyes moves, right and down, what turning brings included. zoom: logarithm. brow: eye distances that the
    brows are raised.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    zoom: float = 0.0
    brow: float = 0.0

    @classmethod
    def between(cls, rest: Pose, now: Pose) -> HeadPose:
        """From one pose of a tracked face to another; the brows stay."""
        upright = turned(roll=-rest.roll)
        turn = upright @ now.rotation @ rest.rotation.T @ upright.T
        yaw, roll = np.degrees(np.arctan2([-turn[2, 0], -turn[0, 1]], [turn[2, 2], turn[1, 1]]))
        pitch = np.degrees(np.arcsin(np.clip(turn[2, 1], -1, 1)))
        x, y, _ = upright @ (now.shift - rest.shift) / rest.scale
        return cls.of_row(np.array([yaw, pitch, roll, x, y, np.log(now.scale / rest.scale), 0.0]))

    @classmethod
    def about_neck(
        cls,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        x: float = 0.0,
        y: float = 0.0,
        zoom: float = 0.0,
        brow: float = 0.0,
        *,
        neck: NDArray[np.float64] = NECK,
    ) -> HeadPose:
        """x, y: eye distances that the neck moves, (3,) eye distances from between the eyes."""
        right, down, _ = neck - turned(yaw, pitch, roll) @ neck
        return cls(yaw, pitch, roll, x + float(right), y + float(down), zoom, brow)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3)"""
        return turned(self.yaw, self.pitch, self.roll)

    @property
    def row(self) -> NDArray[np.float64]:
        """(7,)"""
        return np.array(astuple(self))

    @classmethod
    def of_row(cls, row: NDArray[np.floating]) -> HeadPose:
        return cls(*map(float, row))

    def times(self, amount: float) -> HeadPose:
        """So many times as far."""
        return HeadPose.of_row(amount * self.row)


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> NDArray[np.float64]:
    """(3, 3): the rotation by these degrees; of several the yaw comes first."""
    (a, b, c), (p, q, r) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    about_y = np.array([[a, 0, p], [0, 1, 0], [-p, 0, a]])
    about_x = np.array([[1, 0, 0], [0, b, -q], [0, q, b]])
    return np.asarray(np.array([[c, -r, 0], [r, c, 0], [0, 0, 1]]) @ about_x @ about_y)
