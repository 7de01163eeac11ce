"""Fits the geometry that every model shares: canonical face, mouth-shape components, a still's neutral.

Input are meshes and blendshapes of many people, a list of clips per person; every person counts alike. Knows nothing
of files: `difftalk train geometry` reads the prepared data and writes what this returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.landmarks import LEFT_EYE, RIGHT_EYE, UPPER
from difftalk.face.mouth import COMPONENTS, Geometry, neutral_of_clip, point_weights
from difftalk.face.pose import fit_pose
from difftalk.settings import Settings

MESH_POINTS: Final = 468  # without the irises
FRAMES_A_PERSON: Final = 400
LOWER_TOP: Final = 0.45  # eye distances below the eyes where the lower face begins
NOSE_HALF_WIDTH: Final = 0.42  # eye distances: the nose keeps still ...
NOSE_BASE: Final = 0.86  # ... down to here
STILL_COMPONENTS: Final = 24
STILL_RIDGE: Final = 30.0
ITERATIONS: Final = 6


@dataclass(frozen=True)
class TrackedClip:
    """Meshes (t, 478, 3) in pixels and blendshapes (t, 52) of one clip."""

    meshes: Array
    blendshapes: Array


def fit_geometry(people: Mapping[str, Sequence[TrackedClip]]) -> Geometry:
    """Canonical face by Procrustes (Gower 1975), components by PCA, the still's regressor by ridge regression."""
    canonical = _canonical([np.concatenate([clip.meshes for clip in clips]) for clips in people.values()])
    lower = _lower(canonical)
    offsets, frees, blendshapes = [], [], []
    for clips in people.values():
        free = [np.stack([fit_pose(m[UPPER], canonical[UPPER]).remove(m) for m in clip.meshes]) for clip in clips]
        moved = np.concatenate([(f - neutral_of_clip(f, Settings()))[:, lower] for f in free])
        pick = np.linspace(0, len(moved) - 1, FRAMES_A_PERSON).astype(int)
        offsets.append(moved[pick])
        frees.append(np.concatenate(free)[pick])
        blendshapes.append(np.concatenate([clip.blendshapes for clip in clips])[pick])
    basis = _components(np.concatenate(offsets), lower)
    empty = np.zeros(0, np.float32)
    geometry = Geometry(canonical.astype(np.float32), lower, basis, empty, empty, empty, empty)
    return _fit_still(geometry, np.concatenate(offsets), np.concatenate(frees), np.concatenate(blendshapes))


def _canonical(people: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    samples = [meshes[np.linspace(0, len(meshes) - 1, 60).astype(int)] for meshes in people]
    canonical = _upright(samples[0][0].astype(np.float64))
    for _ in range(ITERATIONS):
        means = [np.mean([fit_pose(m[UPPER], canonical[UPPER]).remove(m) for m in meshes], 0) for meshes in samples]
        canonical = _upright(np.mean(means, 0))
    return canonical


def _upright(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eyes' middle to 0, their line to x, their distance to 1."""
    right, left = points[list(RIGHT_EYE)].mean(0), points[list(LEFT_EYE)].mean(0)
    x = (left - right) / np.linalg.norm(left - right)
    y = np.array([0.0, 1.0, 0.0]) - x * x[1]
    y /= np.linalg.norm(y)
    turn = np.stack([x, y, np.cross(x, y)], 1)
    return np.asarray((points - (left + right) / 2) @ turn / np.linalg.norm(left - right))


def _lower(canonical: NDArray[np.float64]) -> NDArray[np.int64]:
    x, y = np.abs(canonical[:MESH_POINTS, 0]), canonical[:MESH_POINTS, 1]
    nose = (x < NOSE_HALF_WIDTH) & (y < NOSE_BASE)
    return np.flatnonzero((y > LOWER_TOP) & ~nose)


def _components(offsets: NDArray[np.floating], lower: NDArray[np.int64]) -> Array:
    weight = point_weights(lower)[None, :, None]
    flat = (offsets * weight).reshape(len(offsets), -1)
    vectors = np.linalg.eigh(flat.T @ flat / len(flat))[1]
    rows = vectors[:, ::-1][:, :COMPONENTS].T
    spread = (flat @ rows.T).std(0)
    rows = (
        rows * np.sign((rows.reshape(COMPONENTS, -1, 3)[:, :, 1]).sum(1))[:, None]
    )  # a sign that does not depend on LAPACK
    return np.asarray(rows.reshape(COMPONENTS, -1, 3) / weight * spread[:, None, None], np.float32)


def _fit_still(
    geometry: Geometry, offsets: NDArray[np.floating], free: NDArray[np.floating], blendshapes: Array
) -> Geometry:
    low = (free - geometry.canonical)[:, geometry.lower].reshape(len(free), -1)
    _, vectors = np.linalg.eigh(low.T @ low)
    still_basis = vectors[:, ::-1][:, :STILL_COMPONENTS].T.astype(np.float32)
    wide = np.zeros((len(offsets), *geometry.canonical.shape), np.float32)
    wide[:, geometry.lower] = offsets
    shapes = geometry.shape_of(wide, np.zeros_like(geometry.canonical))
    features = np.concatenate([blendshapes, low @ still_basis.T], 1)
    mean, spread = features.mean(0), features.std(0) + 1e-6
    x = (features - mean) / spread
    ridge = STILL_RIDGE * len(x) / 1000
    weight = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (shapes - shapes.mean(0))) / spread[:, None]
    return Geometry(
        geometry.canonical,
        geometry.lower,
        geometry.basis,
        mean.astype(np.float32),
        weight.astype(np.float32),
        shapes.mean(0).astype(np.float32),
        still_basis,
    )
