"""Poses: a rigid pose with scale of points, and its fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pose:
    """A rigid pose with scale: points = scale * (canonical @ rotation.T) + shift, aligned or source pixels."""

    rotation: NDArray[np.float64]  # (3, 3)
    scale: float  # pixels for one eye distance
    shift: NDArray[np.float64]  # (3,)

    @property
    def yaw(self) -> float:
        """Degrees that the head is turned, however tilted; 0 looks into the camera."""
        return float(self.turn[0])

    @property
    def turn(self) -> NDArray[np.float64]:
        """(2,) degrees, however tilted the head is: yaw, and pitch, positive where it looks down."""
        return np.asarray(np.degrees(np.arcsin(np.clip([-self.rotation[2, 0], self.rotation[2, 1]], -1, 1))))

    @property
    def roll(self) -> float:
        return float(np.degrees(np.arctan2(self.rotation[1, 0], self.rotation[0, 0])))

    def place(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 3) canonical points -> (n, 3) pixels."""
        return np.asarray(self.scale * (points @ self.rotation.T) + self.shift)

    def remove(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 3) pixels -> (n, 3) pose-free points in eye distances."""
        return np.asarray((points - self.shift) @ self.rotation / self.scale)


def fit_poses(points: NDArray[np.floating], canonical: NDArray[np.floating]) -> list[Pose]:
    """The similarities that carry `canonical` (n, 3) onto each of `points` (t, n, 3), least squares (Umeyama 1991)."""
    a, b = canonical.astype(np.float64), points.astype(np.float64)
    ca, cb = a.mean(0), b.mean(1)
    u, s, vt = np.linalg.svd((b - cb[:, None]).swapaxes(1, 2) @ (a - ca))
    sign = np.ones_like(s)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None, :]) @ vt
    scale = (s * sign).sum(1) / ((a - ca) ** 2).sum()
    shift = cb - scale[:, None] * (rotation @ ca)
    return [Pose(r, float(k), t) for r, k, t in zip(rotation, scale, shift, strict=True)]


def fit_pose(points: NDArray[np.floating], canonical: NDArray[np.floating]) -> Pose:
    """`fit_poses` of one (n, 3)."""
    return fit_poses(points[None], canonical)[0]
