"""Mouths: mesh <-> mouth shape, the neutral face of a person, the target mesh.

A mouth shape is the first 16 principal components of how the lower face's mesh points differ from the person's own
neutral, in a pose-free three-dimensional frame (the rigid pose of the upper face taken out) and in eye distances.
One component's unit is its standard deviation over the training people. Knows nothing of audio or pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.errors import ModelError
from difftalk.face.landmarks import (
    CHIN,
    CHIN_TIP,
    LIP_BOTTOM,
    LIP_TOP,
    LIPS,
    LOWER_LIP,
    MOUTH_CORNERS,
    NOSE_BASE,
    UPPER,
    UPPER_LIP,
)
from difftalk.face.pose import Pose, fit_pose
from difftalk.settings import Settings

COMPONENTS: Final = 16
ARRAYS: Final = ("canonical", "lower", "basis", "still_mean", "still_weight", "still_bias", "still_basis")
_GEOMETRY_FILE: Final = "geometry.safetensors"


@dataclass(frozen=True)
class Geometry:
    """What is the same for everyone: the canonical face, the components, the regressor of a still's mouth shape.

    canonical: (478, 3) eye distances, eyes' middle at 0, x to the person's left, y down, z away from the camera.
    lower: indices of the points that a mouth shape moves. basis: (16, len(lower), 3) eye distances for one unit.
    still_mean, still_weight: (d,), (d, 16): mouth shape of a single frame from `still_features`.
    still_basis: (e, len(lower) * 3): principal components of pose-free lower faces.
    """

    canonical: Array
    lower: NDArray[np.int64]
    basis: Array
    still_mean: Array
    still_weight: Array
    still_bias: Array
    still_basis: Array
    settings: Settings = field(default_factory=Settings)

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file(
            {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS},
            folder / _GEOMETRY_FILE,
        )

    @classmethod
    def load(cls, folder: Path, settings: Settings | None = None) -> Geometry:
        """The geometry of a model folder. Raises ModelError."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = folder / _GEOMETRY_FILE
        if not path.is_file():
            raise ModelError(f"{folder} holds no {_GEOMETRY_FILE}; give the folder of an exported model")
        try:
            arrays = load_file(path)
            return cls(**{name: arrays[name] for name in ARRAYS}, settings=settings or Settings())
        except (SafetensorError, OSError, KeyError) as error:
            raise ModelError(f"{path} cannot be read ({error}); export the model again") from None

    def pose(self, points: NDArray[np.floating]) -> Pose:
        """Rigid pose of (478, 3) mesh points, from the upper face alone."""
        return fit_pose(points[UPPER], self.canonical[UPPER])

    def shape_of(self, free: NDArray[np.floating], neutral: NDArray[np.floating]) -> Array:
        """Pose-free points (..., 478, 3) and the neutral (478, 3) -> mouth shape (..., 16), weighted least squares."""
        offset = (free - neutral)[..., self.lower, :]
        flat = offset.reshape(*offset.shape[:-2], -1)
        return (flat @ self._inverse()).astype(np.float32)

    def offsets(self, shape: NDArray[np.floating]) -> Array:
        """Mouth shape (..., 16) -> offsets of all points (..., 478, 3) in eye distances."""
        out = np.zeros((*shape.shape[:-1], len(self.canonical), 3), np.float32)
        out[..., self.lower, :] = np.tensordot(shape, self.basis, 1)
        return out

    def opening_row(self) -> Array:
        """(16,): how much each component opens the inner lips (points 13-14), eye distances for one unit."""
        moves = self.offsets(np.eye(COMPONENTS, dtype=np.float32))
        return moves[:, LIP_BOTTOM, 1] - moves[:, LIP_TOP, 1]

    def curve_rows(self) -> Array:
        """(16, 4): how much each component adds to opening, width, jaw and rounding, eye distances for one unit.

        To first order; what the four are: `mouth_curves` of the evaluation.
        """
        moves = self.offsets(np.eye(COMPONENTS, dtype=np.float32))
        left, right = moves[:, MOUTH_CORNERS[0]], moves[:, MOUTH_CORNERS[1]]
        down = self.canonical[CHIN_TIP] - self.canonical[NOSE_BASE]
        jaw = (moves[:, CHIN_TIP] - moves[:, NOSE_BASE]) @ (down / np.linalg.norm(down))
        corners, lips = left[:, 2] + right[:, 2], moves[:, UPPER_LIP, 2] + moves[:, LOWER_LIP, 2]
        return np.stack([self.opening_row(), right[:, 0] - left[:, 0], jaw, (corners - lips) / 2], 1)

    def _inverse(self) -> NDArray[np.float64]:
        flat = self.basis.reshape(COMPONENTS, -1).astype(np.float64)
        weight = np.repeat(point_weights(self.lower), 3) ** 2
        return np.asarray(np.linalg.solve((flat * weight) @ flat.T, flat * weight).T)

    def still_features(self, free: NDArray[np.floating], blendshapes: NDArray[np.floating]) -> Array:
        """(478, 3) pose-free points and (52,) blendshapes -> the regressor's input."""
        low = (free - self.canonical)[self.lower].reshape(-1) @ self.still_basis.T
        return np.concatenate([blendshapes, low]).astype(np.float32)

    def neutral_of_still(self, free: NDArray[np.floating], blendshapes: NDArray[np.floating]) -> Array:
        """Neutral (478, 3) of a person from one frame, whatever the mouth does in it."""
        features = self.still_features(free, blendshapes)
        shape = (features - self.still_mean) @ self.still_weight + self.still_bias
        return self.closed((free - self.offsets(shape)).astype(np.float32))

    def closed(self, neutral: Array) -> Array:
        """The neutral (478, 3) with lips that meet: by the least change of shape, in units of its spread."""
        row, gap = self.opening_row(), neutral[LIP_BOTTOM, 1] - neutral[LIP_TOP, 1]
        excess = max(0.0, float(gap) - self.settings.mouths.rest_opening)
        return (neutral - self.offsets(excess * row / (row @ row))).astype(np.float32)


