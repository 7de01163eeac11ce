"""Head tracks: how a clip's head moves, at 25 poses a second, even and around the clip's own middle.

What a pose holds: `speech.head_motion`. Tracking noise is the larger part of what is faster than about 5 Hz, so tracks
are smoothed. Knows nothing of pixels or nets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.sample import Sample
from difftalk.face.landmarks import BROWS, UPPER
from difftalk.face.mouth import Geometry
from difftalk.face.pose import fit_poses
from difftalk.speech.motion import MOTION_RATE

SMOOTHING: Final = 0.05  # seconds, sigma: half the power is left at 2.6 Hz
CUT_SECONDS: Final = 0.12  # between two frames, from which they do not belong together


@dataclass(frozen=True)
class HeadTrack:
    """poses: (t, 7) at 25/s, the clip's median taken off. first: the first one's number, 0 at the clip's beginning."""

    first: int
    poses: Array

    def __len__(self) -> int:
        return len(self.poses)


def head_poses(meshes: Array, geometry: Geometry) -> NDArray[np.float64]:
    """Meshes (t, 478, 3), source pixels -> poses (t, 7) around their median; size and places as of the median size."""
    poses = fit_poses(meshes[:, UPPER], geometry.canonical[UPPER])
    scales = np.array([pose.scale for pose in poses])
    shifts = np.stack([pose.shift[:2] for pose in poses]) / np.median(scales)
    raised = [-pose.remove(mesh[BROWS])[:, 1].mean() for pose, mesh in zip(poses, meshes, strict=True)]
    turns = np.stack([[*pose.turn, pose.roll] for pose in poses])
    track = np.column_stack([turns, shifts, np.log(scales), raised])
    return np.asarray(track - np.median(track, 0))


def head_tracks(sample: Sample, geometry: Geometry) -> list[HeadTrack]:
    """A clip's tracks, one for each of the parts between its cuts."""
    poses, seconds = head_poses(sample.meshes, geometry), sample.seconds
    cuts = np.flatnonzero(np.diff(seconds) > CUT_SECONDS) + 1
    parts = zip(np.split(poses, cuts), np.split(seconds, cuts), strict=True)
    return [even(*part) for part in parts if part[1][-1] - part[1][0] > 1 / MOTION_RATE]


def even(poses: NDArray[np.floating], seconds: NDArray[np.float64]) -> HeadTrack:
    """Poses (t, 7) at any times -> at 25/s, smooth."""
    first = int(np.ceil(seconds[0] * MOTION_RATE - 1e-6))
    times = np.arange(first, np.floor(seconds[-1] * MOTION_RATE + 1e-6) + 1) / MOTION_RATE
    evened = np.stack([np.interp(times, seconds, column) for column in poses.T], 1)
    return HeadTrack(first, smooth(evened, SMOOTHING).astype(np.float32))


def smooth(values: NDArray[np.floating], seconds: float) -> NDArray[np.float64]:
    """(t, ...) at 25/s by a Gaussian of this sigma; the ends go on as they are."""
    sigma = seconds * MOTION_RATE
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=0)
    return np.asarray(windows @ (weights / weights.sum()))