def point_weights(lower: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much each lower point counts in the components: lips three times, chin twice."""
    weight = np.ones(len(lower))
    weight[np.isin(lower, LIPS)] = 3.0
    weight[np.isin(lower, CHIN)] = 2.0
    return weight


def opening(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inner-lip opening (points 13-14) of pose-free points (..., 478, 3), in eye distances."""
    return np.asarray(np.linalg.norm(points[..., LIP_TOP, :] - points[..., LIP_BOTTOM, :], axis=-1))


def lip_height(points: NDArray[np.floating]) -> float:
    """Height of upper and lower lip together, of pose-free points (478, 3), in eye distances."""
    upper, lower = points[UPPER_LIP] - points[LIP_TOP], points[LOWER_LIP] - points[LIP_BOTTOM]
    return float(np.linalg.norm(upper) + np.linalg.norm(lower))


def neutral_of_clip(free: NDArray[np.floating], settings: Settings) -> Array:
    """Neutral (478, 3) of a clip's pose-free points (t, 478, 3): the mean of its most closed quarter."""
    count = max(settings.mouths.neutral_min_frames, round(settings.mouths.neutral_share * len(free)))
    return np.asarray(free[np.argsort(opening(free))[:count]].mean(0), dtype=np.float32)


def target_mesh(
    geometry: Geometry,
    *,
    pose: Pose,
    neutral: NDArray[np.floating],
    shape: NDArray[np.floating],
    upper: NDArray[np.floating] | None = None,
) -> Array:
    """Mesh (478, 3) in the space of `pose`: pose × (neutral + mouth shape).

    upper: observed (478, 3) points of the frame. Only those that rest on nothing below the nose are taken from it.
    """
    mesh = pose.place(neutral + geometry.offsets(shape))
    if upper is not None:
        mesh[UPPER] = upper[UPPER]
    return mesh.astype(np.float32)


def smooth_opening(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """An opening curve smoothed over 3 frames, as every report quotes it."""
    padded = np.pad(np.asarray(values, np.float64), 1, mode="edge")
    return np.convolve(padded, np.ones(3) / 3, mode="valid")
